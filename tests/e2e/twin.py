"""A second tenant that has the same names as the first one, beside a whole run.

In: what the tests make in the first tenant. Out: in the second, in the same namespaces and on
virtual nodes of the same names, pods, ConfigMaps and Secrets of the same names, made and removed as
those are, with other values; in both, PodGroups of one name, of which all pods of the second are
members; and `Twin.wrongs`, what of one tenant was seen with the other. Its own agent forwards them
to the same compute clusters. `python -m tests.e2e --twin` asks for it.
"""

from __future__ import annotations

import base64
import json
import os
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from hashlib import sha256
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from tests.agents.join import NAMESPACES, SYSTEM_NAMESPACE, TENANT
from tests.clusters.api import AdminClient
from tests.clusters.errors import CommandError
from tests.e2e import pod_groups

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from types import TracebackType

    from tests.agents import Federation
    from tests.clusters import Cluster

NAME = "twin"
WANTED = "VNODE_E2E_TWIN"
"""Environment variable: whether the run has a twin."""
KINDS = ("configmaps", "secrets", "pods")
MARK = "of the twin: "
"""Every value of the second tenant begins so."""
_EVERY = 0.5
_SERVED_SECONDS = 20.0
"""For an API server to serve a new definition."""
_OF_EVERY_NAMESPACE = "kube-root-ca.crt"
_READS = {"get", "list", "watch"}
_MEMBERS = {TENANT: 1, NAME: 1000}
"""What each tenant's gang needs."""
_SMALL = {"requests": {"cpu": "1m", "memory": "4Mi"}}


def wanted() -> bool:
    """Whether this run has a twin."""
    return bool(os.environ.get(WANTED))


@dataclass
class Tally:
    """What was done and seen, in numbers."""

    made: Counter[str] = field(default_factory=Counter)
    """Objects of the second tenant, by kind."""
    ran: set[str] = field(default_factory=set)
    """UIDs of pods of the second tenant that were Running or Succeeded."""
    beside: set[tuple[str, str, str]] = field(default_factory=set)
    """Kind, compute cluster, namespace/name: copies of both tenants were there at once."""
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

    def listed(self, kind: str, namespace: str) -> dict[str, Any]:
        """Its objects by name."""
        found = _listed(self.client, kind, namespace)
        self.uids.update(item["metadata"]["uid"] for item in found.values())
        if kind == "pods":
            self.containers.update(c for pod in found.values() for c in _containers(pod))
        return found


