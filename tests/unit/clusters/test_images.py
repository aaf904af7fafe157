"""The archive of images is what `docker save` would write."""

import hashlib
import io
import json
import tarfile
from pathlib import Path

import pytest

from tests.clusters import images
from tests.clusters.image_archive import Image, Layer, LayerBuilder, write_archive
from tests.clusters.images import build_archive


def members(data: bytes) -> dict[str, tarfile.TarInfo]:
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        return {member.name: member for member in tar}


def layer(text: str) -> Layer:
    builder = LayerBuilder()
    builder.file("text", text.encode())
    return builder.build()


@pytest.fixture
def busybox(tmp_path: Path) -> Path:
    """Something that lists applets as busybox does."""
    program = tmp_path / "busybox"
    program.write_text("#!/bin/sh\nprintf 'busybox\\nls\\nsh\\n'\n")
    program.chmod(0o755)
    return program


def read(archive: Path) -> tuple[list[dict[str, object]], dict[str, bytes]]:
    with tarfile.open(archive) as tar:
        files = {}
        for member in tar:
            file = tar.extractfile(member)
            assert file is not None
            files[member.name] = file.read()
    return json.loads(files["manifest.json"]), files


def test_every_name_in_the_manifest_is_in_the_archive(tmp_path: Path) -> None:
    archive = tmp_path / "images.tar"
    write_archive(archive, [Image(["a:1", "a:2"], [layer("x"), layer("y")])])
    (entry,), files = read(archive)
    assert entry["RepoTags"] == ["a:1", "a:2"]
    assert {entry["Config"], *entry["Layers"]} <= files.keys()  # type: ignore[misc]


def test_names_and_diff_ids_are_digests_of_the_content(tmp_path: Path) -> None:
    archive = tmp_path / "images.tar"
    write_archive(archive, [Image(["a:1"], [layer("x")], entrypoint=["/x"], user="7")])
    (entry,), files = read(archive)
    name = str(entry["Config"])
    config = json.loads(files[name])
    assert name == f"{hashlib.sha256(files[name]).hexdigest()}.json"
    blob = files[f"{layer('x').digest}.tar"]
    assert config["rootfs"]["diff_ids"] == [f"sha256:{hashlib.sha256(blob).hexdigest()}"]
    assert (config["config"]["Entrypoint"], config["config"]["User"]) == (["/x"], "7")


def test_a_shared_layer_is_stored_once(tmp_path: Path) -> None:
    archive = tmp_path / "images.tar"
    base = layer("base")
    write_archive(archive, [Image(["a:1"], [base]), Image(["b:1"], [base, layer("top")])])
    with tarfile.open(archive) as tar:
        names = tar.getnames()
    assert len(names) == len(set(names))


def test_the_same_content_gives_the_same_bytes() -> None:
    assert layer("x") == layer("x")
    assert layer("x").digest != layer("y").digest


def test_busybox_applets_are_links_to_one_program(busybox: Path, tmp_path: Path) -> None:
    archive = tmp_path / "images.tar"
    build_archive(archive, busybox, busybox_names=["shell:1"], pause_names=["pause:1"])
    manifest, files = read(archive)
    assert [entry["RepoTags"] for entry in manifest] == [["shell:1"], ["pause:1"]]
    content = members(files[manifest[0]["Layers"][0]])  # type: ignore[index]
    assert content["bin/ls"].islnk()
    assert content["bin/ls"].linkname == "bin/busybox"
    assert content["bin/busybox"].mode == 0o755
    assert content["tmp"].mode == 0o1777


def test_without_a_compiler_pause_is_a_script_on_busybox(
    busybox: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(images, "_compile", lambda source: None)
    archive = tmp_path / "images.tar"
    build_archive(archive, busybox)
    manifest, files = read(archive)
    shell, pause = (entry["Layers"] for entry in manifest)
    assert pause[0] == shell[0]  # type: ignore[index]
    content = members(files[pause[1]])  # type: ignore[index]
    assert content["pause"].mode == 0o755
