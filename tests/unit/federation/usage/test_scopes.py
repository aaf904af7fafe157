"""Asking many places: bounded, and not again too soon where it does not help."""

import asyncio
import itertools
import random

import pytest

from federation.backends.kubernetes.usage.scopes import Answers, Scopes
from tests.builders import make_error
from tests.fakes.clock import LoopClock
from vnode.kube.errors import KubeError, ServerError, Unreachable

pytestmark = pytest.mark.looptime

FORBIDDEN = make_error(403)
NO_SUCH_API = ServerError("404 page not found", code=404)


class Places:
    """Places that answer with their own name, unless a test says otherwise."""

    def __init__(self) -> None:
        self.errors: dict[str, KubeError] = {}
        self.seconds: dict[str, float] = {}
        self.asked: list[str] = []
        self.at_once = self.most_at_once = 0
        self.scopes = Scopes(
            source="kubelet", cluster="gpu", advice="", clock=LoopClock(), rng=random.Random(1)
        )

    async def ask(self, *names: str) -> Answers[str]:
        self.asked.clear()
        return await self.scopes.ask(names, self._call)

    async def _call(self, name: str) -> str:
        self.asked.append(name)
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            await asyncio.sleep(self.seconds.get(name, 0.01))
        finally:
            self.at_once -= 1
        if name in self.errors:
            raise self.errors[name]
        return name


async def test_one_that_fails_leaves_the_answers_of_the_others() -> None:
    places = Places()
    places.errors = {"b": Unreachable("cut"), "c": FORBIDDEN}
    answers = await places.ask("a", "b", "c")
    assert (answers.given, answers.refused, answers.failed) == ({"a": "a"}, {"c"}, {"b"})


@pytest.mark.parametrize(
    ("error", "refused"),
    [
        (FORBIDDEN, True),
        (NO_SUCH_API, True),
        (make_error(404), False),
        (make_error(401), False),
        (make_error(503), False),
        (make_error(429), False),
        (Unreachable("cut"), False),
    ],
)
async def test_a_place_that_refuses_or_fails_is_left_alone_for_a_while(
    error: KubeError, refused: bool
) -> None:
    places = Places()
    places.errors = {"a": error}
    await places.ask("a")
    await asyncio.sleep(4 if refused else 26)
    again = await places.ask("a")
    assert not places.asked
    assert (again.refused if refused else again.failed) == {"a"}
    await asyncio.sleep(8)
    places.errors.clear()
    assert (await places.ask("a")).given == {"a": "a"}


async def test_the_longer_a_place_refuses_the_less_often_it_is_asked() -> None:
    places = Places()
    places.errors = {"a": FORBIDDEN}
    loop = asyncio.get_running_loop()
    asked = []
    while loop.time() < 3600:
        await places.ask("a")
        if places.asked:
            asked.append(loop.time())
        await asyncio.sleep(1)
    pauses = [later - sooner for sooner, later in itertools.pairwise(asked)]
    assert pauses[0] == pytest.approx(5, abs=2)
    assert pauses[1] == pytest.approx(10, abs=2)
    assert pauses[-1] == pytest.approx(600, rel=0.11)


async def test_no_more_than_sixteen_are_asked_at_once() -> None:
    places = Places()
    answers = await places.ask(*(f"node-{n}" for n in range(100)))
    assert len(answers.given) == 100
    assert places.most_at_once == 16


async def test_all_together_take_no_longer_than_four_seconds() -> None:
    places = Places()
    places.seconds = {"slow": 100.0}
    began = asyncio.get_running_loop().time()
    answers = await places.ask("slow", "quick")
    assert asyncio.get_running_loop().time() - began == pytest.approx(4, abs=0.1)
    assert (answers.given, answers.failed) == ({"quick": "quick"}, {"slow"})


async def test_a_place_is_forgotten_when_it_is_not_wanted_any_more() -> None:
    places = Places()
    places.errors = {"a": FORBIDDEN}
    await places.ask("a")
    await places.ask("b")
    places.errors.clear()
    assert (await places.ask("a")).given == {"a": "a"}
