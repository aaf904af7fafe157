import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tests.bench.calls import Call, CallMark, counted, node_writes, of, sort, writes
from tests.clusters import Cluster


def _line(verb: str, resource: str, **more: Any) -> bytes:
    name, _, subresource = resource.partition("/")
    entry = {
        "stage": "ResponseComplete",
        "verb": verb,
        "userAgent": "vnode/0.1.0",
        "objectRef": {"resource": name, "subresource": subresource, "name": "x"},
        "responseStatus": {"code": 200},
        **more,
    }
    return json.dumps(entry).encode() + b"\n"


def _counted(*lines: bytes) -> Counter[Call]:
    return counted("a", lines)


def _call(verb: str, resource: str, *, failed: bool = False) -> Call:
    return Call("vnode/0.1.0", "a", verb, resource, failed)


def test_a_request_is_counted_by_verb_and_resource() -> None:
    line = _line("patch", "pods/status")
    assert _counted(line, line) == {_call("patch", "pods/status"): 2}


def test_requests_of_other_programs_are_told_apart() -> None:
    theirs = _line("create", "pods", userAgent="kube-scheduler/v1.36 (linux/amd64)")
    calls = _counted(theirs, _line("create", "pods"))
    assert {call.agent for call in calls} == {"kube-scheduler/v1.36", "vnode/0.1.0"}
    assert of(calls, "vnode/") == {_call("create", "pods"): 1}


def test_a_watch_is_counted_when_it_begins_and_not_when_it_ends() -> None:
    begun = _line("watch", "pods", stage="ResponseStarted")
    assert _counted(begun) == {_call("watch", "pods"): 1}
    assert not _counted(_line("watch", "pods"))


def test_a_refused_write_is_a_write_too() -> None:
    calls = _counted(_line("create", "pods", responseStatus={"code": 409}))
    assert calls == {_call("create", "pods", failed=True): 1}
    assert writes(calls) == 1


def test_a_line_that_is_not_whole_is_left_out() -> None:
    assert not _counted(_line("create", "pods")[:-1])


def test_reads_and_what_time_brings_are_no_writes_of_pods() -> None:
    calls = _counted(
        _line("list", "pods"),
        _line("update", "leases"),
        _line("patch", "nodes/status"),
        _line("delete", "pods"),
    )
    assert writes(calls) == 1
    assert node_writes(calls) == 1


@pytest.mark.parametrize(
    "resource",
    ["leases", "nodes", "nodes/status", "certificatesigningrequests", "selfsubjectreviews"],
)
def test_what_needs_no_pod_is_no_write_of_pods(resource: str) -> None:
    assert writes(_counted(_line("create", resource)), shared=True) == 0


def test_what_pods_share_counts_where_it_is_asked_for() -> None:
    kinds = ("configmaps", "namespaces", "secrets")
    calls = _counted(*(_line("create", kind) for kind in kinds))
    assert writes(calls) == 1
    assert writes(calls, shared=True) == 3
    assert sort(_call("get", "configmaps")) == "read"


def test_a_request_about_no_object_can_be_counted() -> None:
    assert _counted(_line("get", "", objectRef=None)) == {_call("get", ""): 1}


def test_calls_before_the_mark_are_not_counted(tmp_path: Path) -> None:
    log = tmp_path / "audit.log"
    log.write_bytes(_line("create", "pods"))
    mark = CallMark(_cluster(log))
    with log.open("ab") as more:
        more.write(_line("delete", "pods"))
    assert mark.calls() == {_call("delete", "pods"): 1}


def test_a_log_that_is_put_aside_meanwhile_is_counted_to_its_end(tmp_path: Path) -> None:
    log = tmp_path / "audit.log"
    (tmp_path / "audit-2026-01-01T00-00-00.000.log").write_bytes(_line("create", "secrets"))
    log.write_bytes(_line("create", "pods"))
    mark = CallMark(_cluster(log))
    with log.open("ab") as more:
        more.write(_line("delete", "pods"))
    log.rename(tmp_path / "audit-2026-01-01T00-00-01.000.log")
    log.write_bytes(_line("patch", "pods"))
    assert mark.calls() == {_call("delete", "pods"): 1, _call("patch", "pods"): 1}


def _cluster(log: Path) -> Cluster:
    return Cluster("a", log, "https://a.example", log, audit_log=log)
