"""The company's file system: a folder that containers reach through a FUSE program alone.

In: a cluster with real nodes. Out: the image of a FUSE client (bindfs of Debian) on its nodes, a
mount root that they share with containers, and the profile that runs the client as Fluid wants it:
it reads /etc/fluid/config/config.json, mounts what the wrapped volume's attribute `path` names at
`targetPath`, in the foreground, and ends when that is unmounted.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.clusters import packages
from tests.clusters.host import run, static_busybox
from tests.clusters.image_archive import Image, LayerBuilder, write_archive
from tests.clusters.images import busybox_layer
from tests.clusters.teardown import unmount_below

if TYPE_CHECKING:
    from types import TracebackType

    from tests.clusters import Cluster

IMAGE, TAG = "registry.example.com/cloudml/starfs-mount", "v1.4.1"
MOUNTED_FROM = "/company-store"
_LIBRARY = re.compile(r"(/\S+) \(0x")
_PROGRAM = "bindfs"
CLIENT = f"""
config=/etc/fluid/config/config.json
value() {{ sed -n "s/.*\\"$1\\": *\\"\\([^\\"]*\\)\\".*/\\1/p" $config; }}
target=$(value targetPath); path=$(value path)
mkdir -p "$target"
echo "mounting $path"
exec /usr/bin/{_PROGRAM} -f -o subtype=starfs "{MOUNTED_FROM}/$path" "$target"
"""


class Store:
    """Makes it, and takes it away again. Use it as a context manager."""

    def __init__(self, cluster: Cluster, folder: Path) -> None:
        """`folder`: an empty or missing one, of this store alone."""
        self._cluster = cluster
        self._folder = folder
        self.files = folder / "files"
        """Where the files are on this machine; at home the same folder is an ordinary mount."""

    @property
    def archive(self) -> Path:
        """The client's image."""
        return self._folder / "image.tar"

    @property
    def mount_root(self) -> Path:
        """Below it Fluid mounts; containers see mounts there come and go."""
        return self._folder / "mounts"

    def __enter__(self) -> Store:
        self.files.mkdir(parents=True)
        self.mount_root.mkdir()
        run("mount", "-t", "tmpfs", "-o", "mode=755", "mounts", self.mount_root)
        try:
            run("mount", "--make-rshared", self.mount_root)
            build_image(self.archive)
            for node in self._cluster.nodes.values():
                client = ("ctr", f"--address={node.site.socket}", "--namespace=k8s.io")
                run(*client, "images", "import", self.archive, timeout=120)
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        unmount_below(self.mount_root)

    def write(self, name: str, text: str) -> None:
        """Put a file into the store."""
        path = self.files / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def profile(self, name: str) -> dict[str, Any]:
        """The ThinRuntimeProfile that mounts this store."""
        fuse = {
            "image": IMAGE,
            "imageTag": TAG,
            "imagePullPolicy": "IfNotPresent",
            "command": ["sh", "-c", CLIENT],
            "resources": {"requests": {"cpu": "10m", "memory": "16Mi"}},
            "volumeMounts": [{"name": "store", "mountPath": MOUNTED_FROM}],
        }
        return {
            "apiVersion": "data.fluid.io/v1alpha1",
            "kind": "ThinRuntimeProfile",
            "metadata": {"name": name},
            "spec": {
                "fileSystemType": "starfs",
                "fuse": fuse,
                "volumes": [{"name": "store", "hostPath": {"path": str(self.files)}}],
            },
        }


def build_image(target: Path) -> None:
    """busybox, the FUSE program, and the libraries that it is linked to."""
    packages.ensure_programs({_PROGRAM: _PROGRAM}, print)
    program = Path(shutil.which(_PROGRAM) or "")
    told = subprocess.run(["ldd", program], capture_output=True, text=True, check=True).stdout
    builder = LayerBuilder()
    builder.file(f"usr/bin/{_PROGRAM}", program.read_bytes(), 0o755)
    libraries = [Path(path) for path in _LIBRARY.findall(told)]
    for folder in sorted({p for lib in libraries for p in lib.parents} - {Path("/")}):
        builder.folder(str(folder).lstrip("/"))
    for library in libraries:
        builder.file(str(library).lstrip("/"), library.resolve().read_bytes(), 0o755)
    layers = [busybox_layer(static_busybox()), builder.build()]
    write_archive(target, [Image((f"{IMAGE}:{TAG}",), layers, command=["sh"])])
