import asyncio
import contextlib
import dataclasses
import json

import pytest

from tests.unit.kubelet.conftest import Kubelet, RawClient
from tests.unit.kubelet.fakes import EchoUpgrade, make_pod
from vnode.backend import StreamError, StreamVerb
from vnode.kube.errors import Unreachable
from vnode.kube.types import ObjectKey

SPDY = (
    ("Connection", "Upgrade"),
    ("Upgrade", "SPDY/3.1"),
    ("X-Stream-Protocol-Version", "v5.channel.k8s.io"),
    ("X-Stream-Protocol-Version", "v4.channel.k8s.io"),
    ("Content-Length", "0"),
)
WEBSOCKET = (
    ("Connection", "keep-alive, Upgrade"),
    ("Upgrade", "websocket"),
    ("Sec-WebSocket-Version", "13"),
    ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
    ("Sec-WebSocket-Protocol", "v5.channel.k8s.io"),
)
EXEC = "/exec/team/web/main?command=sh&command=-c&command=echo%20a%26b&output=1&error=1"


async def failure(client: RawClient, headers: list[tuple[str, str]]) -> dict[str, object]:
    body = await client.reader.readexactly(int(dict(headers)["Content-Length"]))
    decoded: dict[str, object] = json.loads(body)
    return decoded


async def test_a_spdy_post_is_tunnelled_both_ways(kubelet: Kubelet) -> None:
    client = await kubelet.dial()
    status, headers = await client.open("POST", EXEC, *SPDY)
    assert status == 101
    assert headers == [
        ("Connection", "Upgrade"),
        ("Upgrade", "SPDY/3.1"),
        ("X-Stream-Protocol-Version", "v4.channel.k8s.io"),
    ]
    client.writer.write(b"hello")
    assert await client.reader.readexactly(10) == b"echo:hello"
    client.writer.write(b"quit")
    assert await client.reader.read() == b"echo:quit"
    await client.close()
    (asked,) = kubelet.backend.streams
    assert asked.verb is StreamVerb.EXEC
    assert asked.method == "POST"
    assert asked.container == "main"
    assert asked.command == ["sh", "-c", "echo a&b"]
    assert (asked.stdin, asked.stdout, asked.stderr, asked.tty) == (False, True, True, False)


async def test_a_websocket_get_is_tunnelled_both_ways(kubelet: Kubelet) -> None:
    kubelet.backend.answer_headers = (
        ("Upgrade", "websocket"),
        ("Connection", "Upgrade"),
        ("Sec-WebSocket-Accept", "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="),
        ("Sec-WebSocket-Protocol", "v5.channel.k8s.io"),
    )
    client = await kubelet.dial()
    status, headers = await client.open("GET", "/attach/team/web/uid-1/main?input=1", *WEBSOCKET)
    assert status == 101
    assert dict(headers)["Sec-WebSocket-Accept"] == "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
    client.writer.write(b"\x82\x04quit")
    assert await client.reader.read() == b"echo:\x82\x04quit"
    await client.close()
    (asked,) = kubelet.backend.streams
    assert (asked.verb, asked.method, asked.stdin) == (StreamVerb.ATTACH, "GET", True)


async def test_bytes_right_behind_a_websocket_head_are_not_lost(kubelet: Kubelet) -> None:
    client = await kubelet.dial()
    early = b"x" * 300_000 + b"quit"
    status, _ = await client.open("GET", EXEC, *WEBSOCKET, early=early)
    assert status == 101
    assert (await client.reader.read()).replace(b"echo:", b"") == early
    await client.close()


async def test_credentials_and_foreign_headers_stay_here(kubelet: Kubelet) -> None:
    client = await kubelet.dial()
    await client.open(
        "POST",
        EXEC,
        *SPDY,
        ("Authorization", "Bearer good"),
        ("Cookie", "a=b"),
        ("Impersonate-User", "admin"),
        ("X-Remote-User", "admin"),
        ("X-Forwarded-For", "10.0.0.1"),
    )
    await client.close()
    (asked,) = kubelet.backend.streams
    assert asked.headers == [
        ("Connection", "Upgrade"),
        ("Upgrade", "SPDY/3.1"),
        ("X-Stream-Protocol-Version", "v5.channel.k8s.io"),
        ("X-Stream-Protocol-Version", "v4.channel.k8s.io"),
    ]


async def test_a_port_forward_needs_no_container(kubelet: Kubelet) -> None:
    client = await kubelet.dial()
    status, _ = await client.open("POST", "/portForward/team/web/uid-1", *SPDY)
    assert status == 101
    await client.close()
    (asked,) = kubelet.backend.streams
    assert (asked.verb, asked.container, asked.ports) == (StreamVerb.PORT_FORWARD, "", ())


