"""`vnode fence`: what it shows, and what it writes."""

import json
from typing import Any

import msgspec
import pytest
from typer.testing import CliRunner

from federation.cli import app
from tests.builders import UID_1, UID_2, make_error
from tests.fakes.client import Body, RecordingClient
from vnode.kube.client import KubeClient
from vnode.kube.resources import NODES
from vnode.kube.types import ObjectKey
from vnode.pods.partition.fence_list import FENCED, Fence, decode, encode

ONE = Fence(ObjectKey("team-a", "web-0"), UID_1, 1_800_000_000)
OTHER = Fence(ObjectKey("team-a", "job-7"), UID_2, 1_800_000_060, place="1a2b3c4d")


class Tenant(RecordingClient):
    """Nodes that can be listed."""

    async def request(self, method: str, path: str, **_: object) -> bytes:
        assert (method, path) == ("GET", "/api/v1/nodes")
        nodes = [body for (plural, _), body in self.objects.items() if plural == "nodes"]
        return msgspec.json.encode({"metadata": {}, "items": nodes})

    async def __aenter__(self) -> "Tenant":
        return self

    async def __aexit__(self, *_: object) -> None:
        return None

    def node(self, name: str, text: str) -> None:
        self.put(NODES, {"metadata": {"name": name, "annotations": {FENCED: text, "a": "b"}}})

    def fences(self, name: str) -> tuple[Fence, ...]:
        body = self.get_body(NODES, ObjectKey("", name))
        assert body is not None
        notes: Body = body["metadata"]["annotations"]
        assert notes["a"] == "b"
        return decode(notes[FENCED])


@pytest.fixture
def tenant(monkeypatch: pytest.MonkeyPatch) -> Tenant:
    made = Tenant()

    async def connect(_: object) -> Tenant:
        return made

    monkeypatch.setattr(KubeClient, "connect", connect)
    return made


def run(*arguments: str) -> Any:
    return CliRunner().invoke(app, ["fence", *arguments])


def test_an_empty_list_says_so(tenant: Tenant) -> None:
    tenant.node("vnode-a", "")
    assert run().output == "no pod is fenced\n"


def test_the_table_has_a_line_for_each_fence_the_oldest_first(tenant: Tenant) -> None:
    tenant.node("vnode-a", encode([OTHER]))
    tenant.node("vnode-b", encode([ONE]))
    lines = [line.split() for line in run().output.splitlines()]
    assert lines == [
        ["NAMESPACE", "NAME", "NODE", "SINCE", "UID", "ACCEPTED"],
        ["team-a", "web-0", "vnode-b", "2027-01-15T08:00:00Z", UID_1, "no"],
        ["team-a", "job-7", "vnode-a", "2027-01-15T08:01:00Z", UID_2, "no"],
    ]


def test_json_has_the_same(tenant: Tenant) -> None:
    tenant.node("vnode-a", encode([ONE]))
    assert json.loads(run("-o", "json").output) == [
        {
            "namespace": "team-a",
            "name": "web-0",
            "node": "vnode-a",
            "since": "2027-01-15T08:00:00Z",
            "uid": UID_1,
            "accepted": False,
        }
    ]


def test_accepting_marks_that_pod_alone_and_by_uid_and_version(tenant: Tenant) -> None:
    tenant.node("vnode-a", encode([ONE, OTHER]))
    result = run("--accept", "team-a/web-0")
    assert result.exit_code == 0
    assert "yes" in result.output
    assert {f.key.name: f.accepted for f in tenant.fences("vnode-a")} == {
        "web-0": True,
        "job-7": False,
    }
    (patch,) = tenant.named("patch nodes")
    assert patch.body["metadata"].keys() == {"uid", "resourceVersion", "annotations"}


def test_accepting_goes_on_when_somebody_else_writes_the_list(tenant: Tenant) -> None:
    tenant.node("vnode-a", encode([ONE]))
    tenant.fail(make_error(409, "modified", reason="Conflict"), "patch nodes", times=2)
    assert run("--accept", "team-a/web-0").exit_code == 0
    assert tenant.fences("vnode-a")[0].accepted


def test_accepting_what_is_not_there_fails_and_writes_nothing(tenant: Tenant) -> None:
    tenant.node("vnode-a", encode([ONE]))
    result = run("--accept", "team-a/nobody")
    assert result.exit_code == 1
    assert "no virtual node has a fence of pod team-a/nobody" in result.output
    assert tenant.named("patch nodes") == []


@pytest.mark.parametrize("text", ["web-0", "/web-0", "team-a/", "a/b/c"])
def test_a_name_needs_its_namespace(tenant: Tenant, text: str) -> None:
    result = run("--accept", text)
    assert result.exit_code == 2
    assert tenant.calls == []


def test_a_list_that_cannot_be_read_is_left_alone(tenant: Tenant) -> None:
    tenant.node("vnode-a", "mine")
    tenant.node("vnode-b", encode([ONE]))
    assert run("--accept", "team-a/web-0").exit_code == 0
    body = tenant.get_body(NODES, ObjectKey("", "vnode-a"))
    assert body is not None
    assert body["metadata"]["annotations"][FENCED] == "mine"


def test_a_list_that_cannot_be_read_is_not_shown_as_empty(tenant: Tenant) -> None:
    tenant.node("vnode-a", "mine")
    result = run()
    assert result.exit_code == 1
    assert (
        "fence list of node vnode-a (annotation vnode.dev/fenced) cannot be read" in result.output
    )
    assert "no pod is fenced" not in result.output
    tenant.node("vnode-b", encode([ONE]))
    assert "web-0" in run().output
