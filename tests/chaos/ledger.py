"""What is known of pods and their copies so far, put together from history and audit. No verdicts.

In: `Version`s and `Request`s as they come, in any order between clusters. Out: a `TenantPod` and a
`Copy` for each UID that ever was, with the times that rules compare. Times are the API servers' own
where an audit line tells them, else when the version was heard of.
"""

from __future__ import annotations

from collections import defaultdict, deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from tests.chaos.audit import Request
    from tests.chaos.history import Version

UID = "vnode.dev/uid"
CLUSTER_UID = "vnode.dev/cluster-uid"
NAMESPACE = "vnode.dev/namespace"
NODE = "vnode.dev/node"
FORWARDED = "vnode.dev/Forwarded"
TERMINAL = frozenset({"Succeeded", "Failed"})
_LISTS = ("initContainerStatuses", "containerStatuses", "ephemeralContainerStatuses")
_LISTED = ("pods", "configmaps", "secrets")
_EVIDENCE = 24


@dataclass(frozen=True)
class Parties:
    """Who is who in this run."""

    tenant: str
    """The tenant cluster's name."""
    cluster_uid: str
    agents: frozenset[str]
    """User names of the agent, in all clusters."""
    namespaces: Mapping[str, frozenset[str]]
    """By cluster: where the agent may write."""


@dataclass(slots=True)
class TenantPod:
    """One pod of the tenant, of one UID."""

    uid: str
    namespace: str
    name: str
    seen: float
    phases: list[str] = field(default_factory=list)
    shown: set[str] = field(default_factory=set)
    """Container IDs that its status ever named."""
    forwarded: float | None = None
    """When its status first said that there is a copy: heard of, or answered."""
    forwarded_audited: bool = False
    ending: bool = False
    """Somebody asked for its deletion with a grace period."""
    gone: float | None = None
    gone_audited: bool = False

    @property
    def ended(self) -> bool:
        """Whether it ever was terminal."""
        return any(phase in TERMINAL for phase in self.phases)


@dataclass(slots=True)
class Copy:
    """One pod below with our marks."""

    cluster: str
    handle: str
    """Its own UID."""
    uid: str
    """The tenant pod's."""
    namespace: str
    name: str
    made: float
    made_audited: bool = False
    containers: set[str] = field(default_factory=set)
    could_start: bool = False
    """It was seen without a gate that keeps it from being scheduled."""
    gone: float | None = None
    removed: float | None = None
    """When the deletion that took it away for good was received; None: there is no line of it."""
    asked_by: set[str] = field(default_factory=set)
    """Users whose deletion of it was answered well."""


