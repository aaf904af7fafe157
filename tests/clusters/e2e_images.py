"""The images of Kubernetes' own tests, made on the spot, in one archive in the cache.

In: agnhost and its companions, upstream's busybox, a Debian root, files of the Kubernetes module.
Out: an archive that is made again only when one of these, or this code, has changed. It holds what
tests with [sig-node] and [sig-storage] need, under the names and versions of
https://github.com/kubernetes/kubernetes/blob/v1.36.3/test/utils/image/manifest.go, and besides

- `KUBECTL`: a shell and a kubectl, for tests of clients inside pods;
- `images.NAMELESS`, as on ordinary nodes.

Not made: sample-apiserver, resource-consumer, etcd, and the servers of network volumes.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tests.clusters import busybox, debian_root, images, programs
from tests.clusters.errors import ProgramError
from tests.clusters.image_archive import Image, Layer, LayerBuilder, write_archive

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

KUBECTL = "docker.io/library/kubectl:test"
_E2E = "registry.k8s.io/e2e-test-images"
_SOURCES = {
    "kitten.jpg": "test/images/kitten/html/kitten.jpg",
    "kitten.json": "test/images/kitten/html/data.json",
    "nautilus.jpg": "test/images/nautilus/html/nautilus.jpg",
    "nautilus.json": "test/images/nautilus/html/data.json",
    "localhost.crt": "test/images/agnhost/porter/localhost.crt",
    "localhost.key": "test/images/agnhost/porter/localhost.key",
}
# The test of image volumes looks for it, as these images are made of Alpine's elsewhere.
_ALPINE = b'NAME="Alpine Linux"\nID=alpine\n'
_SET_USER_AND_GROUP_ID = 0o6755


@dataclass(frozen=True)
class Ingredients:
    """What the images are made of."""

    debian: Layer
    shell: Layer
    """Busybox and the few files around it."""
    pause: Image
    programs: Mapping[str, bytes]
    """agnhost, nnp, regression-issue-74839 and kubectl."""
    sources: Mapping[str, bytes]
    """Files of the Kubernetes module."""


def ensure(progress: Callable[[str], None]) -> Path:
    """Path of the archive; seconds when its parts are in the cache, minutes otherwise."""
    wanted = (*programs.IN_E2E_IMAGES, programs.KUBECTL)
    found = programs.ensure(wanted, progress, installed_kubectl=False)
    shell = busybox.ensure(progress)
    debian = debian_root.ensure(shell, progress)
    folder = programs.cache_folder() / "e2e-images"
    folder.mkdir(parents=True, exist_ok=True)
    archive = folder / f"{_fingerprint([*found.values(), shell, debian])}.tar"
    with programs.file_lock(folder / "lock", progress):
        if not archive.exists():
            progress("making the images of Kubernetes' tests")
            base = images.busybox_layer(shell)
            made = make(
                Ingredients(
                    debian=Layer(debian.read_bytes()),
                    shell=base,
                    pause=images.pause_image([images.PAUSE, *images.NAMELESS], base),
                    programs={name: path.read_bytes() for name, path in found.items()},
                    sources=_sources(programs.family_of(programs.IN_E2E_IMAGES[0])),
                )
            )
            for old in folder.glob("*.tar"):
                old.unlink()
            with tempfile.TemporaryDirectory(dir=folder, prefix="new-") as work:
                new = Path(work) / "images.tar"
                write_archive(new, made)
                new.replace(archive)
    return archive


def make(parts: Ingredients) -> list[Image]:
    """All images."""
    agnhost = _agnhost_layer(parts)
    nnp = _one_file("usr/local/bin/nnp", parts.programs["nnp"], _SET_USER_AND_GROUP_ID)
    regression = parts.programs["regression-issue-74839"]
    kubectl = _one_file("bin/kubectl", parts.programs["kubectl"], 0o755)
    return [
        parts.pause,
        Image(
            [f"{_E2E}/agnhost:2.63.0", f"{_E2E}/agnhost:2.55"],
            [parts.debian, agnhost],
            entrypoint=["/agnhost"],
            command=["pause"],
        ),
        Image([f"{_E2E}/busybox:1.37.0-1", *images.BUSYBOX], [parts.shell], command=["sh"]),
        Image(
            [f"{_E2E}/nginx:1.15-4", f"{_E2E}/nginx:1.27-0"],
            [parts.debian],
            command=["nginx", "-g", "daemon off;"],
        ),
        Image(
            [f"{_E2E}/perl:5.26", f"{_E2E}/glibc-dns-testing:2.0.0", f"{_E2E}/ipc-utils:1.4"],
            [parts.debian],
            command=["bash"],
        ),
        Image([f"{_E2E}/nonroot:1.5"], [parts.shell], command=["sh"], user="1234"),
        Image([f"{_E2E}/nonewprivs:1.4"], [parts.shell, nnp], command=["nnp"]),
        Image(
            [f"{_E2E}/regression-issue-74839:1.4"],
            [_one_file("regression-issue-74839", regression, 0o755)],
            entrypoint=["/regression-issue-74839"],
        ),
        *(
            Image(
                [f"{_E2E}/{name}:1.8"],
                [parts.debian, agnhost, _picture_layer(name, parts.sources)],
                entrypoint=["/agnhost"],
                command=["test-webserver"],
            )
            for name in ("kitten", "nautilus")
        ),
        Image([KUBECTL], [parts.shell, kubectl], entrypoint=["kubectl"]),
    ]


def registry_files(image: Image, name: str, tag: str) -> dict[str, bytes]:
    """An image in the folder of `agnhost fake-registry-server`, by path.

    https://github.com/kubernetes/kubernetes/blob/v1.36.3/test/images/agnhost/fakeregistryserver/prepare_registry.sh
    """
    manifest = image.manifest()
    blobs = [image.config(), *(layer.data for layer in image.layers)]
    top = f"var/registry/{name}"

    def place(kind: str, data: bytes) -> str:
        digest = hashlib.sha256(data).hexdigest()
        return f"{top}/{kind}/sha256/{digest[:2]}/{digest}/data"

    return {
        place("manifests", manifest): manifest,
        f"{top}/manifests/{tag}": f"sha256:{hashlib.sha256(manifest).hexdigest()}\n".encode(),
        **{place("blobs", blob): blob for blob in blobs},
    }


def _agnhost_layer(parts: Ingredients) -> Layer:
    builder = LayerBuilder()
    builder.file("agnhost", parts.programs["agnhost"], 0o755)
    builder.symbolic_link("agnhost-2", "agnhost")
    for name in ("localhost.crt", "localhost.key"):
        builder.file(name, parts.sources[name])
    for path, data in registry_files(parts.pause, "pause", "testing").items():
        builder.file(path, data)
    return builder.build()


def _picture_layer(name: str, sources: Mapping[str, bytes]) -> Layer:
    builder = LayerBuilder()
    builder.file(f"{name}.jpg", sources[f"{name}.jpg"])
    builder.file("data.json", sources[f"{name}.json"])
    builder.file("etc/os-release", _ALPINE)
    return builder.build()


def _one_file(name: str, data: bytes, mode: int) -> Layer:
    builder = LayerBuilder()
    builder.file(name, data, mode)
    return builder.build()


def _fingerprint(inputs: list[Path]) -> str:
    """Changes with the code that makes images and with the files that go into them."""
    digest = hashlib.sha256()
    here = Path(__file__).parent
    for code in ("e2e_images.py", "image_archive.py", "images.py"):
        digest.update((here / code).read_bytes())
    for path in inputs:
        found = path.stat()
        digest.update(f"{path} {found.st_size} {found.st_mtime_ns}\n".encode())
    return digest.hexdigest()[:16]


def _sources(family: programs.Family) -> dict[str, bytes]:
    """Files of the module that a family is built from, which the go command has downloaded."""
    what = f"{family.module}@{family.version}"
    done = subprocess.run(
        ["go", "mod", "download", "-json", what], cwd=family.folder, capture_output=True
    )
    if done.returncode != 0:
        raise ProgramError(f"go mod download {what}: {done.stderr.decode().strip()}")
    root = Path(json.loads(done.stdout)["Dir"])
    return {name: (root / path).read_bytes() for name, path in _SOURCES.items()}
