"""The registry answers as containerd expects, for the images of its archive and for others."""

import hashlib
import http.client
import json
import threading
from collections.abc import Iterator
from http import HTTPStatus
from pathlib import Path

import pytest

from tests.clusters.image_archive import Image, Layer, LayerBuilder, write_archive
from tests.clusters.registry import Catalogue, Span, server

NAME = "registry.k8s.io/e2e-test-images/agnhost:2.63.0"


def make_layer(text: str) -> Layer:
    builder = LayerBuilder()
    builder.file("text", text.encode())
    return builder.build()


IMAGE = Image([NAME, "docker.io/library/foo:latest"], [make_layer("a"), make_layer("b")])


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    path = tmp_path / "images.tar"
    write_archive(path, [IMAGE])
    return path


@pytest.mark.parametrize(
    "target",
    [
        "/v2/e2e-test-images/agnhost/manifests/2.63.0?ns=registry.k8s.io",
        "/v2/library/foo/manifests/latest?ns=docker.io",
    ],
)
def test_a_manifest_names_what_the_registry_serves(archive: Path, target: str) -> None:
    catalogue = Catalogue.read(archive)
    body = catalogue.answer(target).body
    assert isinstance(body, bytes)
    manifest = json.loads(body)
    for part in (manifest["config"], *manifest["layers"]):
        answer = catalogue.answer(f"/v2/any/blobs/{part['digest']}")
        assert isinstance(answer.body, Span)
        data = archive.read_bytes()[answer.body.offset :][: answer.body.size]
        assert part["digest"] == f"sha256:{hashlib.sha256(data).hexdigest()}"
        assert part["size"] == answer.size


def test_an_image_is_found_by_its_digest(archive: Path) -> None:
    catalogue = Catalogue.read(archive)
    digest = catalogue.answer("/v2/library/foo/manifests/latest?ns=docker.io").digest
    found = catalogue.answer(f"/v2/library/foo/manifests/{digest}?ns=docker.io")
    assert (found.status, found.digest) == (HTTPStatus.OK, digest)


@pytest.mark.parametrize(
    "target",
    [
        "/v2/library/foo/manifests/latest?ns=quay.io",
        "/v2/library/foo/manifests/1.0?ns=docker.io",
        "/v2/library/foo/manifests/latest",
        "/v2/library/foo/blobs/sha256:0",
        "/v2/library/foo/tags/list?ns=docker.io",
        "/elsewhere",
    ],
)
def test_whatever_is_not_in_the_archive_is_not_found(archive: Path, target: str) -> None:
    assert Catalogue.read(archive).answer(target).status is HTTPStatus.NOT_FOUND


@pytest.fixture
def connection(archive: Path) -> Iterator[http.client.HTTPConnection]:
    with server(archive, "127.0.0.1", 0) as listening:
        thread = threading.Thread(target=listening.serve_forever, args=[0.01])
        thread.start()
        connection = http.client.HTTPConnection("127.0.0.1", listening.server_port, timeout=5)
        yield connection
        connection.close()
        listening.shutdown()
        thread.join()


def test_blobs_and_heads_come_over_one_connection(connection: http.client.HTTPConnection) -> None:
    layer = IMAGE.layers[0]
    path = f"/v2/library/foo/blobs/sha256:{layer.digest}"
    connection.request("HEAD", path)
    head = connection.getresponse()
    assert (head.read(), head.headers["Content-Length"]) == (b"", str(len(layer.data)))
    connection.request("GET", path)
    assert connection.getresponse().read() == layer.data
    connection.request("GET", "/v2/library/foo/manifests/nosuch?ns=docker.io")
    assert connection.getresponse().status == 404
