"""What audit logs and watches are taken to say."""

from __future__ import annotations

import json
import threading
from typing import TYPE_CHECKING, Any, cast

from tests.clusters.errors import HarnessError
from tests.reliability.evidence import AuditMark, Census, seen_otherwise

if TYPE_CHECKING:
    from pathlib import Path

    from tests.clusters import Cluster
    from tests.e2e.recorder import PodRecorder
    from tests.e2e.user import User


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


class _Lists:
    """A user who sees these pods, one list after the other, and then an error."""

    def __init__(self, *lists: tuple[str, ...]) -> None:
        self._lists = list(lists)
        self.empty = threading.Event()

    def items(self, kind: str, selector: str) -> list[Any]:
        assert (kind, selector) == ("pods", "app in (a,b)")
        if not self._lists:
            self.empty.set()
            raise HarnessError("away")
        return [{"metadata": {"labels": {"app": app}}} for app in self._lists.pop(0)]


def test_the_most_pods_that_were_there_at_once_are_told_by_workload() -> None:
    lists = _Lists(("a", "b"), ("a", "a"), (), ("a",))
    with Census(cast("User", lists), ("a", "b")) as census:
        assert lists.empty.wait(5)
    assert census.most == {"a": 2, "b": 1}
    assert census.counts == 4
