import asyncio
from contextlib import ExitStack

import pytest

from tests.unit.kubelet.fakes import NODE
from vnode.kube.types import NodeName
from vnode.kubelet.sessions import Sessions, TooManySessions

OTHER = NodeName("virtual-2")


async def test_a_namespace_has_its_limit_over_all_nodes() -> None:
    sessions = Sessions(per_namespace=2, total=10)
    with ExitStack() as stack:
        stack.enter_context(sessions.open(node=NODE, namespace="a"))
        stack.enter_context(sessions.open(node=OTHER, namespace="a"))
        with pytest.raises(TooManySessions) as caught, sessions.open(node=NODE, namespace="a"):
            pass
        assert caught.value.code == 429
        stack.enter_context(sessions.open(node=NODE, namespace="b"))
    assert sessions.statistics().refused == 1
    with sessions.open(node=NODE, namespace="a"):
        pass


async def test_a_full_agent_refuses_everybody() -> None:
    sessions = Sessions(per_namespace=2, total=2)
    with (
        sessions.open(node=NODE, namespace="a"),
        sessions.open(node=NODE, namespace="b"),
        pytest.raises(TooManySessions) as caught,
        sessions.open(node=NODE, namespace="c"),
    ):
        pass
    assert caught.value.code == 503


async def test_namespaces_without_sessions_are_forgotten() -> None:
    sessions = Sessions(per_namespace=10)
    for number in range(10):
        with sessions.open(node=NODE, namespace=str(number)):
            assert sessions.statistics().namespaces == 1
    assert sessions.statistics().namespaces == 0


async def test_a_refusal_leaves_no_trace_of_its_namespace() -> None:
    sessions = Sessions(per_namespace=0)
    with pytest.raises(TooManySessions), sessions.open(node=NODE, namespace="a"):
        pass
    assert sessions.statistics().namespaces == 0


async def test_closing_a_node_ends_its_sessions_only() -> None:
    sessions = Sessions(per_namespace=10)

    async def serve(node: NodeName) -> None:
        with sessions.open(node=node, namespace="a"):
            await asyncio.Event().wait()

    mine, other = (asyncio.create_task(serve(node)) for node in (NODE, OTHER))
    await asyncio.sleep(0)
    ended = asyncio.create_task(sessions.wait_ended(NODE))
    await asyncio.sleep(0)
    assert not ended.done()
    assert sessions.close(NODE) == 1
    await asyncio.wait_for(ended, 5)
    assert mine.cancelled()
    assert not other.done()
    other.cancel()
    await asyncio.gather(other, return_exceptions=True)


async def test_waiting_for_an_idle_node_returns_at_once() -> None:
    await Sessions(per_namespace=10).wait_ended(NODE)
