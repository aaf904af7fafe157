import asyncio
import contextlib
import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TypeVar

import pytest

from tests.unit.kubelet.fakes import NODE, ManualClock, ScriptedReviews
from vnode.kube.errors import Forbidden, KubeError, Unreachable
from vnode.kube.resources import TOKEN_REVIEWS, Resource
from vnode.kubelet.access.reviews import Reviews, ReviewUnavailable
from vnode.kubelet.access.rights import Caller
from vnode.runtime.clock import SystemClock

T = TypeVar("T")

CALLER = Caller(
    name="reader",
    uid="u1",
    groups=("system:authenticated",),
    extra=(("a", ("1",)), ("b", ("2",))),
)


def make_reviews(client: ScriptedReviews, clock: ManualClock, *, timeout: float = 5.0) -> Reviews:
    return Reviews(client, clock=clock, timeout=timeout)


async def test_a_known_token_is_its_user_for_two_minutes() -> None:
    client, clock = ScriptedReviews(tokens={"t": "reader"}), ManualClock()
    reviews = make_reviews(client, clock)
    assert await reviews.caller_of("t") == CALLER
    client.tokens.clear()
    clock.now += 119
    assert await reviews.caller_of("t") == CALLER
    clock.now += 2
    assert await reviews.caller_of("t") is None


async def test_an_unknown_token_is_asked_about_again_soon() -> None:
    client, clock = ScriptedReviews(), ManualClock()
    reviews = make_reviews(client, clock)
    assert await reviews.caller_of("t") is None
    assert await reviews.caller_of("t") is None
    assert len(client.bodies) == 1
    client.tokens["t"] = "reader"
    clock.now += 11
    assert await reviews.caller_of("t") == CALLER


async def test_a_right_is_asked_for_with_everything_known_of_the_caller() -> None:
    client = ScriptedReviews(rights={("reader", "get", "metrics")})
    reviews = make_reviews(client, ManualClock())
    assert await reviews.allowed(CALLER, node=NODE, verb="get", subresource="metrics")
    (body,) = client.bodies
    assert body == {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SubjectAccessReview",
        "spec": {
            "user": "reader",
            "uid": "u1",
            "groups": ["system:authenticated"],
            "extra": {"a": ["1"], "b": ["2"]},
            "resourceAttributes": {
                "verb": "get",
                "version": "v1",
                "resource": "nodes",
                "subresource": "metrics",
                "name": "virtual-1",
            },
        },
    }


async def test_yes_lives_five_minutes_and_no_thirty_seconds() -> None:
    client, clock = ScriptedReviews(rights={("reader", "get", "pods")}), ManualClock()
    reviews = make_reviews(client, clock)

    async def allowed(subresource: str) -> bool:
        return await reviews.allowed(CALLER, node=NODE, verb="get", subresource=subresource)

    assert await allowed("pods")
    assert not await allowed("stats")
    client.rights = {("reader", "get", "stats")}
    clock.now += 29
    assert not await allowed("stats")
    clock.now += 2
    assert await allowed("stats")
    clock.now += 268
    assert await allowed("pods")
    clock.now += 2
    assert not await allowed("pods")


async def test_answers_about_one_caller_verb_or_group_are_not_used_for_another() -> None:
    client = ScriptedReviews(rights={("reader", "get", "proxy")})
    reviews = make_reviews(client, ManualClock())
    assert await reviews.allowed(CALLER, node=NODE, verb="get", subresource="proxy")
    assert not await reviews.allowed(CALLER, node=NODE, verb="create", subresource="proxy")
    await reviews.allowed(Caller(name="reader"), node=NODE, verb="get", subresource="proxy")
    assert len(client.bodies) == 3


@pytest.mark.parametrize("error", [Unreachable("connect"), Forbidden("no", code=403)])
async def test_no_usable_answer_is_an_error_and_not_remembered(error: KubeError) -> None:
    client = ScriptedReviews(tokens={"t": "reader"}, error=error)
    reviews = make_reviews(client, ManualClock())
    with pytest.raises(ReviewUnavailable):
        await reviews.caller_of("t")
    client.error = None
    assert await reviews.caller_of("t") == CALLER


