"""Logs by polling: every line once, in order, until the container has ended."""

from collections.abc import Callable, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from federation.backends.eci import errors, logs
from tests.fakes.clock import SteppedClock
from vnode.backend import LogOptions, StreamError


class Scripted:
    """A service whose log grows by one part before each call, cut as the real one cuts."""

    def __init__(
        self, parts: Sequence[Sequence[str] | errors.EciError], *, most: int = 2000
    ) -> None:
        self._parts = list(parts)
        self._most = most
        self.written: list[str] = []
        self.asked: list[dict[str, object]] = []

    @property
    def over(self) -> bool:
        return not self._parts

    async def log(
        self,
        group: str,
        container: str,
        *,
        tail: int,
        since: str,
        timestamps: bool,
        previous: bool,
    ) -> str:
        self.asked.append({"tail": tail, "since": since, "previous": previous})
        part = self._parts.pop(0) if self._parts else ()
        if isinstance(part, errors.EciError):
            raise part
        self.written += part
        found = [line for line in self.written if line[:19] >= since[:19]]
        return "".join(f"{line}\n" for line in found[-min(tail, self._most) :])


def at(second: int, text: str = "x", fraction: str = "") -> str:
    return f"2027-01-15T08:00:{second:02}{fraction}Z {text}"


async def read(
    service: Scripted, *, ended: Callable[[], bool] | None = None, **options: Any
) -> list[str]:
    asked = LogOptions(container="main", **options)
    over = ended or (lambda: service.over)
    found = logs.logs(service, "eci-1", asked, ended=over, clock=SteppedClock())
    return (b"".join([part async for part in found])).decode().splitlines()


parts = st.lists(st.lists(st.sampled_from(["a", "b"]), max_size=4), min_size=1, max_size=6)


@given(parts, st.lists(st.integers(0, 2), min_size=30, max_size=30))
async def test_a_followed_log_shows_every_line_once(
    written: list[list[str]], steps: list[int]
) -> None:
    second, numbers = 0, iter(steps)
    script = []
    for part in written:
        lines = []
        for text in part:
            second += next(numbers)
            lines.append(at(second, text))
        script.append(lines)
    service = Scripted(script)
    shown = await read(service, follow=True, timestamps=True)
    assert shown == service.written


async def test_equal_lines_of_one_stamp_are_all_shown() -> None:
    service = Scripted([[at(1)] * 3, [at(1)] * 2, [], [at(1), at(2)]])
    assert await read(service, follow=True) == ["x"] * 7


async def test_a_log_that_is_not_followed_is_one_call() -> None:
    service = Scripted([[at(1, "a"), at(2, "b")], [at(3, "c")]])
    assert await read(service) == ["a", "b"]


async def test_what_is_written_before_the_end_is_seen_is_read() -> None:
    service = Scripted([[at(1, "a")], [at(2, "b")], [at(3, "last words")]])
    assert await read(service, follow=True, ended=lambda: True) == ["a", "b", "last words"]


async def test_the_tail_counts_for_the_first_call_only() -> None:
    service = Scripted([[at(1, "a"), at(1, "b")], [at(1, "c")]])
    assert await read(service, follow=True, tail_lines=1) == ["b", "c"]


async def test_a_tail_of_nothing_shows_what_comes_later() -> None:
    service = Scripted([[at(1, "a")], [at(1, "b")]])
    assert await read(service, follow=True, tail_lines=0) == ["b"]


async def test_bytes_are_limited() -> None:
    service = Scripted([[at(1, "abc"), at(2, "def")]])
    assert await read(service, limit_bytes=6) == ["abc", "de"]


async def test_stamps_are_shown_when_asked_for() -> None:
    assert await read(Scripted([[at(1, "a", ".5")]]), timestamps=True) == [at(1, "a", ".5")]


async def test_since_is_asked_of_the_service() -> None:
    service = Scripted([[at(1)]])
    await read(service, since_time="2027-01-15T08:00:00Z", previous=True)
    assert service.asked == [{"tail": 2000, "since": "2027-01-15T08:00:00Z", "previous": True}]


async def test_lines_that_the_service_does_not_hand_out_are_not_lost_in_silence() -> None:
    service = Scripted([[at(1, "a")], [at(2, str(number)) for number in range(2500)]])
    shown = await read(service, follow=True)
    assert shown[0] == "a"
    assert "lines are missing" in shown[1]
    assert shown[2:] == [str(number) for number in range(500, 2500)]


async def test_a_passing_fault_does_not_end_a_log_that_is_followed() -> None:
    service = Scripted([[at(1, "a")], errors.Unavailable("cut"), [at(2, "b")]])
    assert await read(service, follow=True) == ["a", "b"]


async def test_a_group_that_is_deleted_ends_a_log_that_is_followed() -> None:
    service = Scripted([[at(1, "a")], errors.NotFound("gone")])
    assert await read(service, follow=True) == ["a"]


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (errors.NotFound("eci-1"), 404),
        (errors.Throttled("eci-1"), 429),
        (errors.Unavailable("eci-1"), 503),
        (errors.Refused("eci-1"), 400),
    ],
)
async def test_a_log_that_cannot_be_had_says_so_without_the_groups_name(
    error: errors.EciError, code: int
) -> None:
    with pytest.raises(StreamError) as failed:
        await read(Scripted([error]))
    assert failed.value.code == code
    assert "eci-1" not in str(failed.value)