class Twin:
    """Copies names from one tenant to the other, and looks at both tenants' copies below."""

    def __init__(self, first: Federation, second: Federation) -> None:
        self.tally = Tally()
        self.wrongs: set[str] = set()
        self._first = _Tenant(TENANT, _admin(first.tenant))
        self._second = _Tenant(NAME, _admin(second.tenant))
        self._computes = first.computes
        self._below = {name: _admin(cluster) for name, cluster in first.computes.items()}
        self._stands_for: dict[str, str] = {}
        """UID of the first tenant's object by the UID of ours."""
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._work, name="twin", daemon=True)
        self._failure: Exception | None = None

    def __enter__(self) -> Twin:
        for client in (self._first.client, self._second.client, *self._below.values()):
            _serve_pod_groups(client)
        for tenant in (self._first, self._second):
            for namespace in NAMESPACES:
                _make_gangs(tenant, namespace)
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
        shared = self._first.containers & self._second.containers
        self.wrongs.update(f"pods of both show {container}" for container in shared)
        if known := len(self._first.secrets & self._second.secrets):
            self.wrongs.add(f"{known} values are in Secrets of both tenants")
        for cluster in self._computes.values():
            self.wrongs.update(_foreign_writes(cluster))
        self.wrongs.update(self._gangs())
        assert not self.wrongs, "\n".join(sorted(self.wrongs))

    def _gangs(self) -> Iterator[str]:
        """Each tenant has its own still, and compute clusters have none."""
        for group in pod_groups.groups():
            for name, client in self._below.items():
                if client.get(pod_groups.path(group))["items"]:
                    yield f"{name}: PodGroups of {group} are there, which nothing makes"
            for tenant in (self._first, self._second):
                for namespace in NAMESPACES:
                    where = pod_groups.path(group, namespace)
                    found = [gang["spec"] for gang in tenant.client.get(where)["items"]]
                    if found != [{"minMember": _MEMBERS[tenant.name]}]:
                        yield f"{tenant.name}: {namespace} has other PodGroups of {group}: {found}"

    def _work(self) -> None:
        while not self._over.wait(_EVERY):
            try:
                for namespace in NAMESPACES:
                    self._look(namespace)
            except CommandError:
                continue  # A test stopped an API server; it is looked at again.
            except Exception as error:  # `judge` raises it, where it is seen.
                self._failure = error
                return

    def _look(self, namespace: str) -> None:
        for kind in KINDS:
            theirs = self._first.listed(kind, namespace)
            ours = self._second.listed(kind, namespace)
            self._follow(kind, namespace, theirs=theirs, ours=ours)
        self.tally.ran.update(
            pod["metadata"]["uid"]
            for pod in ours.values()
            if pod["status"].get("phase") in {"Running", "Succeeded"}
        )
        for compute in self._below:
            for kind in KINDS:
                self._look_below(compute, kind, namespace)

    def _follow(
        self, kind: str, namespace: str, *, theirs: Mapping[str, Any], ours: Mapping[str, Any]
    ) -> None:
        """Make and remove as the first tenant did."""
        path = f"/api/v1/namespaces/{namespace}/{kind}"
        of_now = {item["metadata"]["uid"] for item in theirs.values()}
        for name, mine in ours.items():
            stands_for = self._stands_for.get(mine["metadata"]["uid"])
            if stands_for and stands_for not in of_now and not _leaving(mine):
                self._try(self._second.client.delete, f"{path}/{name}?gracePeriodSeconds=1")
        for name, original in theirs.items():
            if name in ours or name == _OF_EVERY_NAMESPACE or _leaving(original):
                continue
            body = _pod(original) if kind == "pods" else _values(original)
            made = body and self._try(self._second.client.create, path, body)
            if made:
                self._stands_for[made["metadata"]["uid"]] = original["metadata"]["uid"]
                self._second.uids.add(made["metadata"]["uid"])
                if kind != "pods":
                    self._second.marked.add(made["metadata"]["uid"])
                self.tally.made[kind] += 1

    def _try(self, write: Callable[..., Any], *arguments: Any) -> Any:
        try:
            return write(*arguments)
        except CommandError:
            self.tally.refused += 1
            return None

    def _look_below(self, compute: str, kind: str, namespace: str) -> None:
        """Each copy is of the tenant whose namespace it is in, and has that tenant's values."""
        names: list[set[str]] = []
        for tenant, other in ((self._first, self._second), (self._second, self._first)):
            place = f"{tenant.name}--{namespace}"
            copies = {
                name: copy
                for name, copy in _listed(self._below[compute], kind, place).items()
                if "vnode.dev/tenant" in copy["metadata"].get("labels", {})
            }
            names.append(set(copies))
            for name, copy in copies.items():
                for wrong in _wrongs(copy, tenant=tenant, other=other):
                    self.wrongs.add(f"{compute}: {kind} {place}/{name} {wrong}")
                if kind == "secrets":
                    texts = (text for _, text in _texts(copy))
                    tenant.secrets.update(sha256(text.encode()).digest() for text in texts)
        both = {(kind, compute, f"{namespace}/{name}") for name in names[0] & names[1]}
        self.tally.beside |= {each for each in both if not each[2].endswith(_OF_EVERY_NAMESPACE)}


def _wrongs(copy: Any, *, tenant: _Tenant, other: _Tenant) -> Iterator[str]:
    label = copy["metadata"]["labels"]["vnode.dev/tenant"]
    uid = copy["metadata"]["annotations"]["vnode.dev/uid"]
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


def _texts(copy: Any) -> Iterator[tuple[str, str]]:
    secret = copy.get("type") is not None
    for key, value in (copy.get("data") or {}).items():
        yield key, base64.b64decode(value).decode(errors="replace") if secret else value


