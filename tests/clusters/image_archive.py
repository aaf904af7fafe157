"""Container images as values, and the file that holds them.

In: files. Out: one docker-archive, as `docker save` writes it, which containerd imports:
https://github.com/moby/moby/blob/master/image/spec/v1.2.md, or the manifests with which a registry
offers the same images. Layers are never compressed, so a layer has one digest everywhere.
"""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

from tests.clusters.programs import machine

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

MANIFEST_TYPE = "application/vnd.docker.distribution.manifest.v2+json"
_CONFIG_TYPE = "application/vnd.docker.container.image.v1+json"
_LAYER_TYPE = "application/vnd.docker.image.rootfs.diff.tar"
_PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_EPOCH = "1970-01-01T00:00:00Z"


@dataclass(frozen=True)
class Layer:
    """A tar file, and its name: the digest of its content."""

    data: bytes

    @cached_property
    def digest(self) -> str:
        """SHA-256 in hex."""
        return hashlib.sha256(self.data).hexdigest()


@dataclass(frozen=True)
class Image:
    """Names, layers from the bottom up, and what runs when a pod does not say."""

    names: Sequence[str]
    layers: Sequence[Layer]
    entrypoint: Sequence[str] = ()
    command: Sequence[str] = ()
    user: str = ""
    environment: Mapping[str, str] = field(default_factory=dict)

    def config(self) -> bytes:
        """The image's configuration, whose digest is the image ID."""
        environment = [f"{key}={value}" for key, value in self.environment.items()] or [_PATH]
        run = {"Env": environment, "Entrypoint": self.entrypoint, "Cmd": self.command}
        return json.dumps(
            {
                "architecture": machine(),
                "os": "linux",
                "created": _EPOCH,
                "config": {**run, "User": self.user},
                "rootfs": {
                    "type": "layers",
                    "diff_ids": [f"sha256:{layer.digest}" for layer in self.layers],
                },
                "history": [{"created": _EPOCH} for _ in self.layers],
            },
            sort_keys=True,
        ).encode()

    def manifest(self) -> bytes:
        """What a registry answers for the image's name."""
        return manifest(self.config(), [(layer.digest, len(layer.data)) for layer in self.layers])


class LayerBuilder:
    """Collects files of one layer. The same content always gives the same bytes."""

    def __init__(self) -> None:
        self._buffer = io.BytesIO()
        # `build` closes it.
        self._tar = tarfile.open(fileobj=self._buffer, mode="w", format=tarfile.PAX_FORMAT)  # noqa: SIM115

    def folder(self, name: str, mode: int = 0o755) -> None:
        """Adds a folder."""
        self._add(name, mode, tarfile.DIRTYPE)

    def file(self, name: str, data: bytes, mode: int = 0o644) -> None:
        """Adds a file."""
        info = tarfile.TarInfo(name)
        info.mode, info.size = mode, len(data)
        self._tar.addfile(info, io.BytesIO(data))

    def hard_link(self, name: str, target: str) -> None:
        """Adds another name of a file that is already in the layer."""
        self._add(name, 0o755, tarfile.LNKTYPE, target)

    def symbolic_link(self, name: str, target: str) -> None:
        """Adds a link."""
        self._add(name, 0o777, tarfile.SYMTYPE, target)

    def build(self) -> Layer:
        """The finished layer."""
        self._tar.close()
        return Layer(self._buffer.getvalue())

    def _add(self, name: str, mode: int, kind: bytes, target: str = "") -> None:
        info = tarfile.TarInfo(name)
        info.mode, info.type, info.linkname = mode, kind, target
        self._tar.addfile(info)


def write_archive(target: Path, images: Iterable[Image]) -> None:
    """Writes images as one docker-archive; shared layers are stored once."""
    manifest, stored = [], set()
    with tarfile.open(target, "w", format=tarfile.PAX_FORMAT) as tar:

        def store(name: str, data: bytes) -> str:
            if name not in stored:
                stored.add(name)
                info = tarfile.TarInfo(name)
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))
            return name

        for image in images:
            config = image.config()
            manifest.append(
                {
                    "Config": store(f"{hashlib.sha256(config).hexdigest()}.json", config),
                    "RepoTags": list(image.names),
                    "Layers": [store(f"{layer.digest}.tar", layer.data) for layer in image.layers],
                }
            )
        store("manifest.json", json.dumps(manifest).encode())


def manifest(config: bytes, layers: Sequence[tuple[str, int]]) -> bytes:
    """Schema 2 of https://distribution.github.io/distribution/spec/manifest-v2-2/.

    `layers` are SHA-256 in hex and size in bytes, from the bottom up.
    """
    digest = hashlib.sha256(config).hexdigest()

    def part(kind: str, digest: str, size: int) -> dict[str, str | int]:
        return {"mediaType": kind, "digest": f"sha256:{digest}", "size": size}

    return json.dumps(
        {
            "schemaVersion": 2,
            "mediaType": MANIFEST_TYPE,
            "config": part(_CONFIG_TYPE, digest, len(config)),
            "layers": [part(_LAYER_TYPE, *layer) for layer in layers],
        }
    ).encode()
