"""What happened to pods meanwhile, by the word of the API servers and not of the agent.

In: audit logs from a mark on, and the pods before, meanwhile and after. Out: who created and
deleted pods, from when to when they were there, and which pods are not what they were. "Nothing was
deleted" and "not both at once" are asked of both.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator

    from tests.chaos.history import Version
    from tests.clusters import Cluster
    from tests.e2e.recorder import PodRecorder

_CREDENTIAL = "authentication.kubernetes.io/credential-id"
_READ = ("get", "list", "watch")
_COUNTED = ("create", "delete", "deletecollection")
_TERMINAL = ("Succeeded", "Failed")
_MOMENT = 1e-6
"""Seconds; no two writes come at once."""
_IN_DOUBT = 500
"""What is answered so, or without an answer, may have been carried out all the same."""


@dataclass(frozen=True)
class Write:
    """One request to change something."""

    verb: str
    resource: str
    """With the subresource, such as `pods/status`."""
    namespace: str
    name: str
    user: str
    credential: str
    """Which of the user's credentials, such as `JTI=` and the id of a token."""
    at: str
    """When it was answered, RFC 3339."""
    received: str = ""
    code: int = 0
    """HTTP status; 0: the client left before the answer, which may have been carried out."""

    @property
    def done(self) -> bool:
        """The answer does not say that it was refused or failed."""
        return self.code < 300

    @property
    def in_doubt(self) -> bool:
        """It failed, but may have been carried out first: etcd was slow, or the server ended."""
        return self.code >= _IN_DOUBT


class AuditMark:
    """Everything that one API server carries out from now on."""

    def __init__(self, cluster: Cluster) -> None:
        assert cluster.audit_log is not None, "only clusters of the harness have audit logs"
        self._log = cluster.audit_log
        self._from = self._log.stat().st_size if self._log.exists() else 0

    def writes(self) -> Iterator[Write]:
        """What changed something, in the order of the log; refusals and reads are left out."""
        return (write for write in self.tries() if write.done)

    def tries(self) -> Iterator[Write]:
        """The same with those that were refused or failed."""
        with self._log.open() as log:
            log.seek(self._from)
            for line in log:
                if not line.endswith("\n"):
                    return
                entry = json.loads(line)
                if entry["verb"] not in _READ:
                    yield _write(entry)

    def of_pods(self, namespaces: Collection[str], *, but: Collection[str] = ()) -> Counter[str]:
        """How often pods of these namespaces were created and deleted; `but` are names left out."""
        found: Counter[str] = Counter()
        for write in self.writes():
            about_pods = write.resource in ("pods", "pods/eviction")
            if about_pods and write.namespace in namespaces and write.name not in but:
                verb = "delete" if write.resource == "pods/eviction" else write.verb
                if verb in _COUNTED:
                    found["created" if verb == "create" else "deleted"] += 1
        return found


@dataclass(frozen=True)
class Life:
    """From when to when a pod was there, in Unix seconds; infinite: not known, or still there."""

    name: str
    old: bool
    """It was there before; the others are successors."""
    began: float = -math.inf
    ended: float = math.inf
    """When its containers had ended, at the latest when it was gone."""
    gone: float = math.inf


def lives_by_history(versions: Iterable[Version], old: Collection[str]) -> tuple[Life, ...]:
    """The pods of which etcd told; `old` are UIDs.

    In the order in which they were written: who was there with whom is exact to the write, whatever
    requests were answered, and however late we heard of it.
    """
    lives: dict[str, Life] = {}
    at = 0.0
    for version in versions:
        at = max(version.at, at + _MOMENT)
        life = lives.get(version.uid) or Life(version.name, version.uid in old, began=at)
        if version.gone or version.object["status"].get("phase") in _TERMINAL:
            life = replace(life, ended=min(life.ended, at))
        if version.gone:
            life = replace(life, gone=at)
        lives[version.uid] = life
    return tuple(lives.values())


