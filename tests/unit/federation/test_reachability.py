"""Whether a compute cluster answers."""

import asyncio
from collections.abc import AsyncIterator

import pytest
import structlog

from federation.backends.kubernetes.reachability import Reachability
from tests.builders import make_error
from tests.fakes.clock import LoopClock
from tests.fakes.watching import WatchingClient
from vnode.kube.errors import KubeError, Unreachable

pytestmark = pytest.mark.looptime

ASK = "get version"
FOR_EVER = 10**6


class Asking:
    """A cluster and the one who asks it."""

    def __init__(self) -> None:
        self.cluster = WatchingClient(name="compute")
        self.returns = 0
        self.changes: list[bool] = []

    def _returned(self) -> None:
        self.returns += 1

    def start(self) -> None:
        self.reachability = Reachability(
            self.cluster.client,
            clock=LoopClock(),
            returned=self._returned,
            changed=lambda: self.changes.append(self.reachable),
        )
        self.task = asyncio.create_task(self.reachability.run())

    @property
    def reachable(self) -> bool:
        return self.reachability.reachable

    @property
    def silent(self) -> bool:
        return self.reachability.silent_for is not None

    def refuse(self, error: KubeError) -> None:
        self.cluster.fail(error, ASK, times=FOR_EVER)


@pytest.fixture
async def asking() -> AsyncIterator[Asking]:
    """Not started: fixtures run in real time, looptime is for the test alone."""
    asking = Asking()
    yield asking
    asking.task.cancel()
    await asyncio.wait([asking.task])


async def test_patience_for_a_cluster_that_never_answered_begins_at_the_start(
    asking: Asking,
) -> None:
    asking.start()
    asking.refuse(Unreachable("no route"))
    await asyncio.sleep(39)
    assert asking.reachable
    await asyncio.sleep(2)
    assert not asking.reachable


@pytest.mark.parametrize(
    "error",
    [
        make_error(503, "no healthy upstream"),
        make_error(401, "Unauthorized"),
        make_error(403, "forbidden"),
        make_error(404, "default backend"),
        Unreachable("timed out"),
    ],
    ids=lambda error: type(error).__name__,
)
async def test_an_answer_that_is_an_error_does_not_count(asking: Asking, error: KubeError) -> None:
    asking.start()
    await asyncio.sleep(25)
    asking.refuse(error)
    await asyncio.sleep(33)
    assert asking.reachable  # the last good answer came at second 20
    await asyncio.sleep(3)
    assert not asking.reachable


async def test_good_answers_for_ten_seconds_make_a_cluster_reachable_again(asking: Asking) -> None:
    asking.start()
    asking.refuse(Unreachable("no route"))
    await asyncio.sleep(100)
    assert not asking.reachable
    asking.cluster.heal()
    await asyncio.sleep(9)
    assert not asking.reachable
    assert asking.returns == 1  # What waits is tried at once.
    await asyncio.sleep(7)
    assert asking.reachable


async def test_each_change_of_the_link_is_told_once(asking: Asking) -> None:
    asking.start()
    await asyncio.sleep(100)
    assert asking.changes == []
    asking.refuse(Unreachable("no route"))
    await asyncio.sleep(200)
    asking.cluster.heal()
    await asyncio.sleep(200)
    assert asking.changes == [False, True]


async def test_a_lost_cluster_that_answered_once_and_is_silent_again_is_told_of(
    asking: Asking,
) -> None:
    asking.start()
    asking.refuse(Unreachable("no route"))
    await asyncio.sleep(100)
    asking.cluster.heal()
    await asyncio.sleep(4)
    asking.refuse(Unreachable("no route"))
    await asyncio.sleep(30)
    assert not asking.silent
    assert asking.changes == [False]
    await asyncio.sleep(20)
    assert asking.changes == [False, False]
    assert asking.silent


async def test_before_the_first_answer_nothing_is_known_of_a_cluster(asking: Asking) -> None:
    asking.cluster.fail(Unreachable("no route"), ASK, times=FOR_EVER)
    asking.start()
    await asyncio.sleep(30)
    assert (asking.reachability.known, asking.reachable) == (False, True)
    await asyncio.sleep(20)
    assert (asking.reachability.known, asking.reachable) == (True, False)


async def test_a_return_is_told_once(asking: Asking) -> None:
    asking.start()
    await asyncio.sleep(100)
    assert asking.returns == 0
    asking.refuse(Unreachable("no route"))
    await asyncio.sleep(30)
    asking.cluster.heal()
    await asyncio.sleep(100)
    assert asking.returns == 1


async def test_a_cluster_in_which_nothing_happens_stays_reachable_as_long_as_it_answers(
    asking: Asking,
) -> None:
    asking.start()
    for _ in range(360):
        await asyncio.sleep(10)
        assert asking.reachable


async def test_asking_is_cheap(asking: Asking) -> None:
    asking.start()
    await asyncio.sleep(3600)
    assert set(asking.cluster.names()) == {ASK}
    assert len(asking.cluster.calls) <= 361


@pytest.mark.parametrize(
    ("version", "websockets", "gates"),
    [
        (b'{"gitVersion":"v1.36.3"}', True, True),
        (b'{"gitVersion":"v1.31.2+k3s1"}', True, True),
        (b'{"gitVersion":"v2.0.0"}', True, True),
        (b'{"gitVersion":"v1.30.9-eks-1"}', False, True),
        (b'{"gitVersion":"v1.27.0"}', False, True),
        (b'{"gitVersion":"v1.26.15-gke.1"}', False, False),
        (b'{"gitVersion":"dev"}', False, True),
        (b"{}", False, True),
        (b"hello", False, True),
    ],
)
async def test_the_version_says_whether_streams_take_websocket_and_pods_gates(
    asking: Asking, version: bytes, websockets: bool, gates: bool
) -> None:
    asking.cluster.version = version
    asking.start()
    assert not asking.reachability.websockets
    await asyncio.sleep(1)
    assert asking.reachability.websockets is websockets
    assert asking.reachability.start_gates is gates


async def test_what_is_known_of_streams_outlasts_an_outage(asking: Asking) -> None:
    asking.cluster.version = b'{"gitVersion":"v1.36.3"}'
    asking.start()
    await asyncio.sleep(1)
    asking.refuse(Unreachable("no route"))
    await asyncio.sleep(100)
    assert asking.reachability.websockets


async def test_a_refused_credential_is_told_from_silence_and_named_with_its_mend(
    asking: Asking,
) -> None:
    asking.refuse(Unreachable("no route"))
    with structlog.testing.capture_logs() as said:
        asking.start()
        await asyncio.sleep(30)
        before = asking.reachability.refuses_us
        asking.cluster.heal()
        asking.refuse(make_error(401, "Unauthorized"))
        await asyncio.sleep(60)
        assert (before, asking.reachability.refuses_us) == (False, True)
        assert not asking.reachable
    told = [each for each in said if each["event"] == "compute does not answer"]
    assert [("mend" in each) for each in told] == [False, True]
    assert "vnode join" in told[1]["mend"]
