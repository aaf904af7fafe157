"""A second tenant that has the same names as the first one, beside all that the tests do.

In: what the tests make in the first tenant. Out: in the second, in the same namespaces and on
virtual nodes of the same names, pods, ConfigMaps and Secrets of the same names, made and removed as
those are, with other values; in both, PodGroups of one name, of which all pods of the second are
members; and `Twin.wrongs`, what of one tenant was seen with the other. Its own agent forwards them
to the same compute clusters. `tests/e2e/twins.py` starts it where a run asks for it.
"""

from __future__ import annotations

import base64
import json
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from hashlib import sha256
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, TypeAlias

from tests.agents.join import SYSTEM_NAMESPACE, TENANT
from tests.clusters.api import AdminClient
from tests.clusters.errors import CommandError
from tests.e2e import namesakes, pod_groups
from tests.e2e.namesakes import MARK

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping
    from types import TracebackType

    from tests.agents import Federation
    from tests.clusters import Cluster

_Key: TypeAlias = tuple[str, str]
"""Namespace, if it is in one, and name."""

NAME = "twin"
_KINDS = ("configmaps", "secrets", "pods")
_OF_CLAIMS = ("persistentvolumes", "persistentvolumeclaims")
_EVERY = 0.5
_SERVED_SECONDS = 20.0
"""For an API server to serve a new definition."""
_LASTING = 20
"""Looks that find pods of the first tenant below, after which the twin has to have some there."""
_OF_EVERY_NAMESPACE = "kube-root-ca.crt"
_ACCOUNTS = f"system:serviceaccount:{SYSTEM_NAMESPACE}:"
_READS = {"get", "list", "watch"}
_MEMBERS = {TENANT: 1, NAME: 1000}
"""What each tenant's gang needs."""


@dataclass
class Tally:
    """What was done and seen, in numbers."""

    made: Counter[str] = field(default_factory=Counter)
    """Objects of the second tenant, by kind."""
    ran: set[str] = field(default_factory=set)
    """UIDs of pods of the second tenant that were Running or Succeeded."""
    beside: set[tuple[str, str, str]] = field(default_factory=set)
    """Kind, compute cluster, namespace/name: copies of both tenants were there at once."""
    lasting: int = 0
    """Looks that found copies of pods of the first tenant."""
    refused: int = 0
    """Writes to the second tenant that did not succeed: others come with the next look."""

    def __str__(self) -> str:
        made = ", ".join(f"{number} {kind}" for kind, number in sorted(self.made.items()))
        both = Counter(kind for kind, _, _ in self.beside)
        there = ", ".join(f"{number} {kind}" for kind, number in sorted(both.items()))
        return (
            f"the twin made {made} ({self.refused} tries failed); {len(self.ran)} of its pods ran; "
            f"names with copies of both tenants in one compute cluster at once: {there}"
        )


@dataclass
class _Tenant:
    """One of the two, and the UIDs of all that it ever had."""

    name: str
    client: AdminClient
    uids: set[str] = field(default_factory=set)
    containers: set[str] = field(default_factory=set)
    marked: set[str] = field(default_factory=set)
    """UIDs of its objects whose every value begins with MARK."""
    secrets: set[bytes] = field(default_factory=set)
    """Digests of all values in copies of its Secrets, tokens included."""
    gangs: dict[str, str] = field(default_factory=dict)
    """Namespaces that have its PodGroups, by UID."""

    def listed(self, kind: str, namespaces: Collection[str]) -> dict[_Key, Any]:
        """Its objects in namespaces that may be forwarded; of all that may if none is given."""
        found = {
            key: item
            for key, item in _listed(self.client, kind).items()
            if kind == "persistentvolumes"
            or _is_forwarded(key[1] if kind == "namespaces" else key[0], namespaces)
        }
        self.uids.update(item["metadata"]["uid"] for item in found.values())
        if kind == "pods":
            self.containers.update(c for pod in found.values() for c in _containers(pod))
        return found

    def make_gangs(self, found: Mapping[_Key, Any]) -> None:
        """One of each dialect in each of these namespaces."""
        for (_, name), namespace in found.items():
            uid = namespace["metadata"]["uid"]
            if uid not in self.gangs and not _leaving(namespace):
                for gang in pod_groups.pod_groups(name, members=_MEMBERS[self.name]):
                    where = pod_groups.path(gang["apiVersion"].partition("/")[0], name)
                    if self.client.find(f"{where}/{pod_groups.NAME}") is None:
                        self.client.create(where, gang)
                self.gangs[uid] = name


