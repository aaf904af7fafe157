"""What audit logs and watches are taken to say."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, cast

from tests.reliability.evidence import AuditMark, Write, most_at_once, seen_otherwise

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


def _writes(*words: str) -> list[Write]:
    pairs = [word.split("-", 1) for word in words]
    return [Write(verb, "pods", "ns", name, "u", "c", "") for verb, name in pairs]


def test_a_pod_is_there_until_the_last_deletion_of_its_name() -> None:
    gentle = _writes("delete-a", "delete-a", "create-a", "delete-b", "delete-b", "create-c")
    assert most_at_once(gentle, {"a", "b"}) == 2
    early = _writes("delete-a", "create-c", "delete-a")
    assert most_at_once(early, {"a"}) == 2
    assert most_at_once(_writes("create-c", "delete-a"), {"a"}) == 2
    assert most_at_once([], {"a", "b"}) == 2


def test_only_pods_themselves_are_counted() -> None:
    status = Write("create", "pods/binding", "ns", "b", "u", "c", "")
    assert most_at_once([status, *_writes("patch-b")], {"a"}) == 1
