import asyncio

import pytest

from tests.unit.kubelet.fakes import NODE, ManualClock, ScriptedReviews
from vnode.kube.errors import Forbidden, KubeError, Unreachable
from vnode.kubelet.access import Caller
from vnode.kubelet.reviews import Reviews, ReviewUnavailable

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
    reviews = Reviews(client, clock=ManualClock(), parallel=4)
    flood = [asyncio.create_task(reviews.caller_of(f"forged-{n}")) for n in range(50)]
    for _ in range(10):
        await asyncio.sleep(0)
    assert len(client.bodies) == 4
    gate.set()
    assert await asyncio.gather(*flood) == [None] * 50


async def test_neither_errors_nor_caches_hold_a_token() -> None:
    client = ScriptedReviews(error=Unreachable("connect"))
    reviews = make_reviews(client, ManualClock())
    with pytest.raises(ReviewUnavailable) as caught:
        await reviews.caller_of("very-secret")
    assert "very-secret" not in repr(caught.value)
    client.error = None
    await reviews.caller_of("very-secret")
    assert "very-secret" not in repr(dict(reviews._tokens._values))
