"""The client's verbs on the wire, and how it words what goes wrong."""

import asyncio
import datetime
import email.utils
import json
import ssl
from pathlib import Path

import msgspec
import pytest
import trustme
from aiohttp import web

from tests.unit.kube.test_kubeconfig import write
from tests.unit.runtime.scripted_server import Reply, ScriptedServer, connect, pod, status
from vnode.kube.client import KubeClient, PatchType
from vnode.kube.config import Access, Connection
from vnode.kube.credentials import Credentials
from vnode.kube.errors import (
    ApiError,
    Conflict,
    Forbidden,
    NotFound,
    ServerError,
    Silent,
    TooManyRequests,
    Unauthorized,
    Unreachable,
    Untrusted,
)
from vnode.kube.resources import LEASES, NAMESPACES, NODES, PODS, SERVICE_ACCOUNTS
from vnode.kube.transport import Transport
from vnode.kube.types import UID, PartialObject, Pod


def answer(value: object, **headers: str) -> Reply:
    return Reply(chunks=(json.dumps(value).encode(),), headers=headers)


PARTIAL = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1,application/json"


async def test_get_returns_the_object() -> None:
    async with ScriptedServer(answer(pod("a", 5))) as server, connect(server.url) as client:
        found = await client.get(PODS, Pod, name="a", namespace="ns")
        sent = server.requests[0]
    assert found.metadata.uid == "uid-a"
    assert (sent.method, sent.path) == ("GET", "/api/v1/namespaces/ns/pods/a")
    assert sent.headers["Accept"] == "application/json"
    assert sent.headers["User-Agent"] == "vnode"


async def test_writes_are_answered_with_what_is_asked_for() -> None:
    replies = [answer(pod("a", 5)) for _ in range(3)]
    async with ScriptedServer(*replies) as server, connect(server.url) as client:
        created = await client.create(PODS, {"x": 1}, PartialObject, namespace="ns")
        await client.replace(PODS, pod("a", 4), namespace="ns", name="a")
        whole = await client.patch(
            PODS,
            msgspec.Raw(b'{"status":{}}'),
            Pod,
            namespace="ns",
            name="a",
            subresource="status",
            patch_type=PatchType.STRATEGIC,
        )
        create, replace, patch = server.requests
    assert isinstance(created, PartialObject)
    assert isinstance(whole, Pod)
    assert (create.method, create.path, create.body) == (
        "POST",
        "/api/v1/namespaces/ns/pods",
        b'{"x":1}',
    )
    assert create.headers["Accept"] == PARTIAL
    assert (replace.method, replace.headers["Accept"]) == ("PUT", PARTIAL)
    assert (patch.method, patch.path) == ("PATCH", "/api/v1/namespaces/ns/pods/a/status")
    assert patch.headers["Accept"] == "application/json"
    assert patch.headers["Content-Type"] == "application/strategic-merge-patch+json"
    assert patch.body == b'{"status":{}}'


async def test_bytes_are_sent_as_they_are() -> None:
    async with ScriptedServer(answer(pod("n", 1))) as server, connect(server.url) as client:
        await client.patch(NODES, b'{"a": 1}', PartialObject, name="n")
        sent = server.requests[0]
    assert sent.body == b'{"a": 1}'
    assert sent.headers["Content-Type"] == "application/merge-patch+json"


async def test_create_reaches_subresources_of_a_named_object() -> None:
    async with ScriptedServer(answer({"status": {}})) as server, connect(server.url) as client:
        await client.create(
            SERVICE_ACCOUNTS, {}, msgspec.Raw, namespace="ns", name="sa", subresource="token"
        )
        assert server.requests[0].path == "/api/v1/namespaces/ns/serviceaccounts/sa/token"


async def test_a_strict_create_asks_for_unknown_fields_to_be_refused() -> None:
    async with ScriptedServer(answer(pod("a", 1))) as server, connect(server.url) as client:
        await client.create(PODS, {}, PartialObject, namespace="ns", strict=True)
        assert server.requests[0].query == {"fieldValidation": "Strict"}


async def test_a_dry_run_of_a_create_asks_for_nothing_to_be_stored() -> None:
    async with ScriptedServer(answer(pod("a", 1))) as server, connect(server.url) as client:
        await client.create(PODS, {}, PartialObject, namespace="ns", dry_run=True)
        assert server.requests[0].query == {"dryRun": "All"}


