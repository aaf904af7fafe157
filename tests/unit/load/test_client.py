"""The client program against a small server that speaks v5.channel.k8s.io."""

import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import yaml
from aiohttp import WSMsgType, web

from tests.load.client import PROTOCOL, Client, SessionError, Way, connected


async def _cat(request: web.Request) -> web.StreamResponse:
    """`cat`, or a command that fails at the end, or one that answers something else."""
    command = request.query["command"]
    if command == "refused":
        raise web.HTTPForbidden
    socket = web.WebSocketResponse(protocols=(PROTOCOL,))
    await socket.prepare(request)
    await socket.send_bytes(b"\x01")  # servers begin with empty messages
    async for message in socket:
        assert message.type is WSMsgType.BINARY
        if message.data == b"\xff\x00":
            status = {"status": "Failure" if command == "failing" else "Success"}
            await socket.send_bytes(b"\x03" + json.dumps(status).encode())
            break
        text = b"other" if command == "wrong" else message.data[1:]
        await socket.send_bytes(b"\x01" + text[:3])
        await socket.send_bytes(b"\x01" + text[3:])
    await socket.close()
    return socket


@pytest.fixture
async def client(tmp_path: Path) -> AsyncIterator[Client]:
    application = web.Application()
    application.router.add_get("/api/v1/namespaces/team-a/pods/{pod}/exec", _cat)
    runner = web.AppRunner(application)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    host, port = runner.addresses[0]
    config = tmp_path / "config"
    config.write_text(
        yaml.safe_dump(
            {
                "clusters": [{"name": "c", "cluster": {"server": f"http://{host}:{port}"}}],
                "users": [{"name": "u", "user": {}}],
                "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
                "current-context": "x",
            }
        )
    )
    async with connected(Way("direct", config, "team-a")) as made:
        yield made
    await runner.cleanup()


async def test_a_session_echoes_until_it_is_finished(client: Client) -> None:
    session = await client.open("web", ["cat"])
    await session.echo(b"hello world\n")
    first = session.answered
    await session.echo(b"again\n")
    await session.finish()
    assert 0 < session.upgraded < first == session.answered


async def test_an_answer_that_is_another_is_an_error(client: Client) -> None:
    session = await client.open("web", ["wrong"])
    with pytest.raises(SessionError, match="other"):
        await session.echo(b"hello")


async def test_a_process_that_ends_badly_is_an_error(client: Client) -> None:
    session = await client.open("web", ["failing"])
    with pytest.raises(SessionError, match="Failure"):
        await session.finish()


async def test_a_session_that_is_refused_is_an_error(client: Client) -> None:
    with pytest.raises(SessionError, match="403"):
        await client.open("web", ["refused"])
