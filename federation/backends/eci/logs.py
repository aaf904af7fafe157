"""Logs of a container of a group, by asking again and again: ECI has no stream of them.

In: what the kubelet API was asked for. Out: bytes in whole lines, each line once. The service gives
the last 2,000 lines, at most 1 MiB, since a time; so each call asks from the beginning of the
second of the last line, and what was shown of that second is recognised by its order, however many
lines share a stamp. Older lines than those cannot be had, and where more than that were written
between two calls a line says so. Calls go through the account's budget, slower while nothing comes.
Following ends when the container has ended and a call after that brought nothing more.
"""

import re
from collections.abc import AsyncIterator, Callable, Sequence
from datetime import UTC, datetime
from typing import Protocol

from federation.backends.eci import errors
from vnode.backend import LogOptions, StreamError
from vnode.runtime.clock import Clock

__all__ = ["LogSource", "logs"]

_MOST = 2000
"""Lines of one answer."""
_FULL = (1 << 20) - 4
"""Bytes of an answer that was cut; a character may be missing."""
_QUICK, _SLOW, _SLOWER = 1.0, 5.0, 1.5
"""Seconds between two calls: after lines, at most, and the growth in between."""
_PATIENCE = 10
"""Calls in a row that may fail before a log that is followed ends."""
_STAMP = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.\d+)?(Z|[+-]\d\d:\d\d)")
_GAP = "[lines are missing here: more were written than ECI hands out at once]"


class LogSource(Protocol):
    """`EciApi`, as far as logs go."""

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
        """The last `tail` lines since a time of RFC 3339."""
        ...


async def logs(
    source: LogSource,
    group: str,
    options: LogOptions,
    *,
    ended: Callable[[], bool],
    clock: Clock,
) -> AsyncIterator[bytes]:
    """Yield a container's log.

    Args:
        source: the API.
        group: id of the container group.
        options: what was asked for.
        ended: whether the container has ended, by what is known now.
        clock: of the agent.

    Raises:
        StreamError: there is no log (before the first byte), or the service does not answer.
    """
    left = options.limit_bytes
    async for line in _lines(source, group, options, ended=ended, clock=clock):
        if left is not None and len(line) >= left:
            yield line[:left]
            return
        if left is not None:
            left -= len(line)
        yield line


async def _lines(
    source: LogSource,
    group: str,
    options: LogOptions,
    *,
    ended: Callable[[], bool],
    clock: Clock,
) -> AsyncIterator[bytes]:
    follow = options.follow and not options.previous
    since = _since(options, clock)
    wanted = _MOST if options.tail_lines is None else min(options.tail_lines, _MOST)
    shown: list[str] = []  # of the second of the last line, in order
    first, failures, pause = True, 0, _QUICK
    while True:
        last_call = ended()
        try:
            text = await source.log(
                group,
                options.container,
                # To be followed, the whole of the last second has to be known.
                tail=_MOST if follow else max(1, wanted),
                since=since,
                timestamps=True,
                previous=options.previous,
            )
        except errors.EciError as error:
            failures += 1
            if first or failures > _PATIENCE or not _passing(error):
                if not first and isinstance(error, errors.NotFound):
                    return  # deleted while it was followed
                raise _failed(error) from None
            await clock.sleep(_SLOW)
            continue
        failures = 0
        lines, cut = _split(text)
        fresh = lines[_overlap(shown, lines) :]
        if not first and shown and len(fresh) == len(lines) >= _MOST:
            yield f"{_GAP}\n".encode()
        for line in fresh[max(0, len(fresh) - wanted) :] if first else fresh:
            yield _shown(line, stamped=options.timestamps)
        shown, since = _position(shown, fresh, since)
        first = False
        if not cut and (not follow or (last_call and not fresh)):
            return
        if cut and not fresh:
            raise StreamError("a line is longer than ECI hands out at once", code=500)
        pause = _QUICK if fresh else min(_SLOW, pause * _SLOWER)
        if not cut:
            await clock.sleep(pause)


def _since(options: LogOptions, clock: Clock) -> str:
    if options.since_time:
        return options.since_time
    if options.since_seconds is not None:
        at = datetime.fromtimestamp(clock.time() - options.since_seconds, UTC)
        return at.strftime("%Y-%m-%dT%H:%M:%SZ")
    return ""


def _split(text: str) -> tuple[list[str], bool]:
    """Whole lines, and whether the answer was cut: then its last line is left for the next call."""
    cut = len(text.encode()) >= _FULL
    lines = text.split("\n")
    if lines[-1] == "" or cut:
        lines.pop()
    return lines, cut


def _overlap(shown: Sequence[str], lines: Sequence[str]) -> int:
    """How many of the lines were shown: the longest end of `shown` with which they begin."""
    for start in range(max(0, len(shown) - len(lines)), len(shown)):
        if lines[: len(shown) - start] == shown[start:]:
            return len(shown) - start
    return 0


def _position(shown: Sequence[str], fresh: Sequence[str], since: str) -> tuple[list[str], str]:
    """What was shown of the newest second, and that second, from which the next call asks."""
    both = [*shown, *fresh]
    newest = next((second for line in reversed(both) if (second := _second(line))), None)
    if newest is None:
        return both, since
    begin = next(index for index, line in enumerate(both) if _second(line) == newest)
    return both[begin:], newest


def _second(line: str) -> str | None:
    """The second of a line's stamp, in UTC; None: it has none."""
    found = _STAMP.match(line)
    if found is None:
        return None
    at = datetime.fromisoformat(found[1] + found[2].replace("Z", "+00:00"))
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _shown(line: str, *, stamped: bool) -> bytes:
    if not stamped and _STAMP.match(line):
        line = line.partition(" ")[2]
    return f"{line}\n".encode()


def _passing(error: errors.EciError) -> bool:
    return isinstance(error, errors.Unavailable | errors.Throttled)


def _failed(error: errors.EciError) -> StreamError:
    """In our own words: the service's name the group."""
    match error:
        case errors.NotFound():
            return StreamError("the log is gone with its container", code=404, reason="NotFound")
        case errors.Throttled():
            return StreamError("too many calls to ECI: try again", code=429)
        case errors.Unavailable():
            return StreamError("ECI does not answer: try again", code=503)
        case errors.Denied():
            return StreamError("ECI refuses the agent's key", code=502)
        case _:
            return StreamError("ECI has no log of this container now", code=400)
