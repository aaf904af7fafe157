"""Images by name, unpacked: archives in, folders and configurations out.

Archives are those that `tests.clusters` gives to containerd (docker-archive), so that a pod has the
same files at home and here. An image is unpacked once, when it is first used; whoever wants it at
the same time, in another thread, waits for that.
"""

import hashlib
import json
import shutil
import tarfile
import tempfile
import threading
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.clusters import host, images, programs
from tests.eci.engine import CannotStart

_WHITEOUT = ".wh."


@dataclass(frozen=True)
class Image:
    """One image."""

    archive: Path
    layers: tuple[str, ...]
    config: dict[str, Any]
    digest: str

    def command(self, entrypoint: list[str], arguments: list[str]) -> list[str]:
        """What runs, as Kubernetes reads command and args."""
        own = [*(self.config.get("Entrypoint") or ())]
        if entrypoint:
            return [*entrypoint, *arguments]
        return [*own, *(arguments or self.config.get("Cmd") or ())]

    @property
    def environment(self) -> dict[str, str]:
        return dict(one.split("=", 1) for one in self.config.get("Env") or ())


class Images:
    """All images of some archives."""

    def __init__(self, archives: Iterable[Path], folder: Path) -> None:
        self._folder = folder
        self._known: dict[str, Image] = {}
        self._unpacking = threading.Lock()
        for archive in archives:
            self._read(archive)

    def find(self, name: str) -> Image:
        """Raises CannotStart when there is no such image."""
        if (image := self._known.get(full_name(name))) is None:
            raise CannotStart("ErrImagePull", f"Failed to pull image {name}: not found")
        return image

    def unpacked(self, image: Image) -> Path:
        """The image's root file system, to be read only. Slow the first time."""
        root = self._folder / image.digest
        with self._unpacking:
            if not root.exists():
                self._unpack(image, root)
        return root

    def _unpack(self, image: Image, root: Path) -> None:
        work = self._folder / f"{image.digest}.new"
        shutil.rmtree(work, ignore_errors=True)  # of one that failed in the middle
        work.mkdir(parents=True)
        with tarfile.open(image.archive) as outer:
            for layer in image.layers:
                data = outer.extractfile(layer)
                assert data is not None
                with tarfile.open(fileobj=data) as tar:
                    _apply(tar, work)
        work.rename(root)

    def _read(self, archive: Path) -> None:
        with tarfile.open(archive) as tar:

            def load(name: str) -> Any:
                data = tar.extractfile(name)
                assert data is not None
                return json.load(data)

            for one in load("manifest.json"):
                config = load(one["Config"])["config"]
                digest = Path(one["Config"]).stem
                image = Image(archive, tuple(one["Layers"]), config, digest)
                self._known |= dict.fromkeys(map(full_name, one["RepoTags"]), image)


def node_images() -> Path:
    """The images of ordinary real nodes of the test clusters, made once and kept."""
    busybox = host.static_busybox()
    made = hashlib.sha256(busybox.read_bytes() + Path(images.__file__).read_bytes())
    archive = programs.cache_folder() / "eci-images" / f"{made.hexdigest()[:16]}.tar"
    if not archive.exists():
        archive.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=archive.parent, prefix="new-") as work:
            new = Path(work) / "images.tar"
            images.build_archive(new, busybox)
            new.replace(archive)
    return archive


def full_name(name: str) -> str:
    """As containerd has it: `busybox` is `docker.io/library/busybox:latest`."""
    first, slash, _ = name.partition("/")
    if not slash:
        name = f"docker.io/library/{name}"
    elif not ("." in first or ":" in first or first == "localhost"):
        name = f"docker.io/{name}"
    return name if ":" in name.rpartition("/")[2] or "@" in name else f"{name}:latest"


def _apply(tar: tarfile.TarFile, root: Path) -> None:
    for member in tar:
        base = Path(member.name).name
        if base.startswith(_WHITEOUT):
            gone = root / Path(member.name).parent / base.removeprefix(_WHITEOUT)
            shutil.rmtree(gone) if gone.is_dir() else gone.unlink(missing_ok=True)
        else:
            # Our own archives: modes, owners and set-user-ID bits are to be kept.
            tar.extract(member, root, numeric_owner=True, filter="fully_trusted")
