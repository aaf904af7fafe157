"""What the annotation vnode.dev/on-partition may say."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vnode.pods.partition.policy import ANNOTATION, on_partition


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("fail-after=10m", 600),
        ("fail-after=1h30m", 5400),
        ("fail-after=90s", 90),
        ("fail-after=1.5h", 5400),
        ("fail-after=1m30.5s", 90.5),
        ("fail-after=1500ms", 1.5),
        (" fail-after=1m ", 60),
    ],
)
def test_a_duration_is_read_as_go_reads_it(text: str, seconds: float) -> None:
    asked = on_partition({ANNOTATION: text})
    assert asked.fail_after == pytest.approx(seconds)
    assert not asked.problem


@pytest.mark.parametrize("annotations", [{}, {ANNOTATION: ""}, {ANNOTATION: "wait"}])
def test_without_a_word_a_pod_waits(annotations: dict[str, str]) -> None:
    asked = on_partition(annotations)
    assert (asked.fail_after, asked.problem) == (None, "")


@pytest.mark.parametrize(
    "text",
    [
        "fail",
        "fail-after",
        "fail-after=",
        "fail-after=10",
        "fail-after=10 m",
        "fail-after=-1m",
        "fail-after=0s",
        "fail-after=1ms",
        "fail-after=10min",
        "fail-after=1d",
        "fail-after=m",
        "fail-after=.s",
        "fail-after=١m",
        "Wait",
        "x" * 10_000,
    ],
)
def test_what_is_not_understood_waits_and_is_said_with_how_to_write_it(text: str) -> None:
    asked = on_partition({ANNOTATION: text})
    assert asked.fail_after is None
    assert "fail-after=10m" in asked.problem
    assert len(asked.problem) < 400


@given(st.text(max_size=60))
def test_nothing_that_users_write_is_an_error(text: str) -> None:
    asked = on_partition({ANNOTATION: text})
    assert asked.fail_after is None or asked.fail_after >= 1
