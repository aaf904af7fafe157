"""Sessions and credentials under a client."""

import asyncio
from dataclasses import replace

from tests.unit.runtime.scripted_server import Reply, ScriptedServer
from vnode.kube.client import KubeClient
from vnode.kube.config import Access, Connection
from vnode.kube.credentials import Credentials
from vnode.kube.transport import Transport


async def test_another_certificate_means_new_connections_and_open_streams_live_on() -> None:
    script = (Reply(chunks=(b"a",), end="hang"), Reply(chunks=(b"{}",)), Reply(chunks=(b"{}",)))
    async with ScriptedServer(*script) as server:
        access = Access(
            server=server.url,
            tls=None,
            authorization=None,
            certificate=None,
            ca_source="",
            tls_digest=b"1",
            max_age=60.0,
        )
        now = 0.0

        async def load(_: Connection) -> Access:
            return replace(access, tls_digest=b"2", authorization="Bearer new")

        connection = Connection(name="compute")
        credentials = Credentials(connection, access, monotonic=lambda: now, load=load)
        async with (
            KubeClient(Transport(connection, credentials, limit=1)) as client,
            client.stream("/watch", idle_timeout=1) as stream,
        ):
            chunks = aiter(stream)
            assert await anext(chunks) == b"a"
            now = 61.0
            await client.request("GET", "/x")
            for _ in range(5):
                await asyncio.sleep(0)
            assert client.uses(server=server.url, token="new")
            assert not client.uses(server=server.url, token="old")
            assert not client.uses(server="https://other", token="new")
            await client.request("GET", "/x")
            server.release()
            assert [chunk async for chunk in chunks] == []
        sent = [request.headers.get("Authorization") for request in server.requests]
    assert sent == [None, None, "Bearer new"]