def _foreign_writes(cluster: Cluster) -> Iterator[str]:
    """Each agent wrote in namespaces of its tenant only."""
    accounts = {
        f"system:serviceaccount:{SYSTEM_NAMESPACE}:vnode-{name}": (SYSTEM_NAMESPACE, f"{name}--")
        for name in (TENANT, NAME)
    }
    assert cluster.audit_log is not None
    with cluster.audit_log.open() as lines:
        for entry in map(json.loads, lines):
            places = accounts.get(entry["user"].get("username", ""))
            where = entry.get("objectRef", {}).get("namespace")
            done = entry.get("responseStatus", {}).get("code", 0) < 300
            if not places or not where or not done or entry["verb"] in _READS:
                continue
            if not where.startswith(places):
                yield f"{cluster.name}: {entry['user']['username']} wrote to {where}"


def _pod(original: Any) -> Any:
    """The same on the node of the same name, small, with a token of its own account."""
    spec = dict(original["spec"])
    if not spec.get("nodeName", "").startswith("vnode-"):
        return None
    for gone in ("resources", "ephemeralContainers", "priority", "resourceClaims"):
        spec.pop(gone, None)
    spec["volumes"] = [v for v in spec.get("volumes", []) if not _of_account(v)]
    for group in ("initContainers", "containers"):
        if group in spec:
            spec[group] = [_small(container) for container in spec[group]]
    metadata = original["metadata"]
    kept = {"name": metadata["name"], "namespace": metadata["namespace"]}
    for key, gang in (("labels", pod_groups.LABELS), ("annotations", pod_groups.ANNOTATIONS)):
        kept[key] = {**metadata.get(key, {}), **gang}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": kept, "spec": spec}


def _of_account(volume: Any) -> bool:
    return str(volume["name"]).startswith("kube-api-access-")


def _small(container: Any) -> Any:
    mounts = [
        mount
        for mount in container.get("volumeMounts", [])
        if not mount["name"].startswith("kube-api-access-")
    ]
    return {**container, "volumeMounts": mounts, "resources": _SMALL}


def _values(original: Any) -> Any:
    """The same keys, with values that tell whose they are."""
    secret = "type" in original
    kind = "Secret" if secret else "ConfigMap"
    marked = {
        key: base64.b64encode((MARK + key).encode()).decode() if secret else MARK + key
        for key in original.get("data") or {}
    }
    metadata = {key: original["metadata"][key] for key in ("name", "namespace")}
    made = {"apiVersion": "v1", "kind": kind, "metadata": metadata, "data": marked}
    # Other types are checked for what is in them.
    return {**made, "type": "Opaque"} if secret else made


def _serve_pod_groups(client: AdminClient) -> None:
    for definition in pod_groups.definitions():
        client.create("/apis/apiextensions.k8s.io/v1/customresourcedefinitions", definition)


def _make_gangs(tenant: _Tenant, namespace: str) -> None:
    for gang in pod_groups.pod_groups(namespace, members=_MEMBERS[tenant.name]):
        where = pod_groups.path(gang["apiVersion"].partition("/")[0], namespace)
        deadline = time.monotonic() + _SERVED_SECONDS
        while tenant.client.status(where) != HTTPStatus.OK and time.monotonic() < deadline:
            time.sleep(0.1)
        tenant.client.create(where, gang)


def _containers(pod: Any) -> Iterator[str]:
    for group in ("containerStatuses", "initContainerStatuses", "ephemeralContainerStatuses"):
        for status in pod["status"].get(group) or []:
            if status.get("containerID"):
                yield status["containerID"]


def _leaving(item: Any) -> bool:
    return bool(item["metadata"].get("deletionTimestamp"))


def _listed(client: AdminClient, kind: str, namespace: str) -> dict[str, Any]:
    found = client.get(f"/api/v1/namespaces/{namespace}/{kind}?resourceVersion=0")
    return {item["metadata"]["name"]: item for item in found["items"]}


def _admin(cluster: Cluster) -> AdminClient:
    assert cluster.control_plane is not None
    pair = cluster.control_plane.certificates.admin
    return AdminClient(cluster.server, ca_file=cluster.ca_file, pair=pair)
