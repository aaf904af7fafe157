import json
from collections import Counter
from typing import Any

from tests.bench.calls import Call, counted, node_writes, writes


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
    return counted("a", lines, user_agent="vnode/")


def test_a_request_is_counted_by_verb_and_resource() -> None:
    line = _line("patch", "pods/status")
    assert _counted(line, line) == {Call("a", "patch", "pods/status", False): 2}


def test_requests_of_other_programs_are_not_counted() -> None:
    assert not _counted(_line("create", "pods", userAgent="kube-scheduler/v1.36"))


def test_a_watch_is_counted_when_it_begins_and_not_when_it_ends() -> None:
    begun = _line("watch", "pods", stage="ResponseStarted")
    assert _counted(begun) == {Call("a", "watch", "pods", False): 1}
    assert not _counted(_line("watch", "pods"))


def test_a_refused_write_is_a_write_too() -> None:
    calls = _counted(_line("create", "pods", responseStatus={"code": 409}))
    assert calls == {Call("a", "create", "pods", True): 1}
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
    assert writes(calls, by_time=True) == 3
    assert node_writes(calls) == 1


def test_a_request_about_no_object_can_be_counted() -> None:
    assert _counted(_line("get", "", objectRef=None)) == {Call("a", "get", "", False): 1}
