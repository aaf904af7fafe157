"""What API servers were asked, counted from their audit logs. Pure but for `CallMark`.

In: lines of an audit log. Out: how many requests of each kind. The log has one line for a request
that ended, and one for a watch that began. Reads of others than agents' accounts are not in it
(tests/clusters/audit-policy.yaml).
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, NamedTuple

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tests.clusters import Cluster

READS = frozenset({"get", "list", "watch"})
_BY_TIME = frozenset({"leases", "nodes", "nodes/status"})
"""Written as time passes, whatever the number of pods."""


class Call(NamedTuple):
    """A kind of request."""

    cluster: str
    verb: str
    resource: str
    """With the subresource, such as `pods/status`."""
    failed: bool


class _Reference(msgspec.Struct):
    resource: str = ""
    subresource: str = ""


class _Answer(msgspec.Struct):
    code: int = 0


class _Line(msgspec.Struct, rename="camel"):
    stage: str
    verb: str
    user_agent: str = ""
    object_ref: _Reference | None = None
    response_status: _Answer | None = None


_DECODER = msgspec.json.Decoder(_Line)


def counted(cluster: str, lines: Iterable[bytes], *, user_agent: str) -> Counter[Call]:
    """The requests of programs whose user agent begins so; a line that is cut off is left out."""
    found: Counter[Call] = Counter()
    for text in lines:
        if not text.endswith(b"\n"):
            break
        line = _DECODER.decode(text)
        counts = line.stage == ("ResponseStarted" if line.verb == "watch" else "ResponseComplete")
        if counts and line.user_agent.startswith(user_agent):
            about = line.object_ref or _Reference()
            resource = "/".join(filter(None, (about.resource, about.subresource)))
            code = line.response_status.code if line.response_status else 0
            found[Call(cluster, line.verb, resource, code >= 300)] += 1
    return found


def writes(calls: Counter[Call], *, by_time: bool = False) -> int:
    """How many changed something, or tried to; without those that time brings, unless asked for."""
    return sum(
        number
        for call, number in calls.items()
        if call.verb not in READS and (by_time or call.resource not in _BY_TIME)
    )


def node_writes(calls: Counter[Call]) -> int:
    """How many were of a Node or its status."""
    return sum(
        number
        for call, number in calls.items()
        if call.verb not in READS and call.resource in ("nodes", "nodes/status")
    )


class CallMark:
    """Everything that API servers answer from now on."""

    def __init__(self, *clusters: Cluster) -> None:
        self._logs = {}
        for cluster in clusters:
            assert cluster.audit_log is not None, "only clusters of the harness have audit logs"
            size = cluster.audit_log.stat().st_size if cluster.audit_log.exists() else 0
            self._logs[cluster.name] = (cluster.audit_log, size)

    def calls(self, user_agent: str) -> Counter[Call]:
        """Until now, in all these clusters."""
        found: Counter[Call] = Counter()
        for name, (path, begins) in self._logs.items():
            with path.open("rb") as log:
                log.seek(begins)
                found += counted(name, log, user_agent=user_agent)
        return found
