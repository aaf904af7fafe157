"""Chooses lines of a log that is at hand, as a kubelet does. Pure.

In: lines, each behind its RFC 3339 time, and what was asked for. Out: bytes for the client.
Source: k8s.io/cri-client pkg/logs (newLogOptions and its use).
"""

from datetime import UTC, datetime, timedelta

from vnode.backend import LogOptions

__all__ = ["choose"]


def choose(text: bytes, options: LogOptions, *, now: float) -> bytes:
    """The lines that `options` ask for; `now` in Unix seconds. `follow` and `previous` are moot."""
    lines = text.splitlines(keepends=True)
    since = _since(options, now)
    if since is not None:
        lines = [line for line in lines if _time(line) >= since]
    if options.tail_lines is not None:
        lines = lines[len(lines) - min(len(lines), options.tail_lines) :]
    if not options.timestamps:
        lines = [line.partition(b" ")[2] for line in lines]
    return b"".join(lines)[: options.limit_bytes]


def _since(options: LogOptions, now: float) -> datetime | None:
    if options.since_time is not None:
        return datetime.fromisoformat(options.since_time)
    if options.since_seconds is not None:
        return datetime.fromtimestamp(now, UTC) - timedelta(seconds=options.since_seconds)
    return None


def _time(line: bytes) -> datetime:
    """Of a line; the end of time if it has none, so that nothing is lost."""
    try:
        when = datetime.fromisoformat(line.partition(b" ")[0].decode())
    except ValueError:
        return datetime.max.replace(tzinfo=UTC)
    return when if when.tzinfo is not None else when.replace(tzinfo=UTC)
