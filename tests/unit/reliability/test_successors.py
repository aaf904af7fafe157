"""When successors are said to have come too early."""

from __future__ import annotations

import pytest

from tests.reliability.evidence import Life, Write
from tests.reliability.successors import judged

_OLD, _NEW = "restless-5d8f-bcdfg", "restless-5d8f-xz245"


def _passed(
    *, began: float, gone: float, answered: float, code: int = 200, old: int = 1
) -> list[bool]:
    """By etcd and by the audit log, of one pod that had a successor of another name."""
    lives = (Life(_OLD, old=True, gone=gone), Life(_NEW, old=False, began=began))
    stamps = {"c": began, "d": answered}
    create, delete = (f"2026-01-01T00:00:{at:09.6f}Z" for at in stamps.values())
    tries = (
        Write("delete", "pods", "ns", _OLD, "u", "c", delete, "2026-01-01T00:00:00Z", code),
        Write("create", "pods", "ns", _NEW, "u", "c", create, create, 201),
    )
    share = {"hasty": 0, "restless": old}
    targets = judged(share, {"hasty": (), "restless": (_OLD,)}, lives, tries)
    return [target.met for target in targets][2:]


@pytest.mark.parametrize(
    ("began", "gone", "answered", "code", "passed"),
    [
        (10, 9, 9, 200, [True, True]),
        (10, 11, 11, 200, [False, False]),
        (10, 10.001, 9, 200, [False, True]),
        (10, 9.9, 10.3, 200, [True, True]),
        (10, 9.9, 50, 504, [True, True]),
        (10, 10.1, 50, 504, [False, True]),
    ],
    ids=["after", "a second early", "a moment early", "line late", "in doubt", "early, in doubt"],
)
def test_etcd_judges_to_the_write_and_the_audit_log_as_far_as_it_can(
    began: float, gone: float, answered: float, code: int, passed: list[bool]
) -> None:
    assert _passed(began=began, gone=gone, answered=answered, code=code) == passed


def test_pods_that_nobody_saw_prove_nothing() -> None:
    assert _passed(began=10, gone=9, answered=9, old=2) == [False, False]
