"""The query of a `/containerLogs` request, judged exactly as the kubelet does. Pure.

In: query parameters as received. Out: `LogOptions`, or `InvalidLogQuery` with the kubelet's own
code and text. Sources: kubernetes:pkg/kubelet/server/server.go (getContainerLogs),
ValidatePodLogOptions, and the conversion of url.Values to v1.PodLogOptions.
"""

import re
from collections.abc import Sequence
from datetime import datetime

from vnode.backend import LogOptions

__all__ = ["InvalidLogQuery", "parse_log_options"]

_STREAM_ALL = "All"
_STREAMS = (_STREAM_ALL, "Stdout", "Stderr")
_INTEGER = re.compile(r"[+-]?[0-9]{1,19}")
_RFC3339 = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}([.,][0-9]+)?(Z|[+-][0-9]{2}:[0-9]{2})"
)
_NO_TIME = ("", "null")
_LONGEST_SINCE = (2**63 - 1) // 10**9
"""Seconds, some 292 years: what a time.Duration holds. A kubelet would count from the future."""


class InvalidLogQuery(Exception):
    """The query is refused. `code` is the HTTP status, the text is the kubelet's."""

    def __init__(self, message: str, *, code: int) -> None:
        super().__init__(message)
        self.code = code


def parse_log_options(query: Sequence[tuple[str, str]], *, container: str) -> LogOptions:
    """Options from query parameters; of a repeated one the first counts, unknown ones do not.

    Raises:
        InvalidLogQuery: 400 for what cannot be read, 422 for what makes no sense.
    """
    values: dict[str, str] = {}
    for name, value in query:
        values.setdefault(name, value)
    if tail := values.get("tail"):  # The name before Kubernetes 1.1; "all" is no limit.
        values["tailLines"] = tail
        if tail == "all":
            del values["tailLines"]
    try:
        since_time = _time(values.get("sinceTime"))
        options = LogOptions(
            container=container,
            follow=_flag(values.get("follow")),
            previous=_flag(values.get("previous")),
            timestamps=_flag(values.get("timestamps")),
            since_seconds=_integer(values.get("sinceSeconds")),
            since_time=since_time or None,
            tail_lines=_integer(values.get("tailLines")),
            limit_bytes=_integer(values.get("limitBytes")),
        )
    except ValueError:
        raise InvalidLogQuery('{"message": "Unable to decode query."}', code=400) from None
    if options.since_seconds is not None and options.since_seconds > _LONGEST_SINCE:
        raise InvalidLogQuery(f"sinceSeconds may be at most {_LONGEST_SINCE}", code=400)
    stream = values.get("stream")
    if not _makes_sense(options, since_time=since_time, stream=stream):
        raise InvalidLogQuery('{"message": "Invalid request."}', code=422)
    if stream not in (None, _STREAM_ALL):
        raise InvalidLogQuery(
            f'unable to return the given log stream: "{stream}". '
            "Please enable PodLogsQuerySplitStreams feature gate in kubelet",
            code=400,
        )
    return options


def _makes_sense(options: LogOptions, *, since_time: str | None, stream: str | None) -> bool:
    if options.tail_lines is not None and options.tail_lines < 0:
        return False
    if options.limit_bytes is not None and options.limit_bytes < 1:
        return False
    if options.since_seconds is not None and (since_time is not None or options.since_seconds < 1):
        return False
    if stream is None:
        return True
    return stream in _STREAMS and (stream == _STREAM_ALL or options.tail_lines is None)


def _flag(value: str | None) -> bool:
    """Only absence, "0" and "false" are false; `?follow` and `?follow=` are true."""
    return value is not None and value != "0" and value.lower() != "false"


def _integer(value: str | None) -> int | None:
    if value is None:
        return None
    if not _INTEGER.fullmatch(value) or not -(2**63) <= int(value) < 2**63:
        raise ValueError("not a 64 bit integer")
    return int(value)


def _time(value: str | None) -> str | None:
    """The RFC 3339 time as received; empty for the zero time that old clients send."""
    if value is None:
        return None
    if value in _NO_TIME:
        return ""
    if not _RFC3339.fullmatch(value):
        raise ValueError("not an RFC 3339 time")
    datetime.fromisoformat(value)  # Refuses 30 February, 25 o'clock and an offset of 99 hours.
    return value
