"""The archive has what Kubernetes' tests ask for."""

import hashlib
import io
import tarfile

import pytest

from tests.clusters.e2e_images import KUBECTL, Ingredients, make, registry_files
from tests.clusters.image_archive import Image, Layer, LayerBuilder
from tests.clusters.images import NAMELESS

# registry, name and version as in test/utils/image/manifest.go of Kubernetes 1.36.3
WANTED = [
    "registry.k8s.io/pause:3.10.2",
    *(
        f"registry.k8s.io/e2e-test-images/{name}"
        for name in (
            "agnhost:2.55",
            "agnhost:2.63.0",
            "busybox:1.37.0-1",
            "ipc-utils:1.4",
            "glibc-dns-testing:2.0.0",
            "kitten:1.8",
            "nautilus:1.8",
            "nginx:1.15-4",
            "nginx:1.27-0",
            "nonewprivs:1.4",
            "nonroot:1.5",
            "perl:5.26",
            "regression-issue-74839:1.4",
        )
    ),
]


def make_layer(text: str) -> Layer:
    builder = LayerBuilder()
    builder.file(text, text.encode())
    return builder.build()


PAUSE = Image(["registry.k8s.io/pause:3.10.2", *NAMELESS], [make_layer("pause")])
PARTS = Ingredients(
    debian=make_layer("debian"),
    shell=make_layer("shell"),
    pause=PAUSE,
    programs=dict.fromkeys(("agnhost", "nnp", "regression-issue-74839", "kubectl"), b""),
    sources={
        f"{stem}.{kind}": b""
        for stem, kinds in (
            ("kitten", ("jpg", "json")),
            ("nautilus", ("jpg", "json")),
            ("localhost", ("crt", "key")),
        )
        for kind in kinds
    },
)


def find(name: str) -> Image:
    return next(image for image in make(PARTS) if name in image.names)


def members(image: Image) -> dict[str, tarfile.TarInfo]:
    found: dict[str, tarfile.TarInfo] = {}
    for layer in image.layers:
        with tarfile.open(fileobj=io.BytesIO(layer.data)) as tar:
            found |= {member.name: member for member in tar}
    return found


@pytest.mark.parametrize("name", [*WANTED, KUBECTL, *NAMELESS, "docker.io/library/busybox:latest"])
def test_every_image_is_there_once(name: str) -> None:
    names = [name for image in make(PARTS) for name in image.names]
    assert names.count(name) == 1


def test_agnhost_can_be_called_by_two_names() -> None:
    link = members(find("registry.k8s.io/e2e-test-images/agnhost:2.63.0"))["agnhost-2"]
    assert (link.issym(), link.linkname) == (True, "agnhost")


def test_the_program_that_must_not_gain_privileges_could_gain_some() -> None:
    program = members(find("registry.k8s.io/e2e-test-images/nonewprivs:1.4"))["usr/local/bin/nnp"]
    assert program.mode & 0o6000


def test_agnhost_s_registry_finds_the_image_by_tag() -> None:
    files = registry_files(PAUSE, "pause", "testing")
    digest = files["var/registry/pause/manifests/testing"].decode().strip().removeprefix("sha256:")
    manifest = files[f"var/registry/pause/manifests/sha256/{digest[:2]}/{digest}/data"]
    assert hashlib.sha256(manifest).hexdigest() == digest
    layer = PAUSE.layers[0]
    place = f"var/registry/pause/blobs/sha256/{layer.digest[:2]}/{layer.digest}/data"
    assert files[place] == layer.data