class Twin:
    """Copies names from one tenant to the other, and looks at both tenants' copies below.

    It follows the first tenant into the namespaces that may be forwarded: those that both were
    joined with, or all. `claims`: it has the same claims and volumes too, and its pods mount them.
    """

    def __init__(self, first: Federation, second: Federation, *, claims: bool = False) -> None:
        self.tally = Tally()
        self.wrongs: set[str] = set()
        self._claims = claims
        self._kinds = (*(_OF_CLAIMS if claims else ()), *_KINDS)
        """In this order: what others refer to comes before them."""
        self._namespaces = frozenset(first.terms.namespaces)
        self._first = _Tenant(TENANT, _admin(first.tenant))
        self._second = _Tenant(NAME, _admin(second.tenant))
        self._computes = first.computes
        self._below = {name: _admin(cluster) for name, cluster in first.computes.items()}
        self._stands_for: dict[str, str] = {}
        """UID of the first tenant's object by the UID of ours."""
        self._looking = threading.Lock()
        """Whoever has it uses the clients."""
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._work, name="twin", daemon=True)
        self._failure: Exception | None = None

    def __enter__(self) -> Twin:
        for client in (self._first.client, self._second.client, *self._below.values()):
            _serve_pod_groups(client)
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._over.set()
        self._thread.join()
        for client in (self._first.client, self._second.client, *self._below.values()):
            client.close()

    def judge(self) -> None:
        """AssertionError if it failed to work, or if anything of one was seen with the other."""
        if self._failure is not None:
            raise AssertionError("the twin stopped working") from self._failure
        with self._looking:
            self._judge()

    def _judge(self) -> None:
        shared = self._first.containers & self._second.containers
        self.wrongs.update(f"pods of both show {container}" for container in shared)
        if known := len(self._first.secrets & self._second.secrets):
            self.wrongs.add(f"{known} values are in Secrets of both tenants")
        for cluster in self._computes.values():
            self.wrongs.update(_foreign_writes(cluster))
        self.wrongs.update(self._gangs())
        assert not self.wrongs, "\n".join(sorted(self.wrongs))
        idle = self.tally.lasting > _LASTING and "pods" not in {k for k, _, _ in self.tally.beside}
        assert not idle, f"nothing was tried: {self.tally}"

    def _gangs(self) -> Iterator[str]:
        """Each tenant has its own still, and compute clusters have none."""
        for group in pod_groups.groups():
            for name, client in self._below.items():
                if client.get(pod_groups.path(group))["items"]:
                    yield f"{name}: PodGroups of {group} are there, which nothing makes"
            for tenant in (self._first, self._second):
                namespaces = tenant.listed("namespaces", self._namespaces).values()
                there = {n["metadata"]["uid"] for n in namespaces if not _leaving(n)}
                for namespace in (name for uid, name in tenant.gangs.items() if uid in there):
                    where = pod_groups.path(group, namespace)
                    found = [gang["spec"] for gang in tenant.client.get(where)["items"]]
                    if found != [{"minMember": _MEMBERS[tenant.name]}]:
                        yield f"{tenant.name}: {namespace} has other PodGroups of {group}: {found}"

    def _work(self) -> None:
        while not self._over.wait(_EVERY):
            try:
                self.look()
            except CommandError:
                continue  # A test stopped an API server; it is looked at again.
            except Exception as error:  # `judge` raises it, where it is seen.
                self._failure = error
                return

    def look(self) -> None:
        """What it does again and again. Raises CommandError if an API server gives no answer."""
        with self._looking:
            self._follow_and_compare()

    def _follow_and_compare(self) -> None:
        for kind in ("namespaces", *self._kinds):
            theirs = self._first.listed(kind, self._namespaces)
            ours = self._second.listed(kind, self._namespaces)
            self._follow(kind, theirs=theirs, ours=ours)
            if kind == "namespaces":
                self._first.make_gangs(theirs)
                self._second.make_gangs(ours)
        self.tally.ran.update(
            pod["metadata"]["uid"]
            for pod in ours.values()
            if pod["status"].get("phase") in {"Running", "Succeeded"}
        )
        for compute in self._below:
            for kind in self._kinds:
                self._look_below(compute, kind)

    def _follow(self, kind: str, *, theirs: Mapping[_Key, Any], ours: Mapping[_Key, Any]) -> None:
        """Make and remove as the first tenant did."""
        of_now = {item["metadata"]["uid"] for item in theirs.values()}
        for key, mine in ours.items():
            stands_for = self._stands_for.get(mine["metadata"]["uid"])
            if stands_for and stands_for not in of_now and not _leaving(mine):
                path = f"{_path(kind, key)}/{key[1]}?gracePeriodSeconds=1"
                self._try(self._second.client.delete, path)
        for key, original in theirs.items():
            if key in ours or key[1] == _OF_EVERY_NAMESPACE or _leaving(original):
                continue
            body = namesakes.of(kind, original, claims=self._claims)
            made = body and self._try(self._second.client.create, _path(kind, key), body)
            if made:
                self._stands_for[made["metadata"]["uid"]] = original["metadata"]["uid"]
                self._second.uids.add(made["metadata"]["uid"])
                if kind in namesakes.WITH_VALUES:
                    self._second.marked.add(made["metadata"]["uid"])
                self.tally.made[kind] += 1

    def _try(self, write: Callable[..., Any], *arguments: Any) -> Any:
        try:
            return write(*arguments)
        except CommandError:
            self.tally.refused += 1
            return None

    def _look_below(self, compute: str, kind: str) -> None:
        """Each copy is of the tenant whose namespace it is in, and has that tenant's values."""
        found = _listed(self._below[compute], kind, "labelSelector=vnode.dev/tenant")
        names: list[set[str]] = []
        for tenant, other in ((self._first, self._second), (self._second, self._first)):
            place = f"{tenant.name}--"
            copies = {
                (_space(copy), name): copy
                for (_, name), copy in found.items()
                if _space(copy).startswith(place)
            }
            names.append({f"{space.removeprefix(place)}/{name}" for space, name in copies})
            for (space, name), copy in copies.items():
                for wrong in _wrongs(copy, tenant=tenant, other=other):
                    self.wrongs.add(f"{compute}: {kind} {space}/{name} {wrong}")
                if kind == "secrets":
                    texts = (text for _, text in _texts(copy))
                    tenant.secrets.update(sha256(text.encode()).digest() for text in texts)
        both = {(kind, compute, name) for name in names[0] & names[1]}
        self.tally.beside |= {each for each in both if not each[2].endswith(_OF_EVERY_NAMESPACE)}
        ours = (copy for copy in found.values() if _uid(copy) in self._first.uids)
        self.tally.lasting += kind == "pods" and any(ours)


