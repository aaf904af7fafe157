"""What happened to pods meanwhile, by the word of the API servers and not of the agent.

In: audit logs from a mark on, and the pods before, meanwhile and after. Out: who created and
deleted pods, how many were there at once, and which pods are not what they were. "Nothing was
deleted" is asked of both.
"""

from __future__ import annotations

import json
import threading
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tests.clusters.errors import HarnessError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator

    from tests.clusters import Cluster
    from tests.e2e.recorder import PodRecorder
    from tests.e2e.user import User

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


class Census:
    """Counts the pods of workloads over and over: the most that were there at once.

    Each count is a list, so what one API server held at one moment; two are a few tenths of a
    second apart. Unlike a watch it outlives a server that starts.
    """

    def __init__(self, user: User, apps: Collection[str]) -> None:
        self._user = user
        self._selector = f"app in ({','.join(apps)})"
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._count, daemon=True)
        self.counts = 0
        self.most = Counter(dict.fromkeys(apps, 0))
        """By the label `app`."""

    def __enter__(self) -> Census:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def _count(self) -> None:
        while not self._ended.is_set():
            try:
                pods = self._user.items("pods", self._selector)
            except HarnessError:  # The server does not answer, or not yet.
                self._ended.wait(0.2)
                continue
            self.counts += 1
            self.most |= Counter(pod["metadata"]["labels"]["app"] for pod in pods)


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
