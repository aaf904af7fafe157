"""What audit logs and watches are taken to say."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, cast

import pytest

from tests.chaos.history import Version
from tests.reliability.evidence import (
    AuditMark,
    Write,
    lives_by_audit,
    lives_by_history,
    seen_otherwise,
    succession,
)

if TYPE_CHECKING:
    from pathlib import Path

    from tests.clusters import Cluster
    from tests.e2e.recorder import PodRecorder


class _Cluster:
    def __init__(self, log: Path) -> None:
        self.audit_log = log


class _Recorder:
    def __init__(self, *events: tuple[str, Any]) -> None:
        self._events = list(events)

    def events(self) -> list[tuple[str, Any]]:
        return self._events


def _line(verb: str, name: str, *, code: int = 200, namespace: str = "ns", sub: str = "") -> str:
    about = {"resource": "pods", "subresource": sub, "namespace": namespace, "name": name}
    entry = {"verb": verb, "objectRef": about, "responseStatus": {"code": code}}
    return json.dumps(entry) + "\n"


def _mark(log: Path) -> AuditMark:
    return AuditMark(cast("Cluster", _Cluster(log)))


def _pod(uid: str, phase: str, **metadata: str) -> Any:
    return {"metadata": {"uid": uid, **metadata}, "status": {"phase": phase}}


def test_only_what_was_carried_out_after_the_mark_counts(tmp_path: Path) -> None:
    log = tmp_path / "audit.log"
    log.write_text(_line("delete", "before"))
    mark = _mark(log)
    with log.open("a") as file:
        file.write(_line("create", "a", code=201))
        file.write(_line("create", "refused", code=409))
        file.write(_line("patch", "a", sub="status"))
        file.write(_line("delete", "elsewhere", namespace="other"))
        file.write(_line("delete", "known"))
        file.write(_line("delete", "a"))
        file.write(_line("create", "a", sub="eviction", code=201))
        file.write('{"verb": "delete", cut')
    assert mark.of_pods({"ns"}, but={"known"}) == {"created": 1, "deleted": 2}


def test_what_was_only_read_is_no_write(tmp_path: Path) -> None:
    mark = _mark(tmp_path / "audit.log")
    lines = [_line(verb, "a") for verb in ("get", "list", "watch", "patch")]
    (tmp_path / "audit.log").write_text("".join(lines))
    assert [write.verb for write in mark.writes()] == ["patch"]


def test_a_request_whose_answer_nobody_heard_may_have_been_carried_out(tmp_path: Path) -> None:
    log = tmp_path / "audit.log"
    mark = _mark(log)
    log.write_text(_line("delete", "a", code=0))
    assert mark.of_pods({"ns"}) == {"deleted": 1}


def test_a_pod_that_was_ever_shown_otherwise_is_told_once() -> None:
    events = (
        ("ADDED", _pod("1", "Running")),
        ("MODIFIED", _pod("2", "Failed")),
        ("MODIFIED", _pod("2", "Failed")),
        ("MODIFIED", _pod("3", "Running", deletionTimestamp="now")),
        ("DELETED", _pod("3", "Running")),
    )
    recorder = cast("PodRecorder", _Recorder(*events))
    assert seen_otherwise(recorder) == {"Failed": 1, "deleted": 1}


def _told(*versions: tuple[float, str, str, str]) -> list[Version]:
    """Versions that etcd told of: seconds, name, UID, and the phase or `gone`."""
    return [
        Version(
            "below",
            "pods",
            "ns",
            name,
            {"metadata": {"uid": uid}, "status": {"phase": phase} if phase != "gone" else {}},
            gone=phase == "gone",
            at=at,
        )
        for at, name, uid, phase in versions
    ]


@pytest.mark.parametrize(("gone", "apart"), [(11.0, -1.0), (9.0, 1.0)])
def test_etcd_tells_an_overlap_of_one_second(gone: float, apart: float) -> None:
    told = _told((0, "a", "a", "Running"), (gone, "a", "a", "gone"), (10, "b", "b", "Pending"))
    told.sort(key=lambda version: version.at)
    found = succession(lives_by_history(told, {"a"}), by_name=False)
    assert (found.old, found.successors, found.apart) == (1, 1, apart)
    assert found.beside == (apart < 0)


@pytest.mark.parametrize("first", ["a", "b"])
def test_etcd_tells_who_came_first_where_the_times_do_not(first: str) -> None:
    last = {"a": (5.0, "a", "a", "gone"), "b": (5.0, "b", "b", "Pending")}
    second = "b" if first == "a" else "a"
    told = _told((9, "a", "a", "Running"), last[first], last[second])
    assert succession(lives_by_history(told, {"a"}), by_name=False).beside == (first == "b")


def test_containers_that_have_ended_are_told_from_a_pod_that_is_gone() -> None:
    told = _told(
        (0, "a", "a", "Running"),
        (5, "a", "a", "Failed"),
        (6, "a", "a", "Failed"),
        (7, "b", "b", "Pending"),
        (8, "a", "a", "gone"),
    )
    lives = lives_by_history(told, {"a"})
    assert succession(lives, by_name=False).apart == -1.0
    assert succession(lives, by_name=False, until=lambda life: life.ended).apart == 2.0


def test_each_successor_comes_after_all_old_pods_or_after_the_one_of_its_name() -> None:
    told = _told(
        (0, "x", "u1", "Running"),
        (0, "y", "u2", "Running"),
        (1, "x", "u1", "gone"),
        (2, "x", "u3", "Pending"),
        (5, "y", "u2", "gone"),
        (9, "y", "u4", "Pending"),
    )
    lives = lives_by_history(told, {"u1", "u2"})
    same, others = succession(lives, by_name=True), succession(lives, by_name=False)
    assert (same.apart, same.beside) == (1.0, 0)
    assert (others.apart, others.beside) == (-3.0, 1)


def test_an_old_pod_that_never_goes_is_beside_whoever_comes() -> None:
    told = _told((0, "a", "a", "Running"), (10, "b", "b", "Pending"))
    assert succession(lives_by_history(told, {"a"}), by_name=False).beside == 1


def _try(verb: str, name: str, received: int, answered: int, *, code: int = 200) -> Write:
    at, since = (f"2026-01-01T00:00:{second:02}.000000Z" for second in (answered, received))
    return Write(verb, "pods", "ns", name, "u", "c", at, since, code)


def test_an_audit_log_finds_an_overlap_of_one_second() -> None:
    tries = [_try("create", "b", 10, 12, code=201), _try("delete", "a", 9, 11)]
    found = succession(lives_by_audit(tries, {"a"}), by_name=False)
    assert (found.old, found.successors, found.apart, found.beside) == (1, 1, -1.0, 1)


def test_a_deletion_that_was_carried_out_and_answered_504_is_an_end_for_both() -> None:
    """Counted by good answers alone, such pods are there for ever: so many too many at once."""
    tries = [
        _try("delete", "a", 1, 2, code=504),
        _try("delete", "a", 3, 4, code=504),
        _try("delete", "a", 5, 5, code=404),
        _try("create", "b", 6, 7, code=201),
    ]
    assert [write.done for write in tries] == [False, False, False, True]
    by_audit = succession(lives_by_audit(tries, {"a"}), by_name=False)
    assert (by_audit.apart, by_audit.beside) == (2.0, 0)
    told = _told(
        (0, "a", "a", "Running"),
        (1.5, "a", "a", "Running"),
        (3.5, "a", "a", "gone"),
        (6.5, "b", "b", "Pending"),
    )
    by_etcd = succession(lives_by_history(told, {"a"}), by_name=False)
    assert (by_etcd.apart, by_etcd.beside) == (3.0, 0)


def test_by_an_audit_log_a_pod_is_there_until_its_last_deletion_was_answered() -> None:
    tries = [
        _try("delete", "a", 1, 9),
        _try("delete", "a", 2, 3),
        _try("create", "a", 4, 5, code=500),
        _try("create", "a", 11, 12, code=409),
        _try("create", "a", 20, 21, code=201),
        _try("patch", "a", 30, 31),
    ]
    old, new = lives_by_audit(tries, {"a"})
    assert (old.old, new.old) == (True, False)
    assert succession((old, new), by_name=True).apart == 4 - 9