@pytest.mark.looptime
async def test_an_api_server_that_hangs_is_not_waited_for_long() -> None:
    client = ScriptedReviews(gate=asyncio.Event())
    reviews = make_reviews(client, ManualClock(), timeout=10.0)
    started = asyncio.get_running_loop().time()
    with pytest.raises(ReviewUnavailable):
        await reviews.caller_of("t")
    assert asyncio.get_running_loop().time() - started == 10.0


async def test_few_questions_are_under_way_at_once() -> None:
    gate = asyncio.Event()
    client = ScriptedReviews(gate=gate)
    reviews = Reviews(client, clock=ManualClock(), parallel=4, parallel_tokens=3)
    tokens = [asyncio.create_task(reviews.caller_of(f"forged-{n}")) for n in range(30)]
    rights = [
        asyncio.create_task(reviews.allowed(CALLER, node=NODE, verb="get", subresource=str(n)))
        for n in range(50)
    ]
    for _ in range(10):
        await asyncio.sleep(0)
    assert (client.count("TokenReview"), client.count("SubjectAccessReview")) == (3, 4)
    gate.set()
    assert await asyncio.gather(*tokens) == [None] * 30
    assert await asyncio.gather(*rights) == [False] * 50


class SlowTokens(ScriptedReviews):
    """Takes half a second for every token and none for rights."""

    async def create(self, resource: Resource, body: object, kind: type[T], /) -> T:
        if resource is TOKEN_REVIEWS:
            await asyncio.sleep(0.5)
        return await super().create(resource, body, kind)


@asynccontextmanager
async def flooded(reviews: Reviews) -> AsyncIterator[None]:
    """While many strangers send random tokens as fast as they are answered."""

    async def stranger(name: int) -> None:
        for number in itertools.count():
            with contextlib.suppress(ReviewUnavailable):
                await reviews.caller_of(f"{name}-{number}")
            await asyncio.sleep(0.1)

    strangers = [asyncio.create_task(stranger(name)) for name in range(100)]
    await asyncio.sleep(2)
    yield
    for task in strangers:
        task.cancel()
    await asyncio.gather(*strangers, return_exceptions=True)


@pytest.mark.looptime
async def test_strangers_with_random_tokens_keep_known_users_waiting_for_nothing() -> None:
    client = SlowTokens(tokens={"t": "reader"}, rights={("reader", "get", "pods")})
    reviews = Reviews(client, clock=SystemClock())
    await reviews.caller_of("t")
    async with flooded(reviews):
        began = asyncio.get_running_loop().time()
        assert await reviews.allowed(CALLER, node=NODE, verb="get", subresource="pods")
        assert await reviews.caller_of("t") == CALLER
        assert asyncio.get_running_loop().time() == began


@pytest.mark.looptime
async def test_who_finds_the_queue_for_tokens_full_is_told_so_at_once() -> None:
    client = ScriptedReviews(gate=asyncio.Event())
    reviews = Reviews(client, clock=ManualClock(), parallel_tokens=2, waiting_tokens=3)
    waiting = [asyncio.create_task(reviews.caller_of(f"forged-{n}")) for n in range(5)]
    await asyncio.sleep(1)
    began = asyncio.get_running_loop().time()
    with pytest.raises(ReviewUnavailable, match="too many tokens wait"):
        await reviews.caller_of("one more")
    assert asyncio.get_running_loop().time() == began
    await asyncio.gather(*waiting, return_exceptions=True)
    assert client.gate is not None
    client.gate.set()
    assert await reviews.caller_of("one more") is None


async def test_unknown_tokens_push_no_known_ones_out() -> None:
    client = ScriptedReviews(tokens={"t": "reader"})
    reviews = Reviews(client, clock=ManualClock(), size=2)
    await reviews.caller_of("t")
    for number in range(300):
        await reviews.caller_of(f"forged-{number}")
    client.tokens.clear()
    assert await reviews.caller_of("t") == CALLER
    assert reviews._unknown.statistics().held == 256


async def test_neither_errors_nor_caches_hold_a_token() -> None:
    client = ScriptedReviews(error=Unreachable("connect"))
    reviews = make_reviews(client, ManualClock())
    with pytest.raises(ReviewUnavailable) as caught:
        await reviews.caller_of("very-secret")
    assert "very-secret" not in repr(caught.value)
    client.error = None
    await reviews.caller_of("very-secret")
    assert "very-secret" not in repr(
        [dict(cache._values) for cache in (reviews._tokens, reviews._unknown)]
    )
