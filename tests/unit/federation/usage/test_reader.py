"""One reading for all who ask: kept for some seconds, source after source."""

import asyncio
import random
from collections.abc import Sequence

import pytest

from federation.backends.kubernetes.usage.reader import UsageMode, UsageReader, usage_sources
from federation.backends.kubernetes.usage.samples import ContainerSample, Measured, RunningCopy
from tests.builders import NODE, make_uid
from tests.fakes.clock import LoopClock
from tests.unit.federation.usage.scripted import START, ScriptedServer, make_copy
from vnode.kube.types import NodeName
from vnode.usage import UsageReport

pytestmark = pytest.mark.looptime

OTHER = NodeName("vnode-b")


class ScriptedSource:
    """A source that answers for some handles; the rest it refuses."""

    def __init__(self, name: str, *answers: str, failed: bool = False) -> None:
        self.name = name
        self.answers = answers
        self.failed = failed
        self.asked: list[list[str]] = []

    async def measure(self, copies: Sequence[RunningCopy]) -> Measured:
        self.asked.append([copy.handle for copy in copies])
        await asyncio.sleep(0.5)
        sample = ContainerSample(name="main", time=START + 10, cpu_total=500, cpu_rate=1)
        return Measured(
            samples={c.handle: [sample] for c in copies if c.handle in self.answers},
            unanswered=[c for c in copies if c.handle not in self.answers],
            failed=self.failed,
        )


def reader(*sources: ScriptedSource, copies: Sequence[RunningCopy] = (make_copy(),)) -> UsageReader:
    return UsageReader(sources, copies=lambda: copies, clock=LoopClock())


def uids(report: UsageReport) -> set[str]:
    return set(report.pods)


async def test_a_report_holds_the_pods_of_its_virtual_node_by_tenant_uid() -> None:
    source = ScriptedSource("kubelet", "below-1", "below-2")
    read = reader(source, copies=[make_copy(1), make_copy(2, node=OTHER)])
    assert uids(await read.report(NODE)) == {make_uid(1)}
    assert uids(await read.report(OTHER)) == {make_uid(2)}
    assert len(source.asked) == 1, "one reading for all virtual nodes"


async def test_a_container_without_a_known_start_has_that_of_its_status() -> None:
    (usage,) = (await reader(ScriptedSource("kubelet", "below-1")).report(NODE)).pods[make_uid(1)]
    assert usage.started_at == START


async def test_nothing_is_read_until_somebody_asks_and_then_once_in_ten_seconds() -> None:
    source = ScriptedSource("kubelet", "below-1")
    read = reader(source)
    await asyncio.sleep(60)
    assert not source.asked
    await read.report(NODE)
    await asyncio.sleep(8)
    await read.report(NODE)
    assert len(source.asked) == 1
    await asyncio.sleep(2)
    await read.report(NODE)
    assert len(source.asked) == 2


async def test_a_copy_that_began_to_run_meanwhile_is_not_waited_for_ten_seconds() -> None:
    source = ScriptedSource("kubelet", "below-1", "below-2")
    copies = [make_copy(1)]
    read = UsageReader([source], copies=lambda: copies, clock=LoopClock())
    await read.report(NODE)
    copies.append(make_copy(2))
    assert uids(await read.report(NODE)) == {make_uid(1)}
    await asyncio.sleep(1)
    assert uids(await read.report(NODE)) == {make_uid(1), make_uid(2)}
    await asyncio.sleep(5)
    await read.report(NODE)
    assert len(source.asked) == 2


async def test_those_who_ask_at_the_same_time_share_one_reading() -> None:
    source = ScriptedSource("kubelet", "below-1")
    read = reader(source)
    reports = await asyncio.gather(*(read.report(NODE) for _ in range(20)))
    assert len(source.asked) == 1
    assert all(uids(report) == {make_uid(1)} for report in reports)


async def test_a_scraper_that_leaves_does_not_spoil_it_for_the_others() -> None:
    source = ScriptedSource("kubelet", "below-1")
    read = reader(source)
    first, second = (asyncio.ensure_future(read.report(NODE)) for _ in range(2))
    await asyncio.sleep(0.2)
    first.cancel()
    assert uids(await second) == {make_uid(1)}


async def test_what_the_first_source_does_not_answer_the_second_is_asked_for() -> None:
    first, second = ScriptedSource("metricsAPI", "below-1"), ScriptedSource("kubelet", "below-2")
    report = await reader(first, second, copies=[make_copy(1), make_copy(2)]).report(NODE)
    assert uids(report) == {make_uid(1), make_uid(2)}
    assert report.complete
    assert second.asked == [["below-2"]]


async def test_a_second_source_is_not_bothered_when_the_first_answers_for_all() -> None:
    second = ScriptedSource("kubelet", "below-1")
    await reader(ScriptedSource("metricsAPI", "below-1"), second).report(NODE)
    assert not second.asked


@pytest.mark.parametrize(("failed", "complete"), [(True, False), (False, True)])
async def test_a_failure_makes_a_report_incomplete_and_a_missing_right_does_not(
    failed: bool, complete: bool
) -> None:
    report = await reader(ScriptedSource("kubelet", failed=failed)).report(NODE)
    assert (report.pods, report.complete) == ({}, complete)


async def test_a_failure_that_another_source_makes_good_is_none() -> None:
    broken, good = ScriptedSource("metricsAPI", failed=True), ScriptedSource("kubelet", "below-1")
    assert (await reader(broken, good).report(NODE)).complete


async def test_without_a_source_pods_are_not_even_looked_at() -> None:
    def copies() -> Sequence[RunningCopy]:
        raise AssertionError

    read = UsageReader([], copies=copies, clock=LoopClock())
    assert await read.report(NODE) == UsageReport()


@pytest.mark.parametrize(
    ("mode", "names"),
    [
        (UsageMode.AUTO, ["metricsAPI", "kubelet"]),
        (UsageMode.METRICS_API, ["metricsAPI"]),
        (UsageMode.KUBELET, ["kubelet"]),
        (UsageMode.NONE, []),
    ],
)
def test_a_mode_stands_for_its_sources_least_rights_first(
    mode: UsageMode, names: list[str]
) -> None:

    sources = usage_sources(
        mode,
        ScriptedServer().client,
        cluster="gpu",
        tenant="red",
        clock=LoopClock(),
        rng=random.Random(1),
    )
    assert [source.name for source in sources] == names
