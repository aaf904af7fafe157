"""What the kubelet API does with clients that speak no HTTP, or no TLS."""

import asyncio
import contextlib
import logging

import pytest
import trustme

from tests.unit.kubelet.conftest import HOST, Kubelet
from vnode.kubelet.sessions import Sessions

NONSENSE = [
    b"GET / HTTP/9.9\r\n\r\n",
    b"GET /healthz HTTP/1.1\r\nNo Colon\r\n\r\n",
    b"GET /healthz HTTP/1.1\r\nContent-Length: -5\r\n\r\n",
    b"GET /healthz HTTP/1.1\r\nX: " + b"a" * (33 << 10) + b"\r\n\r\n",
    b"GET /healthz HTTP/1.1\r\n" + b"X: a\r\n" * 5000 + b"\r\n",
    b"GET /" + b"a" * (2 << 20) + b" HTTP/1.1\r\n\r\n",
    b"\x00\xff" * 1000,
    b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n" + b"nonsense\r\n\r\n",
]


@pytest.mark.parametrize("data", NONSENSE, ids=range(len(NONSENSE)))
async def test_nonsense_is_refused_without_a_word_in_the_log(
    kubelet: Kubelet, data: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    client = await kubelet.dial("")
    try:
        client.writer.write(data)
        with contextlib.suppress(ConnectionError):
            answer = await client.reader.read()
            assert b"HTTP/1.1 400 Bad Request" in answer or b"HTTP/1.0 400" in answer
    finally:
        await client.close()
    assert not [record for record in caplog.records if record.levelno > logging.INFO]
    assert (await kubelet.ask("/healthz")) == (200, "ok")


async def test_a_body_that_says_it_is_compressed_is_not_inflated(kubelet: Kubelet) -> None:
    client = await kubelet.dial("")
    try:
        token = ("Authorization", "Bearer good")
        body = token, ("Content-Encoding", "gzip"), ("Content-Length", "10")
        status, headers = await client.open("POST", "/pods", *body, early=b"not zipped")
        assert status == 404
        await client.reader.readexactly(int(dict(headers)["Content-Length"]))
        # Had it been inflated, the connection would be closed for its errors.
        assert (await client.open("GET", "/healthz", token))[0] == 200
    finally:
        await client.close()


async def test_who_does_not_begin_tls_is_cut_off(
    server_ca: trustme.CA, client_ca: trustme.CA, sessions: Sessions
) -> None:
    kubelet = Kubelet(server_ca, client_ca, sessions)
    kubelet.server._handshake_seconds = 0.05
    await kubelet.server.start()
    try:
        reader, writer = await asyncio.open_connection(HOST, kubelet.server.port)
        with contextlib.suppress(ConnectionError):
            assert await reader.read() == b""
        writer.transport.abort()
    finally:
        await kubelet.server.stop(drain_seconds=0)


ODD_REQUESTS = [
    ("/pods", ("Authorization", "Bearer \xff\xfe")),
    ("/pods", ("Authorization", "Bearer " + "a" * 20_000)),
    ("/containerLogs/te%00am/%ff/ma%2fin", ("X", "\xff")),
    ("/containerLogs/team/\xff/main", ("X", "1")),
    ("/exec/team/web/main?command=%ff&output=1", ("X", "1")),
    ("/nothing?" + "&".join(["%ff=%00"] * 500), ("X", "1")),
]


@pytest.mark.parametrize(("path", "header"), ODD_REQUESTS, ids=range(len(ODD_REQUESTS)))
@pytest.mark.parametrize("user", ["", "apiserver"])
async def test_odd_requests_are_answered_like_any_other(
    kubelet: Kubelet, path: str, header: tuple[str, str], user: str
) -> None:
    client = await kubelet.dial(user)
    try:
        name, value = header
        head = f"GET {path} HTTP/1.1\r\nHost: x\r\n{name}: {value}\r\n\r\n"
        client.writer.write(head.encode("latin-1"))
        status = int((await client.reader.readuntil(b"\r\n")).split()[1])
        assert status in ((200, 400, 404) if user else (400, 401))
    finally:
        await client.close()
