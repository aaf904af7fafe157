"""DescribeContainerLog's cuts: lines in, the text of the answer out."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from tests.eci.asking import is_true, number
from tests.eci.modes import LogLine
from tests.eci.refusal import invalid

_MOST = 1 << 20
"""Bytes of an answer."""


def content(lines: Sequence[LogLine], asked: Mapping[str, Any], now: float) -> str:
    """The last lines that are asked for, from the start of them up to the limit of bytes."""
    tail = number(asked, "Tail", default=500, most=2000)
    start = float("-inf")
    if "SinceSeconds" in asked:
        start = now - number(asked, "SinceSeconds", default=1)
    if asked.get("StartTime"):
        start = max(start, _time(asked["StartTime"]))
    stamped = is_true(asked, "Timestamps")
    shown = [
        f"{stamp(line.at)} {line.text}\n" if stamped else f"{line.text}\n"
        for line in lines
        if line.at >= start
    ]
    limit = number(asked, "LimitBytes", default=_MOST, most=_MOST)
    return "".join(shown[-tail:]).encode()[:limit].decode(errors="ignore")


def stamp(at: float) -> str:
    """RFC 3339 in UTC, with a fraction where there is one, as kubelets write it."""
    moment = datetime.fromtimestamp(at, UTC)
    fraction = f".{moment.microsecond:06}000" if moment.microsecond else ""
    return f"{moment.strftime('%Y-%m-%dT%H:%M:%S')}{fraction}Z"


def _time(text: str) -> float:
    try:
        return datetime.fromisoformat(text).timestamp()
    except ValueError:
        raise invalid("StartTime", "It is no time of RFC 3339.") from None