class Ledger:
    """All that was heard."""

    def __init__(self, parties: Parties) -> None:
        self.parties = parties
        self.pods: dict[str, TenantPod] = {}
        self.copies: dict[str, Copy] = {}
        self.copies_of: dict[str, list[Copy]] = defaultdict(list)
        self.foreign: dict[str, str] = {}
        """Pods in our compute namespaces that are not ours: UID -> name."""
        self.listed: dict[tuple[str, str, str], list[float]] = defaultdict(list)
        """By compute cluster, namespace and kind: when an agent asked for all of them."""
        self.asked: dict[tuple[str, str], list[float]] = defaultdict(list)
        """By namespace and name: when an agent asked the tenant for one pod."""
        self.started: dict[int, list[float]] = defaultdict(list)
        """By number: when an agent was started."""
        self.touched: set[str] = set()
        """Tenant UIDs of which there is news since `settled`."""
        self._lines: dict[tuple[str, str], deque[str]] = defaultdict(
            lambda: deque(maxlen=_EVIDENCE)
        )

    def settled(self) -> set[str]:
        """The UIDs of which there was news; forgets them."""
        touched, self.touched = self.touched, set()
        return touched

    def evidence(self, uid: str) -> list[str]:
        """Audit lines that name a tenant pod, or its copies, oldest first."""
        pod = self.pods.get(uid)
        keys = [(self.parties.tenant, f"{pod.namespace}/{pod.name}")] if pod else []
        keys += [(c.cluster, f"{c.namespace}/{c.name}") for c in self.copies_of[uid]]
        return sorted(line for key in dict.fromkeys(keys) for line in self._lines[key])

    def version(self, version: Version) -> None:
        """One version of a pod."""
        if version.kind != "pods":
            return
        if version.cluster == self.parties.tenant:
            self._tenant_version(version)
        else:
            self._version_below(version)

    def request(self, request: Request) -> None:
        """One request of anybody about pods."""
        if request.verb in ("list", "get"):
            self._read(request)
            return
        if request.resource != "pods":
            return
        self._lines[request.cluster, f"{request.namespace}/{request.name}"].append(request.line)
        if request.cluster == self.parties.tenant:
            self._tenant_request(request)
        else:
            self._request_below(request)

    def serving_since(self, at: float) -> float:
        """Since when the oldest agent of that moment has run: it knows nothing of before."""
        starts = ((s for s in started if s <= at) for started in self.started.values())
        return min((max(each, default=at) for each in starts), default=at)

    def first_look(self, copy: Copy, *, since: float, until: float) -> float | None:
        """When the agents of that time can have known of a copy at the earliest.

        That is when all that lies in its namespace was asked for: each kind for the first time.
        """
        where = copy.cluster, copy.namespace
        lists = [self.listed[*where, kind] for kind in _LISTED]
        first = [min((at for at in each if since <= at <= until), default=0.0) for each in lists]
        return max(first) or None

    def namesakes(self, pod: TenantPod) -> Iterator[TenantPod]:
        """Other pods that had, or have, its name."""
        for other in self.pods.values():
            same = (other.namespace, other.name) == (pod.namespace, pod.name)
            if same and other.uid != pod.uid:
                yield other

    def _read(self, request: Request) -> None:
        if request.user not in self.parties.agents or not request.succeeded | (request.code == 404):
            return
        if request.verb == "list" and request.cluster != self.parties.tenant:
            where = request.cluster, request.namespace, request.resource
            self.listed[where].append(request.received)
        elif request.resource == "pods" and request.cluster == self.parties.tenant:
            self.asked[request.namespace, request.name].append(request.received)

    def _tenant_version(self, version: Version) -> None:
        metadata, status = version.object["metadata"], version.object.get("status", {})
        uid = version.uid
        pod = self.pods.get(uid)
        if pod is None:
            pod = TenantPod(uid, version.namespace, version.name, version.at)
            self.pods[uid] = pod
        self.touched.add(uid)
        phase = status.get("phase", "Pending")
        if not pod.phases or pod.phases[-1] != phase:
            pod.phases.append(phase)
        pod.shown |= containers(status)
        pod.ending |= bool(metadata.get("deletionGracePeriodSeconds"))
        if pod.forwarded is None and says_forwarded(status):
            pod.forwarded = version.at
        if version.gone and not pod.gone_audited:
            pod.gone = version.at

    def _version_below(self, version: Version) -> None:
        metadata = version.object["metadata"]
        notes = metadata.get("annotations", {})
        known = self.copies.get(version.uid)
        if known is None and notes.get(CLUSTER_UID) != self.parties.cluster_uid:
            if version.namespace in self.parties.namespaces[version.cluster]:
                self.foreign[version.uid] = version.name
            return
        if known is None:
            known = self._copy(version.cluster, version.object, version.at)
        self.touched.add(known.uid)
        known.containers |= containers(version.object.get("status", {}))
        known.could_start |= not version.object["spec"].get("schedulingGates")
        if version.gone:
            known.gone = version.at

    def _copy(self, cluster: str, made: Mapping[str, Any], at: float) -> Copy:
        metadata = made["metadata"]
        uid = metadata["annotations"][UID]
        copy = Copy(cluster, metadata["uid"], uid, metadata["namespace"], metadata["name"], made=at)
        copy.could_start = not made["spec"].get("schedulingGates")
        self.copies[copy.handle] = copy
        self.copies_of[uid].append(copy)
        return copy

    def _tenant_request(self, request: Request) -> None:
        if not request.succeeded:
            return
        if request.verb == "delete" and not request.subresource:
            metadata = request.answer.get("metadata", {})
            pod = self.pods.get(metadata.get("uid", ""))
            if pod is not None and not metadata.get("deletionGracePeriodSeconds"):
                pod.gone, pod.gone_audited = request.answered, True
        elif request.verb == "patch" and request.subresource == "status":
            pod = self.pods.get(request.body.get("metadata", {}).get("uid", ""))
            if pod is not None and says_forwarded(request.body.get("status", {})):
                self._forwarded(pod, request)

    @staticmethod
    def _forwarded(pod: TenantPod, request: Request) -> None:
        if not pod.forwarded_audited or request.answered < (pod.forwarded or 0.0):
            pod.forwarded, pod.forwarded_audited = request.answered, True

    def _request_below(self, request: Request) -> None:
        if not request.succeeded or request.subresource:
            return
        handle = request.answer.get("metadata", {}).get("uid", "")
        if request.verb == "create":
            notes = request.answer.get("metadata", {}).get("annotations", {})
            if notes.get(CLUSTER_UID) == self.parties.cluster_uid:
                copy = self.copies.get(handle)
                copy = copy or self._copy(request.cluster, request.answer, request.received)
                copy.made, copy.made_audited = request.received, True
                self.touched.add(copy.uid)
        elif request.verb == "delete" and handle in self.copies:
            self.copies[handle].asked_by.add(request.user)
            if not request.answer["metadata"].get("deletionGracePeriodSeconds"):
                self.copies[handle].removed = request.received


def containers(status: Mapping[str, Any]) -> set[str]:
    """Container IDs that a status names."""
    states = (each for name in _LISTS for each in status.get(name) or ())
    return {each["containerID"] for each in states if each.get("containerID")}


def says_forwarded(status: Mapping[str, Any]) -> bool:
    """Whether a status says that a copy was made (or, of old, that it runs)."""
    return status.get("phase") == "Running" or any(
        each.get("type") == FORWARDED and each.get("status") == "True"
        for each in status.get("conditions") or ()
    )
