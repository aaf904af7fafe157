"""Mounts are gone in the end, by whomever."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.clusters import teardown
from tests.clusters.errors import CommandError, HarnessError


def _machine(monkeypatch: pytest.MonkeyPatch, *tables: Sequence[str]) -> None:
    """Shows these mounts one after the other, the last ones for ever; umount always complains."""
    left = list(tables)

    def complain(*_: object) -> str:
        raise CommandError("umount: /state/b: not mounted")

    def shown(*_: object) -> Sequence[str]:
        return left.pop(0) if len(left) > 1 else left[0]

    monkeypatch.setattr(teardown, "run", complain)
    monkeypatch.setattr(teardown, "mounts_below", shown)
    monkeypatch.setattr(teardown, "_UNMOUNT_SECONDS", 0.05)


def test_a_mount_that_went_with_another_is_no_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    _machine(monkeypatch, ["/state/a", "/state/b"], [])
    teardown.unmount_below(Path("/state"))


def test_a_mount_that_stays_is_told_with_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    _machine(monkeypatch, ["/state/a"])
    with pytest.raises(HarnessError, match=r"mounts below /state stay: umount: .* not mounted"):
        teardown.unmount_below(Path("/state"))
