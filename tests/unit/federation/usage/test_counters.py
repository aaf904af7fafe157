"""CPU times are counted on: over missed samples, restarts and changes of source."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from federation.backends.kubernetes.usage.counters import CpuCounters
from federation.backends.kubernetes.usage.samples import ContainerSample
from tests.unit.federation.usage.scripted import START
from vnode.usage import ContainerUsage

SECOND = 10**9
FIRST = 1_000_000
"""Where counting of rates begins."""


class Container:
    """One container and the counters."""

    def __init__(self) -> None:
        self.counters = CpuCounters()
        self.started = START

    def rate(self, time: float, cores: float, *, window: float = 15.0) -> float:
        sample = ContainerSample(
            name="main", time=START + time, cpu_rate=round(cores * SECOND), window=window
        )
        return self._take(sample, "metricsAPI")

    def total(self, time: float, seconds: float) -> float:
        sample = ContainerSample(
            name="main", time=START + time, cpu_total=round(seconds * SECOND), cpu_rate=1
        )
        return self._take(sample, "kubelet")

    def _take(self, sample: ContainerSample, source: str) -> float:
        self.last = self.counters.take("a", sample, source=source, started_at=self.started)
        assert self.last.cpu is not None
        return self.last.cpu.total_nanos / SECOND


class TestOfKubelets:
    def test_their_own_counter_is_shown_as_it_is(self) -> None:
        container = Container()
        assert [container.total(10, 7.5), container.total(20, 9.0)] == [7.5, 9.0]

    def test_a_container_that_started_again_begins_at_its_own_counter(self) -> None:
        container = Container()
        container.total(10, 100)
        container.started = START + 15
        assert container.total(20, 2) == 2
        assert container.last.started_at == START + 15

    def test_a_counter_never_falls_while_the_container_runs(self) -> None:
        container = Container()
        container.total(10, 100)
        assert container.total(20, 90) == 100

    def test_an_older_sample_changes_nothing(self) -> None:
        container = Container()
        container.total(20, 100)
        assert container.total(10, 50) == 100
        assert container.last.cpu is not None
        assert container.last.cpu.time == START + 20


class TestOfRates:
    def test_the_first_sample_counts_for_its_window(self) -> None:
        assert Container().rate(60, 2.0, window=15) == pytest.approx(30 + 0.001)

    def test_a_window_that_began_before_the_container_counts_from_its_start(self) -> None:
        assert Container().rate(5, 2.0, window=15) == pytest.approx(10 + 0.001)

    def test_an_idle_container_has_a_counter_above_zero(self) -> None:
        assert Container().rate(60, 0.0) > 0

    def test_each_sample_adds_its_rate_since_the_one_before(self) -> None:
        container = Container()
        first = container.rate(60, 1.0)
        assert container.rate(75, 2.0) - first == pytest.approx(30)

    def test_the_same_sample_again_adds_nothing(self) -> None:
        container = Container()
        assert container.rate(60, 1.0) == container.rate(60, 1.0)

    def test_a_missed_sample_is_bridged_by_the_middle_of_its_neighbours(self) -> None:
        container = Container()
        first = container.rate(60, 1.0)
        assert container.rate(90, 3.0) - first == pytest.approx(15 * 2.0 + 15 * 3.0)

    def test_a_container_that_started_again_is_counted_anew(self) -> None:
        container = Container()
        container.rate(600, 4.0)
        container.started = START + 610
        assert container.rate(620, 1.0) == pytest.approx(10 + 0.001)

    @given(
        st.lists(
            st.tuples(st.floats(0, 100), st.floats(0, 64), st.floats(0, 120), st.booleans()),
            max_size=20,
        )
    )
    def test_a_counter_never_falls_whatever_the_samples_and_sources(
        self, steps: list[tuple[float, float, float, bool]]
    ) -> None:
        container, time, before, total = Container(), 0.0, 0.0, 0.0
        for gap, cores, window, by_rate in steps:
            time, total = time + gap, total + gap * cores
            now = (
                container.rate(time, cores, window=window)
                if by_rate
                else container.total(time, total)
            )
            assert now >= before
            before = now


class TestChangeOfSource:
    def test_from_rates_to_counters_nothing_jumps(self) -> None:
        container = Container()
        known = container.rate(60, 1.0)
        assert container.total(75, 100_000) == known
        assert container.total(90, 100_003) == pytest.approx(known + 3)

    def test_from_counters_to_rates_nothing_jumps(self) -> None:
        container = Container()
        container.total(60, 1000)
        assert container.rate(75, 1.0) == 1000
        assert container.rate(90, 2.0) == pytest.approx(1030)

    def test_the_start_that_is_shown_stays_since_sources_differ_by_a_moment(self) -> None:
        container = Container()
        container.rate(60, 1.0)
        container.started = START - 0.7
        container.total(75, 50)
        assert container.last.started_at == START


def test_memory_without_cpu_is_passed_on() -> None:
    sample = ContainerSample(name="main", time=START)
    usage = CpuCounters().take("a", sample, source="kubelet", started_at=START)
    assert usage == ContainerUsage(name="main", started_at=START)


def test_what_is_gone_is_forgotten() -> None:
    container = Container()
    container.total(10, 100)
    container.counters.keep({"another"})
    assert container.total(20, 7) == 7
