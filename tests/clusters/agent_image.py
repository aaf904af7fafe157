"""The agent's own image, as one archive in the cache.

In: the Containerfile and what it copies. Out: an archive with the image under the name that
deploy/tenant/deployment.yaml asks for, made again when any of that has changed. Raises
ProgramError.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from tests.clusters import image_build, programs
from tests.clusters.image_archive import Image, Layer, write_archive

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT = Path(__file__).parents[2]
CONTAINERFILE = ROOT / "Containerfile"
NAME = "docker.io/library/vnode-federation:0.1.0"
_ARCHIVES_KEPT = 3


def ensure(progress: Callable[[str], None]) -> Path:
    """Path of the archive; two minutes when nothing of it is in the cache."""
    folder = programs.cache_folder() / f"agent-image-linux-{programs.machine()}"
    layers = folder / "layers"
    layers.mkdir(parents=True, exist_ok=True)
    with programs.file_lock(folder / "lock", progress):
        built = image_build.build(CONTAINERFILE, context=ROOT, cache=layers, progress=progress)
        archive = folder / f"{built.key}.tar"
        if not archive.exists():
            progress("packing the agent's image")
            with tempfile.TemporaryDirectory(dir=folder, prefix="new-") as work:
                new = Path(work) / "image.tar"
                write_archive(new, [_image(built, Path(work))])
                new.replace(archive)
        archive.touch()
        newest_first = sorted(folder.glob("*.tar"), key=lambda a: -a.stat().st_mtime)
        for old in newest_first[_ARCHIVES_KEPT:]:
            old.unlink()
    return archive


def _image(built: image_build.Built, work: Path) -> Image:
    layers = []
    for number, changes in enumerate(built.layers):
        packed = work / f"{number}.tar"
        image_build.tar_layer(changes, packed)
        layers.append(Layer(packed.read_bytes()))
    stage = built.stage
    return Image(
        [NAME],
        layers,
        entrypoint=stage.entrypoint,
        command=stage.command,
        user=stage.user,
        environment=stage.environment,
    )
