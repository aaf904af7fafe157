"""The container runtime of a real node: the distribution's containerd, or upstream's.

In: a node's site, archives of images. Out: a containerd that answers on the site's socket and
has the images. Every node has its own: two kubelets on one would take each other's pods for
orphans and kill them. Ended by `teardown`.
"""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

from tests.clusters import images, packages
from tests.clusters.errors import CommandError
from tests.clusters.host import run
from tests.clusters.node_config import cni_config
from tests.clusters.processes import Stage

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from tests.clusters.node_config import NodeSite
    from tests.clusters.processes import ProcessTable

NAME = "containerd"
_START_TIMEOUT = 90.0
_IMPORT_TIMEOUT = 300.0  # the images of Kubernetes' tests are a gigabyte when unpacked


def containerd_config(folder: Path, socket: Path, cni: Path) -> str:
    """Configuration version 2, which containerd 1.x and 2.x both read.

    The folder of registries is empty on nodes that have nowhere to pull from.
    """
    return f"""\
version = 2
root = "{folder}/containerd"
state = "{folder}/run/state"
disabled_plugins = ["io.containerd.nri.v1.nri", "io.containerd.internal.v1.tracing"]
[grpc]
  address = "{socket}"
[plugins."io.containerd.internal.v1.opt"]
  path = "{folder}/opt"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{images.PAUSE}"
  disable_tcp_service = true
  disable_apparmor = true
  restrict_oom_score_adj = true  # a lower score than our own needs CAP_SYS_RESOURCE
  netns_mounts_under_state_dir = true
  [plugins."io.containerd.grpc.v1.cri".registry]
    config_path = "{folder}/registries"
  [plugins."io.containerd.grpc.v1.cri".containerd]
    default_runtime_name = "runc"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
      [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
        SystemdCgroup = false
        Root = "{folder}/run/runc"
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "{cni}"
    conf_dir = "{folder}/cni"
"""


def upstream_containerd_config(folder: Path, socket: Path, cni: Path) -> str:
    """Configuration version 3 of containerd 2.x, with a folder of registries."""
    return f"""\
version = 3
root = "{folder}/containerd"
state = "{folder}/run/state"
disabled_plugins = ["io.containerd.nri.v1.nri", "io.containerd.internal.v1.tracing"]
[grpc]
  address = "{socket}"
[plugins."io.containerd.internal.v1.opt"]
  path = "{folder}/opt"
[plugins."io.containerd.grpc.v1.cri"]
  disable_tcp_service = true
[plugins."io.containerd.cri.v1.images".pinned_images]
  sandbox = "{images.PAUSE}"
[plugins."io.containerd.cri.v1.images".registry]
  config_path = "{folder}/registries"
[plugins."io.containerd.cri.v1.runtime"]
  disable_apparmor = true
  restrict_oom_score_adj = true  # a lower score than our own needs CAP_SYS_RESOURCE
  netns_mounts_under_state_dir = true
  [plugins."io.containerd.cri.v1.runtime".containerd]
    default_runtime_name = "runc"
    [plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
      [plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc.options]
        SystemdCgroup = false
        Root = "{folder}/run/runc"
  [plugins."io.containerd.cri.v1.runtime".cni]
    bin_dirs = ["{cni}"]
    conf_dir = "{folder}/cni"
"""


def registry_hosts(registry: str) -> dict[str, str]:
    """Files that send every pull to one registry, by path below the folder of registries.

    A registry that a test runs on the node itself is left alone.
    https://github.com/containerd/containerd/blob/main/docs/hosts.md
    """
    return {
        "_default/hosts.toml": f"""\
server = "{registry}"
[host."{registry}"]
  capabilities = ["pull", "resolve"]
""",
        "localhost:5000/hosts.toml": 'server = "http://localhost:5000"\n',
    }


def start(
    site: NodeSite,
    *,
    archives: Sequence[Path],
    registry: str | None,
    upstream: Path | None,
    table: ProcessTable,
) -> None:
    """Starts containerd and imports the archives. Raises StartError or CommandError.

    Args:
        site: of the node.
        archives: images that are there from the start.
        registry: URL of the registry that answers for all registries; None: nothing can be pulled.
        upstream: folder with containerd 2.x, its shim and ctr; None: the distribution's containerd.
        table: owns the process.
    """
    config = site.folder / "containerd.toml"
    write = upstream_containerd_config if upstream else containerd_config
    config.write_text(write(site.folder, site.socket, packages.cni_folder()))
    (site.folder / "cni" / "10-bridge.conflist").write_text(json.dumps(cni_config(site)))
    program, ctr, environment = "containerd", "ctr", {}
    if upstream:
        program, ctr = str(upstream / program), str(upstream / ctr)
        environment["PATH"] = f"{upstream}:{os.environ['PATH']}"  # its own shim first
    for name, text in registry_hosts(registry).items() if registry else ():
        file = site.folder / "registries" / name
        file.parent.mkdir(parents=True)
        file.write_text(text)
    record = table.spawn(
        site.name,
        NAME,
        site.inside(program, f"--config={config}"),
        stage=Stage.CONTAINERD,
        log=site.log(NAME),
        environment=environment,
    )
    client = (ctr, f"--address={site.socket}", "--namespace=k8s.io")

    def answers() -> bool:
        try:
            run(*client, "version", timeout=5)
        except CommandError:
            return False
        return True

    table.wait_until(f"node {site.name}", answers, watch=record, timeout=_START_TIMEOUT)
    for archive in archives:
        run(*client, "images", "import", archive, timeout=_IMPORT_TIMEOUT)
