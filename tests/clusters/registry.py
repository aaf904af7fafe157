"""A registry that serves one archive of images, so that nodes can pull what nobody may download.

In: an archive as `image_archive.write_archive` makes it. Out: the pull half of the distribution
API over HTTP (https://distribution.github.io/distribution/spec/api/), for containerd, which sends
the registry of an image's name as `?ns=`. Every name in the archive can be pulled, by tag and by
digest; any other is a 404 at once. Owned by the process table of a harness:

    python -m tests.clusters.registry ARCHIVE ADDRESS PORT
"""

from __future__ import annotations

import hashlib
import json
import sys
import tarfile
from dataclasses import dataclass
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urlsplit

from tests.clusters.host import answers
from tests.clusters.image_archive import MANIFEST_TYPE, manifest
from tests.clusters.processes import Stage

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tests.clusters.processes import ProcessTable, Record

_ROOT = Path(__file__).parents[2]
_CHUNK = 1 << 20
_START_TIMEOUT = 30.0


@dataclass(frozen=True)
class Span:
    """Bytes of the archive."""

    offset: int
    size: int


@dataclass(frozen=True)
class Answer:
    """What is sent for a request: a body, or a part of the archive."""

    status: HTTPStatus
    content_type: str
    body: bytes | Span
    digest: str = ""

    @property
    def size(self) -> int:
        """Length in bytes."""
        return self.body.size if isinstance(self.body, Span) else len(self.body)


_NOT_FOUND = Answer(
    HTTPStatus.NOT_FOUND,
    "application/json",
    b'{"errors": [{"code": "MANIFEST_UNKNOWN", "message": "not among the images of the tests"}]}',
)


@dataclass(frozen=True)
class Catalogue:
    """Everything that can be pulled. Digests are of the form `sha256:...`."""

    manifests: Mapping[str, bytes]
    blobs: Mapping[str, Span]
    tags: Mapping[tuple[str, str], str]
    """(`registry/repository`, tag) -> digest of the manifest."""

    @classmethod
    def read(cls, archive: Path) -> Catalogue:
        """What an archive holds."""
        manifests, blobs, tags = {}, {}, {}
        with tarfile.open(archive) as tar:
            members = {member.name: member for member in tar}

            def content(name: str) -> bytes:
                file = tar.extractfile(members[name])
                assert file is not None
                return file.read()

            for image in json.loads(content("manifest.json")):
                config = content(image["Config"])
                blobs[_digest(config)] = _span(members[image["Config"]])
                layers = [members[name] for name in image["Layers"]]
                digests = [layer.name.removesuffix(".tar") for layer in layers]
                for digest, layer in zip(digests, layers, strict=True):
                    blobs[f"sha256:{digest}"] = _span(layer)
                sizes = [layer.size for layer in layers]
                body = manifest(config, list(zip(digests, sizes, strict=True)))
                manifests[_digest(body)] = body
                for name in image["RepoTags"]:
                    repository, _, tag = name.rpartition(":")
                    tags[repository, tag] = _digest(body)
        return cls(manifests, blobs, tags)

    def answer(self, target: str) -> Answer:
        """The answer to a GET or HEAD of a path with its query."""
        url = urlsplit(target)
        if url.path == "/v2/":
            return Answer(HTTPStatus.OK, "application/json", b"{}")
        words = url.path.removeprefix("/v2/").rsplit("/", 2)
        if len(words) != 3:
            return _NOT_FOUND
        repository, kind, reference = words
        if kind == "blobs" and (span := self.blobs.get(reference)):
            return Answer(HTTPStatus.OK, "application/octet-stream", span, reference)
        if kind == "manifests":
            registry = parse_qs(url.query).get("ns", [""])[0]
            digest = self.tags.get((f"{registry}/{repository}", reference), reference)
            if body := self.manifests.get(digest):
                return Answer(HTTPStatus.OK, MANIFEST_TYPE, body, digest)
        return _NOT_FOUND


def start(archive: Path, *, address: str, port: int, table: ProcessTable, log: Path) -> Record:
    """Starts the registry as a process and returns when it listens."""
    record = table.spawn(
        "registry",
        "registry",
        [sys.executable, "-m", "tests.clusters.registry", archive, address, port],
        stage=Stage.CONTROLLER,
        log=log,
        environment={"PYTHONPATH": str(_ROOT)},
    )
    url = f"http://{address}:{port}/v2/"
    table.wait_until("registry", lambda: answers(url), watch=record, timeout=_START_TIMEOUT)
    return record


def server(archive: Path, address: str, port: int) -> ThreadingHTTPServer:
    """A server that listens, and answers once it is told to serve."""
    catalogue = Catalogue.read(archive)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_HEAD(self) -> None:
            self._send_head(catalogue.answer(self.path))

        def do_GET(self) -> None:
            answer = catalogue.answer(self.path)
            self._send_head(answer)
            if isinstance(answer.body, bytes):
                self.wfile.write(answer.body)
                return
            left = answer.body.size
            with archive.open("rb") as file:
                file.seek(answer.body.offset)
                while left and (chunk := file.read(min(left, _CHUNK))):
                    self.wfile.write(chunk)
                    left -= len(chunk)

        def _send_head(self, answer: Answer) -> None:
            self.send_response(answer.status)
            self.send_header("Content-Type", answer.content_type)
            self.send_header("Content-Length", str(answer.size))
            if answer.digest:
                self.send_header("Docker-Content-Digest", answer.digest)
            self.end_headers()

    return ThreadingHTTPServer((address, port), Handler)


def _digest(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def _span(member: tarfile.TarInfo) -> Span:
    return Span(member.offset_data, member.size)


if __name__ == "__main__":
    server(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])).serve_forever()
