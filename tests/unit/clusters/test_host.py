"""What harnesses change on a machine is put back, and mounts are found."""

from pathlib import Path

import pytest

from tests.clusters.errors import CommandError
from tests.clusters.host import KernelSettings, run
from tests.clusters.teardown import mounts_below


@pytest.fixture
def sysctl(tmp_path: Path) -> Path:
    root = tmp_path / "sys"
    (root / "vm").mkdir(parents=True)
    (root / "vm" / "overcommit_memory").write_text("0\n")
    return root


def test_settings_are_put_back_as_they_were_first(tmp_path: Path, sysctl: Path) -> None:
    setting = sysctl / "vm" / "overcommit_memory"
    settings = KernelSettings(tmp_path / "saved.json", root=sysctl)
    settings.prepare()
    setting.write_text("1")  # the first harness's kubelet
    settings.prepare()  # a second harness comes
    settings.restore()
    assert setting.read_text() == "0"
    assert not (tmp_path / "saved.json").exists()


def test_limits_are_raised_but_never_lowered(tmp_path: Path, sysctl: Path) -> None:
    limit = sysctl / "fs" / "inotify" / "max_user_instances"
    limit.parent.mkdir(parents=True)
    limit.write_text("128\n")
    settings = KernelSettings(tmp_path / "saved.json", root=sysctl)
    settings.prepare()
    assert limit.read_text() == "4096"
    limit.write_text("9000")  # somebody else wants more still
    settings.prepare()
    assert limit.read_text() == "9000"
    settings.restore()
    assert limit.read_text() == "128"


def test_without_saved_settings_nothing_is_changed(tmp_path: Path, sysctl: Path) -> None:
    KernelSettings(tmp_path / "saved.json", root=sysctl).restore()
    assert (sysctl / "vm" / "overcommit_memory").read_text() == "0\n"


def test_mounts_below_a_folder_are_found_with_odd_names_too() -> None:
    table = "\n".join(
        [
            "proc /proc proc rw 0 0",
            "tmpfs /state/a tmpfs rw 0 0",
            r"tmpfs /state/a/b\040c tmpfs rw 0 0",
            "tmpfs /stateful tmpfs rw 0 0",
        ]
    )
    assert mounts_below(Path("/state"), table) == ["/state/a", "/state/a/b c"]


def test_a_failed_command_says_what_it_printed() -> None:
    with pytest.raises(CommandError, match="oh no"):
        run("sh", "-c", "echo oh no >&2; exit 3")


def test_a_missing_command_is_a_failed_one() -> None:
    with pytest.raises(CommandError, match="no-such-command"):
        run("no-such-command")
