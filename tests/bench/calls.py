"""What API servers were asked, counted from their audit logs. Pure but for `CallMark`.

In: lines of an audit log. Out: how many requests of each kind. The log has one line for a request
that ended, and one for a watch that began. Reads of others than agents' accounts are not in it
(tests/clusters/audit-policy.yaml).
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Literal, NamedTuple

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from tests.clusters import Cluster

READS = frozenset({"get", "list", "watch"})
_BY_TIME = frozenset({"leases", "nodes", "nodes/status"})
"""Written as time passes, whatever the number of pods."""
_BY_START = frozenset(
    {
        "certificatesigningrequests",
        "selfsubjectaccessreviews",
        "selfsubjectreviews",
        "subjectaccessreviews",
        "tokenreviews",
    }
)
"""Asked for by a process that starts, or by who calls it."""
_SHARED = frozenset({"configmaps", "namespaces"})
"""One for all pods of a namespace, as the root certificates are, unless pods name more of them."""

Sort = Literal["read", "pod", "shared", "time", "start"]


class Call(NamedTuple):
    """A kind of request."""

    agent: str
    """Who asked: name and version out of the user agent."""
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


def counted(cluster: str, lines: Iterable[bytes]) -> Counter[Call]:
    """The requests of everybody; a line that is cut off is left out."""
    found: Counter[Call] = Counter()
    for text in lines:
        if not text.endswith(b"\n"):
            break
        line = _DECODER.decode(text)
        counts = line.stage == ("ResponseStarted" if line.verb == "watch" else "ResponseComplete")
        if counts:
            about = line.object_ref or _Reference()
            resource = "/".join(filter(None, (about.resource, about.subresource)))
            code = line.response_status.code if line.response_status else 0
            agent = line.user_agent.partition(" ")[0]
            found[Call(agent, cluster, line.verb, resource, code >= 300)] += 1
    return found


def of(calls: Counter[Call], user_agent: str) -> Counter[Call]:
    """Those of programs whose user agent begins so."""
    return Counter({c: number for c, number in calls.items() if c.agent.startswith(user_agent)})


def sort(call: Call) -> Sort:
    """What brings such a request."""
    if call.verb in READS:
        return "read"
    kind = call.resource.partition("/")[0]
    if call.resource in _BY_TIME:
        return "time"
    if kind in _BY_START:
        return "start"
    return "shared" if kind in _SHARED else "pod"


def writes(calls: Counter[Call], *, shared: bool = False) -> int:
    """How many changed something for a pod, or tried to; `shared`: also what pods share."""
    counts = {"pod", "shared"} if shared else {"pod"}
    return sum(number for call, number in calls.items() if sort(call) in counts)


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
        self._logs: dict[str, tuple[Path, int, frozenset[Path]]] = {}
        for cluster in clusters:
            log = cluster.audit_log
            assert log is not None, "only clusters of the harness have audit logs"
            size = log.stat().st_size if log.exists() else 0
            self._logs[cluster.name] = (log, size, frozenset(_put_aside(log)))

    def calls(self) -> Counter[Call]:
        """Until now, of everybody in all these clusters."""
        found: Counter[Call] = Counter()
        for name, (path, begins, old) in self._logs.items():
            for file in (*(each for each in _put_aside(path) if each not in old), path):
                with file.open("rb") as log:
                    log.seek(begins)
                    found += counted(name, log)
                begins = 0
        return found


def _put_aside(log: Path) -> list[Path]:
    """Logs that became too large, oldest first: API servers put the time into their names."""
    return sorted(log.parent.glob(f"{log.stem}-*{log.suffix}"))
