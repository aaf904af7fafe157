"""Clusters that refuse everybody when they begin."""

import asyncio
import random

import pytest
from structlog.testing import capture_logs

from federation.patience import RIGHTS_SECONDS, when_granted
from tests.builders import make_error
from tests.fakes.clock import LoopClock
from vnode.kube.errors import Forbidden, KubeError, NotFound, ServerError, Unreachable

pytestmark = pytest.mark.looptime


class Beginning:
    """A cluster that answers well after so many seconds."""

    def __init__(self, error: KubeError, *, lasts: float) -> None:
        self.error = error
        self.lasts = lasts
        self.asked = 0

    async def ask(self) -> str:
        self.asked += 1
        if asyncio.get_running_loop().time() < self.lasts:
            raise self.error
        return "granted"

    async def granted(self) -> str:
        return await when_granted(self.ask, of="tenant", clock=LoopClock(), rng=random.Random(1))


@pytest.mark.parametrize("code", [403, 404])
async def test_it_is_asked_until_it_grants_and_every_wait_is_told(code: int) -> None:
    cluster = Beginning(make_error(code, "RBAC: no roles yet"), lasts=12)
    with capture_logs() as told:
        assert await cluster.granted() == "granted"
    assert asyncio.get_running_loop().time() < 18
    assert len(told) == cluster.asked - 1 <= 8
    assert "no roles yet" in told[0]["why"]
    assert told[0]["gives_up_in"] == 30


@pytest.mark.parametrize(("code", "kind"), [(403, Forbidden), (404, NotFound)])
async def test_what_stays_refused_is_an_error(code: int, kind: type[KubeError]) -> None:
    cluster = Beginning(make_error(code, "no"), lasts=1000)
    with pytest.raises(kind):
        await cluster.granted()
    assert asyncio.get_running_loop().time() == pytest.approx(RIGHTS_SECONDS, abs=0.01)


@pytest.mark.parametrize(
    ("error", "kind"),
    [(make_error(503, "starting"), ServerError), (Unreachable("no route"), Unreachable)],
)
async def test_everything_else_is_an_error_at_once(error: KubeError, kind: type[KubeError]) -> None:
    with pytest.raises(kind):
        await Beginning(error, lasts=1000).granted()
    assert asyncio.get_running_loop().time() == 0