async def test_delete_always_names_the_uid() -> None:
    async with ScriptedServer(answer({}), answer({})) as server, connect(server.url) as client:
        await client.delete(PODS, name="a", namespace="ns", uid=UID("u"))
        await client.delete(PODS, name="a", namespace="ns", uid=UID("u"), grace_seconds=0)
        plain, full = (json.loads(request.body) for request in server.requests)
    assert plain == {"preconditions": {"uid": "u"}}
    assert full == {"preconditions": {"uid": "u"}, "gracePeriodSeconds": 0}


async def test_delete_can_name_the_version_too() -> None:
    async with ScriptedServer(answer({})) as server, connect(server.url) as client:
        await client.delete(NAMESPACES, name="a", uid=UID("u"), resource_version="7")
        (request,) = server.requests
    assert json.loads(request.body) == {"preconditions": {"uid": "u", "resourceVersion": "7"}}


@pytest.mark.parametrize(
    ("reply", "kind"),
    [
        (status(404, 'pods "a" not found', reason="NotFound"), NotFound),
        (status(409, "changed", reason="Conflict"), Conflict),
        (status(403, "no", reason="Forbidden"), Forbidden),
        (status(503, "starting"), ServerError),
        (Reply(status=404, chunks=(b"404 page not found\n",)), ServerError),
        (Reply(status=403, chunks=(b"<html>403</html>",)), ServerError),
        (Reply(status=302, headers={"Location": "/login"}), ServerError),
        (Reply(status=429, chunks=(b"Too many requests",)), TooManyRequests),
        (Reply(status=200, chunks=(b"<html>welcome</html>",)), ServerError),
    ],
    ids=lambda value: getattr(value, "__name__", None) or str(value.status),
)
async def test_answers_that_are_errors_raise_by_meaning(reply: Reply, kind: type[ApiError]) -> None:
    async with ScriptedServer(reply) as server, connect(server.url) as client:
        with pytest.raises(ApiError) as caught:
            await client.get(PODS, Pod, name="a", namespace="ns")
        assert len(server.requests) == 1
    assert type(caught.value) is kind
    assert "<html>" not in str(caught.value)


async def test_retry_after_is_told() -> None:
    refusal = status(429, "slow down", **{"Retry-After": "3"})
    async with ScriptedServer(refusal) as server, connect(server.url) as client:
        with pytest.raises(TooManyRequests) as caught:
            await client.request("GET", "/x")
    assert caught.value.retry_after == 3


async def test_a_peer_that_does_not_answer_in_time_is_unreachable() -> None:
    async with ScriptedServer() as server, connect(server.url) as client:
        with pytest.raises(Unreachable, match="compute: GET /x: no answer in time"):
            await client.request("GET", "/x", timeout=0.1)
        assert client.statistics().requests == {("GET", 0): 1}


async def test_an_answer_that_is_cut_is_unreachable() -> None:
    half = Reply(chunks=(b'{"metadata":',), end="cut")
    async with ScriptedServer(half) as server, connect(server.url) as client:
        with pytest.raises(Unreachable, match="connection lost"):
            await client.request("POST", "/x", body=b"{}")


async def test_nobody_listening_is_unreachable(unused_tcp_port: int) -> None:
    async with connect(f"http://127.0.0.1:{unused_tcp_port}") as client:
        with pytest.raises(Unreachable, match="cannot connect"):
            await client.request("GET", "/x")


async def test_answers_count_and_tell_the_clock_of_the_server() -> None:
    ahead = datetime.datetime.now(datetime.UTC) + datetime.timedelta(seconds=100)
    date = email.utils.format_datetime(ahead, usegmt=True)
    script = (answer({}, Date=date), status(404, "no"))
    async with ScriptedServer(*script) as server, connect(server.url) as client:
        await client.request("GET", "/x")
        offset = client.clock_offset
        with pytest.raises(NotFound):
            await client.request("GET", "/x")
        assert client.statistics().requests == {("GET", 200): 1, ("GET", 404): 1}
    assert offset == pytest.approx(100, abs=1.5)


