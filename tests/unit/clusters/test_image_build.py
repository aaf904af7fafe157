"""Layers hold what changed; the cache tells what has to be made again."""

import os
import tarfile
from pathlib import Path

import pytest

from tests.clusters.image_build import content_digest, tar_layer


def test_what_a_layer_deletes_is_marked(tmp_path: Path) -> None:
    changes = tmp_path / "changes"
    (changes / "etc").mkdir(parents=True)
    (changes / "etc" / "kept").write_text("text")
    try:
        os.mknod(changes / "etc" / "gone", 0o20000, os.makedev(0, 0))
    except PermissionError:
        pytest.skip("may not make what overlay file systems mark deletions with")
    tar_layer(changes, tmp_path / "layer.tar")
    with tarfile.open(tmp_path / "layer.tar") as tar:
        assert sorted(tar.getnames()) == ["etc", "etc/.wh.gone", "etc/kept"]


def test_a_folder_that_hides_what_was_there_before_is_marked(tmp_path: Path) -> None:
    folder = tmp_path / "changes" / "made-again"
    folder.mkdir(parents=True)
    try:
        os.setxattr(folder, "trusted.overlay.opaque", b"y")
    except OSError:
        pytest.skip("may not set what overlay file systems mark such folders with")
    tar_layer(tmp_path / "changes", tmp_path / "layer.tar")
    with tarfile.open(tmp_path / "layer.tar") as tar:
        assert tar.getnames() == ["made-again", "made-again/.wh..wh..opq"]


def test_links_stay_links_and_files_keep_mode_and_time(tmp_path: Path) -> None:
    changes = tmp_path / "changes"
    changes.mkdir()
    (changes / "program").write_text("text")
    (changes / "program").chmod(0o755)
    os.utime(changes / "program", (1000, 1000))
    (changes / "link").symlink_to("/usr/bin/python3")
    tar_layer(changes, tmp_path / "layer.tar")
    with tarfile.open(tmp_path / "layer.tar") as tar:
        program, link = tar.getmember("program"), tar.getmember("link")
    assert (program.mode, program.mtime) == (0o755, 1000)
    assert link.issym()
    assert link.linkname == "/usr/bin/python3"


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    (tmp_path / "vnode").mkdir()
    (tmp_path / "vnode" / "a.py").write_text("1")
    return tmp_path


def digest(tree: Path) -> str:
    return content_digest([tree / "vnode"], root=tree)


def test_a_changed_or_another_file_changes_the_digest(tree: Path) -> None:
    seen = {digest(tree)}
    (tree / "vnode" / "a.py").write_text("2")
    seen.add(digest(tree))
    (tree / "vnode" / "b.py").write_text("")
    seen.add(digest(tree))
    (tree / "vnode" / "a.py").chmod(0o755)
    seen.add(digest(tree))
    assert len(seen) == 4


def test_compiled_files_and_times_do_not_change_the_digest(tree: Path) -> None:
    before = digest(tree)
    (tree / "vnode" / "__pycache__").mkdir()
    (tree / "vnode" / "__pycache__" / "a.pyc").write_text("")
    os.utime(tree / "vnode" / "a.py", (1000, 1000))
    assert digest(tree) == before