def lives_by_audit(tries: Iterable[Write], old: Collection[str]) -> tuple[Life, ...]:
    """The pods that somebody asked to create or delete, for as long as they may have been there.

    From when a create was received until the last deletion was answered, well or so that it may
    have been carried out. No overlap is missed; one that is found may be none. `old` are names.
    """
    done: list[Life] = []
    lives = {name: Life(name, old=True) for name in old}
    for write in sorted(tries, key=lambda write: write.received):
        if write.resource != "pods" or not (write.done or write.in_doubt):
            continue
        life = lives.get(write.name)
        if write.verb == "create" and (life is None or life.gone < math.inf):
            done += [life] if life is not None else []
            lives[write.name] = Life(write.name, old=False, began=_seconds(write.received))
        elif write.verb == "delete" and life is not None:
            before = life.gone if life.gone < math.inf else 0.0
            gone = max(before, _seconds(write.at))
            lives[write.name] = replace(life, ended=gone, gone=gone)
    return (*done, *lives.values())


@dataclass(frozen=True)
class Succession:
    """How the successors of some pods came after them."""

    old: int
    successors: int
    apart: float
    """Seconds from the end of an old pod until a successor of it was made, the least of all;
    negative: so long both were there."""
    beside: int
    """Successors that were made while an old one was there."""

    def __str__(self) -> str:
        """For a report."""
        counts = f"{self.successors} after {self.old}, {self.beside} of them beside"
        return f"{counts}, {self.apart:+.3f} s apart at least"


def succession(
    lives: Iterable[Life], *, by_name: bool, until: Callable[[Life], float] = lambda life: life.gone
) -> Succession:
    """Judge it; `by_name`: successors have the names of the old, else each comes after them all.

    `until` says how long an old one was there.
    """
    lives = tuple(lives)
    old = [life for life in lives if life.old]
    successors = [life for life in lives if not life.old]
    apart = []
    for one in successors:
        replaced = (life for life in old if life.name == one.name or not by_name)
        apart.append(min((one.began - until(life) for life in replaced), default=math.inf))
    return Succession(
        old=len(old),
        successors=len(successors),
        apart=min(apart, default=math.inf),
        beside=sum(seconds <= 0 for seconds in apart),
    )


def uids(pods: Iterable[Any]) -> dict[str, str]:
    """UID by name."""
    return {p["metadata"]["name"]: p["metadata"]["uid"] for p in pods}


def phases(pods: Iterable[Any]) -> Counter[str]:
    """How many pods are in each phase."""
    return Counter(p["status"].get("phase", "none") for p in pods)


def seen_otherwise(
    recorder: PodRecorder, *, allowed: Collection[str] = ("Running",)
) -> Counter[str]:
    """How many pods a watch has ever shown deleted, in deletion, or in another phase."""
    trouble: dict[str, set[str]] = {}
    for kind, pod in recorder.events():
        uid, phase = pod["metadata"]["uid"], pod["status"].get("phase", "none")
        if kind == "DELETED" or "deletionTimestamp" in pod["metadata"]:
            trouble.setdefault("deleted", set()).add(uid)
        elif phase not in allowed:
            trouble.setdefault(phase, set()).add(uid)
    return Counter({what: len(found) for what, found in trouble.items()})


def _write(entry: dict[str, Any]) -> Write:
    about = entry.get("objectRef", {})
    parts = [about.get("resource", ""), about.get("subresource", "")]
    return Write(
        verb=entry["verb"],
        resource="/".join(filter(None, parts)),
        namespace=about.get("namespace", ""),
        name=about.get("name", ""),
        user=entry.get("user", {}).get("username", ""),
        credential=entry.get("user", {}).get("extra", {}).get(_CREDENTIAL, [""])[0],
        at=entry.get("stageTimestamp", ""),
        received=entry.get("requestReceivedTimestamp", ""),
        code=entry.get("responseStatus", {}).get("code", 0),
    )


def _seconds(stamp: str) -> float:
    return datetime.fromisoformat(stamp).timestamp()
