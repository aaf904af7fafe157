"""What happened to pods meanwhile, by the word of the API servers and not of the agent.

In: audit logs from a mark on, and the pods before and after. Out: who created and deleted pods, and
which pods are not what they were. "Nothing was deleted" is asked of both.
"""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator

    from tests.clusters import Cluster
    from tests.e2e.recorder import PodRecorder

_CREDENTIAL = "authentication.kubernetes.io/credential-id"
_READ = ("get", "list", "watch")
_COUNTED = ("create", "delete", "deletecollection")


@dataclass(frozen=True)
class Write:
    """One request that an API server carried out."""

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


class AuditMark:
    """Everything that one API server carries out from now on."""

    def __init__(self, cluster: Cluster) -> None:
        assert cluster.audit_log is not None, "only clusters of the harness have audit logs"
        self._log = cluster.audit_log
        self._from = self._log.stat().st_size if self._log.exists() else 0

    def writes(self) -> Iterator[Write]:
        """What changed something, in the order of the log; refusals and reads are left out."""
        with self._log.open() as log:
            log.seek(self._from)
            for line in log:
                if not line.endswith("\n"):
                    return
                entry = json.loads(line)
                # 0: the client left before the answer, which may have been carried out.
                answered = entry.get("responseStatus", {}).get("code", 0) < 300
                if answered and entry["verb"] not in _READ:
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


def most_at_once(writes: Iterable[Write], old: Collection[str]) -> int:
    """The most pods of one workload that were there at once, by the log of its cluster.

    Args:
        writes: of pods of this workload alone, in order.
        old: names of those that were there before the first write.
    """
    pods = [w for w in writes if w.resource == "pods" and w.verb in _COUNTED]
    # A pod is gone with the last deletion of its name: the first one only asks for it.
    there, most = set(old), len(old)
    for at, write in enumerate(pods):
        if write.verb == "create":
            there.add(write.name)
            most = max(most, len(there))
        elif not _deleted_again(pods[at + 1 :], write.name):
            there.discard(write.name)
    return most


def _deleted_again(later: Iterable[Write], name: str) -> bool:
    """Before a pod of that name is created again."""
    following = next((w for w in later if w.name == name), None)
    return following is not None and following.verb == "delete"


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
    )