async def test_a_refused_token_is_read_again_and_the_call_repeated_once() -> None:
    replies = [status(401, "who?"), answer({}), status(401, "who?"), status(401, "who?")]
    async with ScriptedServer(*replies) as server:
        tokens = iter("23")
        connection = Connection(name="compute")

        def access(token: str) -> Access:
            return Access(
                server=server.url,
                tls=None,
                authorization=f"Bearer {token}",
                certificate=None,
                ca_source="",
                tls_digest=b"",
            )

        async def load(_: Connection) -> Access:
            return access(next(tokens))

        now = 0.0
        credentials = Credentials(connection, access("1"), monotonic=lambda: now, load=load)
        async with KubeClient(Transport(connection, credentials, limit=1)) as client:
            assert await client.request("POST", "/x", body=b"{}") == b"{}"
            now = 60.0
            with pytest.raises(Unauthorized):
                await client.request("GET", "/x")
        sent = [request.headers["Authorization"] for request in server.requests]
    assert sent == ["Bearer 1", "Bearer 2", "Bearer 2", "Bearer 3"]


async def test_leases_do_not_wait_for_other_requests() -> None:
    async with ScriptedServer() as server, connect(server.url, limit=1) as client:
        busy = [asyncio.create_task(client.request("GET", "/slow")) for _ in range(3)]
        await server.arrived(1)
        server.script.append(answer(pod("l", 1)))
        lease = await asyncio.wait_for(
            client.get(LEASES, PartialObject, name="l", namespace="ns", session="lease"), 1
        )
        assert lease.metadata.name == "l"
        assert len(server.requests) == 2
        for task in busy:
            task.cancel()
        await asyncio.wait(busy)


async def test_streams_do_not_count_against_the_limit_and_end_when_the_server_ends_them() -> None:
    log = Reply(chunks=(b"one\n", b"two\n"))
    async with ScriptedServer(Reply(end="hang"), log) as server, connect(server.url, limit=1) as c:
        busy = asyncio.create_task(c.request("GET", "/slow"))
        await server.arrived(1)
        async with c.stream("/log", query={"follow": "true"}, idle_timeout=1) as stream:
            data = b"".join([chunk async for chunk in stream])
        busy.cancel()
        await asyncio.wait([busy])
    assert data == b"one\ntwo\n"
    assert server.requests[1].query == {"follow": "true"}


async def test_a_stream_that_is_refused_raises_before_the_first_byte() -> None:
    async with ScriptedServer(status(404, "no pod")) as server, connect(server.url) as client:
        with pytest.raises(NotFound):
            async with client.stream("/log", idle_timeout=1):
                pytest.fail("there is no stream")


async def test_a_stream_that_is_cut_or_silent_says_so() -> None:
    cut, silent = Reply(chunks=(b"a",), end="cut"), Reply(chunks=(b"a",), end="hang")
    async with ScriptedServer(cut, silent) as server, connect(server.url) as client:
        async with client.stream("/log", idle_timeout=1) as stream:
            with pytest.raises(Unreachable, match="connection lost"):
                [chunk async for chunk in stream]
        async with client.stream("/log", idle_timeout=0.1) as stream:
            with pytest.raises(Silent):
                [chunk async for chunk in stream]


@pytest.mark.parametrize(
    ("trusted", "host", "message"),
    [
        (False, "127.0.0.1", r"is not signed by the CA in .*ca.crt; put that cluster's CA there"),
        (True, "localhost", "is not valid: Hostname mismatch"),
    ],
)
async def test_a_certificate_that_does_not_verify_is_explained(
    tmp_path: Path, trusted: bool, host: str, message: str
) -> None:
    ca, other = trustme.CA(), trustme.CA()
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    ca.issue_cert("127.0.0.1").configure_cert(context)
    (tmp_path / "ca.crt").write_bytes((ca if trusted else other).cert_pem.bytes())
    runner = web.AppRunner(web.Application())
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context).start()
    server = f"https://{host}:{runner.addresses[0][1]}"
    cluster = {"server": server, "certificate-authority": "ca.crt"}
    path = write(tmp_path, cluster=cluster)
    try:
        async with await KubeClient.connect(Connection("c", path)) as client:
            with pytest.raises(Untrusted, match=message) as caught:
                await client.request("GET", "/x")
        assert server in str(caught.value)
    finally:
        await runner.cleanup()
