"""One claim in three places: a tenant, its home, a cluster whose nodes play ECI, and an account.

In: a harness and a folder. Out: running clusters, the emulator of ECI's API as a process, an agent,
and a claim of the tenant whose files a plain mount brings at home, Fluid's FUSE sidecar on nodes
that play ECI, and the same client in container groups. All of it but the clusters, which are the
harness's, ends with the `with` block of `data_site`.
"""

from __future__ import annotations

import dataclasses
import json
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import yaml

from tests.agents import AgentProcess, Federation, join
from tests.clusters import ClusterSpec
from tests.eci.joined import BURST, account_cluster
from tests.eci.process.images import node_images
from tests.eci.service import EciService
from tests.standin.eci_nodes import LABELS, TAINT, EciNodes
from tests.standin.fluid import FluidDouble
from tests.standin.store import Store

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from tests.clusters import Cluster, Harness

HOME, ACK = "home", "ack"
PROFILE, CLAIM, DRIVER = "starfs-profile", "starfs-pvc", "csi.starfs.example.com"
SIZE = {"accessModes": ["ReadWriteMany"], "resources": {"requests": {"storage": "1Gi"}}}
_NAMESPACE, _BELOW = "team-a", "demo--team-a"
_HANDED_OVER = {
    "driver": DRIVER,
    "volumeHandles": ["starfs/demo/*"],
    "attributes": {"path": ["team-*"]},
}
_SHARE = "nas.example:/store"
"""Where the client of the account finds the company's file system."""
_FLUID = {"profiles": [PROFILE], "volumes": [_HANDED_OVER], "linger": "3s"}


@dataclass(frozen=True)
class DataSite:
    """What runs."""

    federation: Federation
    store: Store
    fluid: FluidDouble
    account: EciService


@contextmanager
def data_site(
    harness: Harness, folder: Path, *, others: Sequence[ClusterSpec] = ()
) -> Iterator[DataSite]:
    """Start all of it; the claim is bound in the tenant, and file `hello` is in it.

    `others` are clusters that the harness starts beside these and nobody joins.
    """
    names = (HOME, ACK)
    specs = [ClusterSpec("tenant"), *(ClusterSpec(name, real_nodes=1) for name in names)]
    started = harness.up([*specs, *others])
    tenant, ack = started["tenant"], started[ACK]
    clusters = {name: started[name] for name in names}
    plane = ack.control_plane
    assert plane is not None
    EciNodes(plane.client).adopt(next(iter(ack.nodes)))
    on_eci = {
        "name": "default",
        "port": harness.free_port(),
        "pvc": "fluid",
        "nodeSelector": {"type": LABELS["type"]},
        "tolerations": [TAINT],
    }
    with (
        Store(ack, folder / "store") as store,
        FluidDouble(harness, ack, mount_root=store.mount_root) as fluid,
    ):
        store.write("team-a/hello", "hi there\n")
        fluid.apply(store.profile(PROFILE))
        federation = join(
            harness,
            tenant,
            clusters,
            directory=folder / "agent",
            overrides={
                HOME: {"policy": {"pvc": "shared"}},
                ACK: {"policy": {"fluid": _FLUID, "sidecarPatience": "6s"}, "pools": [on_eci]},
            },
            claims=True,
            privileged=True,
        )
        mounted = {"hostPath": {"path": str(store.files / "team-a")}}
        _apply(clusters[HOME], _BELOW, volume(mounted), claim())
        images = (f"--images={archive}" for archive in (node_images(), store.archive))
        share = f"--nfs={_SHARE}={store.files}"
        with EciService("--process", "--pulling=1", share, *images) as account:
            federation = _with_account(federation, account, store, port=harness.free_port())
            with AgentProcess(federation) as agent:
                agent.wait_ready()
                profile = {"fluid.io/runtime-profile": PROFILE}
                _apply(tenant, _NAMESPACE, volume(source()), claim(**profile))
                yield DataSite(federation, store, fluid, account)


def _with_account(
    federation: Federation, account: EciService, store: Store, *, port: int
) -> Federation:
    """The account joins: what Fluid has as objects stands in files there."""
    profile = store.profile(PROFILE)
    server, _, path = _SHARE.partition(":")
    profile["spec"]["volumes"] = [{"name": "store", "nfs": {"server": server, "path": path}}]
    file = federation.directory / "profiles.yaml"
    file.write_text(yaml.safe_dump(profile))
    cluster = {
        **account_cluster(account.url, federation.directory / "key", port=port),
        "policy": {"fluid": {"profiles": str(file), "volumes": [_HANDED_OVER]}},
    }
    config = yaml.safe_load(federation.config.read_text())
    config["clusters"].append(cluster)
    federation.config.write_text(yaml.safe_dump(config, sort_keys=False))
    return dataclasses.replace(federation, nodes=(*federation.nodes, f"vnode-{BURST}"))


def source(**fields: Any) -> Any:
    """Where the claim's files are, as the company's CSI driver reads it."""
    csi = {
        "driver": DRIVER,
        "volumeHandle": "starfs/demo/a",
        "volumeAttributes": {"path": "team-a"},
    }
    return {"csi": {**csi, **fields}}


def volume(where: Any, name: str = CLAIM) -> Any:
    """A volume made by hand."""
    size = {"accessModes": SIZE["accessModes"], "capacity": {"storage": "1Gi"}}
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": name},
        "spec": {**size, "storageClassName": "", **where},
    }


def claim(name: str = CLAIM, **labels: str) -> Any:
    """A claim that is bound to the volume of its name."""
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": name, "labels": labels, "annotations": {"vnode.dev/warm-up": "/"}},
        "spec": {"storageClassName": "", "volumeName": name, **SIZE},
    }


def _apply(cluster: Cluster, namespace: str, *objects: Any) -> None:
    manifest = {"apiVersion": "v1", "kind": "List", "items": list(objects)}
    words = ("apply", f"--namespace={namespace}", "-f", "-")
    cluster.kubectl(*words, input=json.dumps(manifest))