@pytest.mark.parametrize(
    ("path", "code", "message"),
    [
        ("/exec/team/gone/main?output=1", 404, 'pod "gone" does not exist'),
        ("/exec/other/web/main?output=1", 404, 'pod "web" does not exist'),
        ("/exec/team/web/uid-2/main?output=1", 404, 'pod "web" does not exist'),
        ("/exec/team/web/fuse?output=1", 404, 'container "fuse" not found in pod "web"'),
        ("/exec/team/new/main?output=1", 400, 'pod "new" is waiting to start: ContainerCreating'),
        ("/exec/team/web/main", 400, "you must specify at least 1 of stdin, stdout, stderr"),
    ],
)
async def test_what_cannot_be_served_is_answered_before_anything_is_dialled(
    kubelet: Kubelet, path: str, code: int, message: str
) -> None:
    kubelet.pods.pods[ObjectKey("team", "new")] = make_pod("new")
    kubelet.pods.not_started.add(ObjectKey("team", "new"))
    client = await kubelet.dial()
    status, headers = await client.open("POST", path, *SPDY)
    answer = await failure(client, headers)
    await client.close()
    assert status == answer["code"] == code
    assert answer["message"] == message
    assert (answer["kind"], answer["status"]) == ("Status", "Failure")
    assert kubelet.backend.streams == []


@pytest.mark.parametrize(("below", "code"), [(403, 403), (404, 404), (401, 502), (200, 502)])
async def test_a_failure_below_is_relayed_as_a_status(
    kubelet: Kubelet, below: int, code: int
) -> None:
    kubelet.backend.stream_error = StreamError("not now", code=below, reason="Because")
    client = await kubelet.dial()
    status, headers = await client.open("POST", EXEC, *SPDY)
    answer = await failure(client, headers)
    assert (status, answer["code"]) == (code, code)
    assert (answer["message"], answer["reason"]) == ("not now", "Because")
    await client.close()


async def test_a_connection_lives_on_after_a_refused_upgrade(kubelet: Kubelet) -> None:
    kubelet.backend.stream_error = StreamError("not now", code=500)
    client = await kubelet.dial()
    for headers in (SPDY, WEBSOCKET):
        method = "POST" if headers is SPDY else "GET"
        status, answered = await client.open(method, EXEC, *headers)
        assert status == 500
        await failure(client, answered)
    kubelet.backend.stream_error = None
    status, _ = await client.open("POST", EXEC, *SPDY)
    assert status == 101
    await client.close()


async def test_a_namespace_has_a_limit_of_sessions_of_its_own(kubelet: Kubelet) -> None:
    kubelet.pods.pods[ObjectKey("calm", "web")] = make_pod(namespace="calm")
    clients = [await kubelet.dial() for _ in range(5)]
    for client in clients[:3]:
        assert (await client.open("POST", EXEC, *SPDY))[0] == 101
    status, headers = await clients[3].open("POST", EXEC, *SPDY)
    answer = await failure(clients[3], headers)
    assert (status, answer["reason"]) == (429, "TooManyRequests")
    assert "namespace team has 3" in str(answer["message"])
    calm = "/exec/calm/web/main?output=1"
    assert (await clients[4].open("POST", calm, *SPDY))[0] == 101
    for client in clients:
        await client.close()


async def test_a_session_that_ended_makes_room(kubelet: Kubelet) -> None:
    for _ in range(5):
        client = await kubelet.dial()
        assert (await client.open("POST", EXEC, *SPDY))[0] == 101
        client.writer.write(b"quit")
        await client.reader.read()
        await client.close()
        await asyncio.wait_for(kubelet.sessions.wait_ended(kubelet.server._node), 5)


async def test_a_client_that_leaves_during_the_dial_cancels_it(kubelet: Kubelet) -> None:
    gate = kubelet.backend.stream_gate = asyncio.Event()
    client = await kubelet.dial()
    opening = asyncio.create_task(client.open("POST", EXEC, *SPDY))
    await asyncio.wait_for(kubelet.backend.asked.wait(), 5)
    assert kubelet.sessions.statistics().open == 1
    await client.close()
    await asyncio.wait_for(kubelet.sessions.wait_ended(kubelet.server._node), 5)
    gate.set()
    await asyncio.gather(opening, return_exceptions=True)
    assert kubelet.backend.upgraded == []


async def test_a_backend_without_upgrades_is_a_clear_501(kubelet: Kubelet) -> None:
    kubelet.backend.capabilities = dataclasses.replace(
        kubelet.backend.capabilities, upgrade_streams=False
    )
    client = await kubelet.dial()
    status, headers = await client.open("POST", EXEC, *SPDY)
    assert status == 501
    assert (await failure(client, headers))["message"] == "exec is not supported on this node"
    await client.close()


async def test_a_tunnel_that_breaks_at_once_ends_the_clients_connection(
    kubelet: Kubelet, monkeypatch: pytest.MonkeyPatch
) -> None:
    def cut(*_args: object, **_kwargs: object) -> None:
        raise Unreachable("cut")

    monkeypatch.setattr(EchoUpgrade, "splice", cut)
    client = await kubelet.dial()
    with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
        await client.open("POST", EXEC, *SPDY)
        assert await client.reader.read() == b""
    await client.close()
    assert kubelet.backend.upgraded[0].aborted


async def test_the_server_forgets_a_tunnelled_connection(kubelet: Kubelet) -> None:
    client = await kubelet.dial()
    await client.open("POST", EXEC, *SPDY)
    runner = kubelet.server._runner
    assert runner is not None
    server = runner.server
    assert server is not None
    assert len(server.connections) == 1
    client.writer.write(b"quit")
    await client.reader.read()
    await client.close()
    await asyncio.wait_for(kubelet.sessions.wait_ended(kubelet.server._node), 5)
    for _ in range(3):  # The handler's task and the task around it have to end.
        await asyncio.sleep(0)
    assert server.connections == []
