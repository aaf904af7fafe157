"""Who may not write any more sends nothing that changes anything, however late that turns out."""

import asyncio
import json

import pytest

from tests.unit.runtime.scripted_server import Reply, ScriptedServer, connect, pod
from vnode.kube.client import KubeClient
from vnode.kube.errors import Withheld
from vnode.kube.resources import PODS
from vnode.kube.types import UID, PartialObject


def _answer() -> Reply:
    return Reply(chunks=(json.dumps(pod("a", 5)).encode(),))


async def _create(client: KubeClient) -> None:
    await client.create(PODS, {"x": 1}, PartialObject, namespace="ns")


async def _patch(client: KubeClient) -> None:
    await client.patch(PODS, {"x": 1}, PartialObject, namespace="ns", name="a")


async def _replace(client: KubeClient) -> None:
    await client.replace(PODS, {"x": 1}, namespace="ns", name="a")


async def _delete(client: KubeClient) -> None:
    await client.delete(PODS, name="a", uid=UID("u"), namespace="ns")


@pytest.mark.parametrize("write", [_create, _patch, _replace, _delete])
async def test_no_verb_that_changes_something_is_sent(write: object) -> None:
    assert callable(write)
    async with ScriptedServer(_answer()) as server, connect(server.url) as client:
        with pytest.raises(Withheld, match="not sent"):
            await write(client.guarded(lambda: False))
        assert server.requests == []
        assert client.statistics().requests == {}
        await write(client.guarded(lambda: True))
        assert len(server.requests) == 1


async def test_reading_needs_no_permit() -> None:
    async with ScriptedServer(_answer()) as server, connect(server.url) as client:
        await client.guarded(lambda: False).get(PODS, PartialObject, name="a", namespace="ns")
        assert len(server.requests) == 1


async def test_others_with_the_same_connections_go_on_writing() -> None:
    async with ScriptedServer(_answer()) as server, connect(server.url) as client:
        client.guarded(lambda: False)
        await _create(client)
        assert len(server.requests) == 1


async def test_a_write_that_waited_for_a_connection_is_asked_when_it_has_one() -> None:
    allowed = True
    async with ScriptedServer() as server, connect(server.url, limit=1) as client:
        busy = asyncio.create_task(client.request("GET", "/slow"))
        await server.arrived(1)
        late = asyncio.create_task(_create(client.guarded(lambda: allowed)))
        await asyncio.sleep(0)
        allowed = False
        busy.cancel()
        with pytest.raises(Withheld):
            await asyncio.wait_for(late, 5)
        assert [request.path for request in server.requests] == ["/slow"]