def _wrongs(copy: Any, *, tenant: _Tenant, other: _Tenant) -> Iterator[str]:
    label = copy["metadata"]["labels"]["vnode.dev/tenant"]
    uid = _uid(copy)
    if label != tenant.name:
        yield f"is labelled as of {label}"
    if uid in other.uids:
        yield f"is of an object of {other.name}"
    for key in pod_groups.keys_of(copy):
        yield f"has {key}, as if the gang were here"
    for key, value in _texts(copy):
        marked = value.startswith(MARK)
        if marked and tenant.name != NAME:
            yield f"holds the twin's {key}"
        if not marked and uid in tenant.marked:
            yield f"holds another {key} than the twin's"


def _space(copy: Any) -> str:
    """The namespace that it is in; of a volume: for which it is."""
    metadata, spec = copy["metadata"], copy.get("spec", {})
    return str(metadata.get("namespace") or spec.get("claimRef", {}).get("namespace", ""))


def _uid(copy: Any) -> str | None:
    """Of the object that it is a copy of; somebody may have forged it."""
    uid: str | None = copy["metadata"].get("annotations", {}).get("vnode.dev/uid")
    return uid


def _texts(copy: Any) -> Iterator[tuple[str, str]]:
    secret = copy.get("type") is not None
    for key, value in (copy.get("data") or {}).items():
        yield key, base64.b64decode(value).decode(errors="replace") if secret else value


def _foreign_writes(cluster: Cluster) -> Iterator[str]:
    """Each agent wrote in namespaces of its tenant only."""
    accounts = {
        f"{_ACCOUNTS}vnode-{name}": (SYSTEM_NAMESPACE, f"{name}--") for name in (TENANT, NAME)
    }
    assert cluster.audit_log is not None
    with cluster.audit_log.open() as lines:
        for entry in (json.loads(line) for line in lines if _ACCOUNTS in line):
            places = accounts.get(entry["user"].get("username", ""))
            where = entry.get("objectRef", {}).get("namespace")
            done = entry.get("responseStatus", {}).get("code", 0) < 300
            if not places or not where or not done or entry["verb"] in _READS:
                continue
            if not where.startswith(places):
                yield f"{cluster.name}: {entry['user']['username']} wrote to {where}"


def _serve_pod_groups(client: AdminClient) -> None:
    for definition in pod_groups.definitions():
        client.create("/apis/apiextensions.k8s.io/v1/customresourcedefinitions", definition)
        where = pod_groups.path(definition["spec"]["group"])
        deadline = time.monotonic() + _SERVED_SECONDS
        while client.status(where) != HTTPStatus.OK and time.monotonic() < deadline:
            time.sleep(0.1)


def _containers(pod: Any) -> Iterator[str]:
    for group in ("containerStatuses", "initContainerStatuses", "ephemeralContainerStatuses"):
        for status in pod["status"].get(group) or []:
            if status.get("containerID"):
                yield status["containerID"]


def _leaving(item: Any) -> bool:
    return bool(item["metadata"].get("deletionTimestamp"))


def _is_forwarded(namespace: str, namespaces: Collection[str]) -> bool:
    """Whether it is one of these; none stand for all but those of the system."""
    if namespaces:
        return namespace in namespaces
    return namespace != SYSTEM_NAMESPACE and not namespace.startswith("kube-")


def _path(kind: str, key: _Key) -> str:
    return f"/api/v1/namespaces/{key[0]}/{kind}" if key[0] else f"/api/v1/{kind}"


def _listed(client: AdminClient, kind: str, query: str = "") -> dict[_Key, Any]:
    found = client.get(f"/api/v1/{kind}?resourceVersion=0&{query}")["items"]
    metadata = ((item["metadata"], item) for item in found)
    return {(about.get("namespace", ""), about["name"]): item for about, item in metadata}


def _admin(cluster: Cluster) -> AdminClient:
    assert cluster.control_plane is not None
    pair = cluster.control_plane.certificates.admin
    return AdminClient(cluster.server, ca_file=cluster.ca_file, pair=pair)
