import os
import tempfile

import pytest

from tests.measuring import footprint


def test_an_open_file_is_one_descriptor() -> None:
    before = footprint.of(os.getpid())
    with tempfile.TemporaryFile():
        assert footprint.of(os.getpid()).descriptors == before.descriptors + 1
    assert footprint.of(os.getpid()).descriptors == before.descriptors
    assert before.resident > 1 << 20


def test_a_process_that_ended_has_nothing() -> None:
    pid = os.spawnlp(os.P_NOWAIT, "true", "true")
    os.waitpid(pid, 0)
    assert footprint.of(pid) == footprint.NONE


def test_memory_is_summed_per_group() -> None:
    own = os.getpid()
    found = footprint.resident({"one": [own], "two": [own, own], "none": []})
    assert found["none"] == 0
    assert found["two"] == pytest.approx(2 * found["one"], rel=0.2)


@pytest.mark.looptime
async def test_descriptors_are_waited_for_only_so_long() -> None:
    now = await footprint.settled(os.getpid(), most=0, timeout=0)
    assert now.descriptors > 0


def test_the_peak_of_memory_is_kept_when_memory_is_given_back() -> None:
    pid = os.getpid()
    footprint.forget_peak(pid)
    before = footprint.peak_resident(pid)
    ballast = bytearray(os.urandom(1) * (64 << 20))
    del ballast
    assert footprint.peak_resident(pid) >= before + (48 << 20)
    assert footprint.peak_resident(pid) >= footprint.of(pid).resident
