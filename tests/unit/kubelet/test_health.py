import asyncio
from collections.abc import AsyncIterator

import aiohttp
import pytest

from vnode.kubelet.health import Report, health_server

HOST = "127.0.0.1"


class Process:
    """What is asked whether it is ready."""

    def __init__(self) -> None:
        self.now = Report(ready=False, lines=["asking the tenant"])

    def report(self) -> Report:
        return self.now


@pytest.fixture
def process() -> Process:
    return Process()


@pytest.fixture
async def port(process: Process) -> AsyncIterator[int]:
    async with health_server(host=HOST, port=0, report=process.report) as port:
        yield port


async def ask(port: int, path: str) -> tuple[int, str]:
    async with (
        aiohttp.ClientSession() as session,
        session.get(f"http://{HOST}:{port}{path}") as answer,
    ):
        return answer.status, await answer.text()


async def test_a_process_that_turns_is_alive_ready_or_not(process: Process, port: int) -> None:
    assert await ask(port, "/livez") == (200, "ok\n")
    process.now = Report(ready=True)
    assert await ask(port, "/livez") == (200, "ok\n")


async def test_it_is_ready_when_it_says_so_and_tells_why_not(process: Process, port: int) -> None:
    assert await ask(port, "/readyz") == (503, "asking the tenant\n")
    process.now = Report(ready=True, lines=["gpu-a: served by a", "gpu-b: served by b"])
    assert await ask(port, "/readyz") == (200, "gpu-a: served by a\ngpu-b: served by b\n")


async def test_nothing_else_is_served(port: int) -> None:
    for path in ("/", "/metrics", "/pods", "/healthz"):
        assert (await ask(port, path))[0] == 404


async def test_it_ends_with_its_owner_although_somebody_is_still_connected(
    process: Process,
) -> None:
    async with health_server(host=HOST, port=0, report=process.report) as port:
        reader, writer = await asyncio.open_connection(HOST, port)
    assert await asyncio.wait_for(reader.read(), 5) == b""
    writer.close()
    with pytest.raises(OSError, match="Connect call failed"):
        await asyncio.open_connection(HOST, port)


async def test_a_port_that_is_taken_is_an_error(process: Process, port: int) -> None:
    with pytest.raises(OSError, match="in use"):
        async with health_server(host=HOST, port=port, report=process.report):
            pass
