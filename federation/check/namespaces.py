"""Are the compute namespaces there, ours, open and roomy enough, and ours alone?

In: namespaces, quotas and copies of one compute cluster, as the agent sees them. Out: findings. A
namespace that is prepared brings the agent's rights in it along: one that may not be read is
missing, or its Role is. Another tenant cluster that uses the same tenant name is found by the
annotation of a namespace and by the marks of copies (DESIGN 4).
"""
# ruff: noqa: RUF012 - msgspec copies these defaults for every object

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from federation.backends.kubernetes.capacity.quota import node_resource
from federation.backends.kubernetes.namespaces import cluster_uid
from federation.backends.kubernetes.translate.names import (
    ANNOTATION_CLUSTER_UID,
    ANNOTATION_NAMESPACE,
    LABEL_TENANT,
)
from federation.check.findings import Finding, ok, shortened, untried, warn, wrong
from federation.check.site import Peer
from federation.config import CapacitySourceKind, ClusterConfig, NamespaceCreation
from vnode.kube.client import KubeClient
from vnode.kube.errors import Forbidden, KubeError, NotFound
from vnode.kube.listing import Selection, list_pages
from vnode.kube.quantity import ZERO, Quantity
from vnode.kube.resources import NAMESPACES, PODS, RESOURCE_QUOTAS
from vnode.kube.types import UID, APIObject, ObjectMeta, PartialObject

__all__ = [
    "Quota",
    "Rules",
    "judge_marks",
    "judge_namespace",
    "judge_quotas",
    "look_at_namespace",
    "other_clusters",
    "other_entries",
]

POD_SECURITY = "pod-security.kubernetes.io/enforce"
_LEVELS = ("privileged", "baseline", "restricted")
_LOOKED_AT = 500
"""Copies of a namespace whose marks are looked at."""


class _QuotaSpec(APIObject, frozen=True):
    hard: dict[str, str] = {}
    scopes: list[str] = []


class _QuotaStatus(APIObject, frozen=True):
    used: dict[str, str] = {}


class Quota(APIObject, frozen=True):
    """v1.ResourceQuota with what is used of it."""

    metadata: ObjectMeta
    spec: _QuotaSpec = _QuotaSpec()
    status: _QuotaStatus = _QuotaStatus()


@dataclass(frozen=True, slots=True)
class Rules:
    """What a compute namespace has to be like."""

    tenant: str
    cluster_uid: UID | None
    """Of the tenant; None: it may not be read."""
    made_by_agent: bool
    """Missing ones are made when they are needed."""
    privileged: bool
    """Pods may reach for the node: by the configuration's policy, or Fluid's sidecars do."""
    quotas: bool
    """Capacity comes from them."""
    mend: str
    """What prepares a namespace."""

    @classmethod
    def of(
        cls, cluster: ClusterConfig, *, tenant: str, cluster_uid: UID | None, mend: str
    ) -> "Rules":
        """The rules of a compute cluster."""
        return cls(
            tenant,
            cluster_uid,
            made_by_agent=cluster.namespaces.create is NamespaceCreation.ON_DEMAND,
            privileged=bool(cluster.policy.allow) or cluster.has_privileged_sidecars,
            quotas=any(CapacitySourceKind.QUOTA in p.capacity.sources for p in cluster.pools),
            mend=mend,
        )


async def look_at_namespace(
    client: KubeClient, namespace: str, below: str, rules: Rules
) -> Sequence[Finding]:
    """Judge the compute namespace of one tenant namespace. Raises KubeError."""
    try:
        found = await client.get(NAMESPACES, PartialObject, name=below)
    except NotFound:
        if rules.made_by_agent:
            return [ok(f"{below} is made when a pod needs it")]
        return [wrong(f"{below} does not exist", rules.mend)]
    except Forbidden:
        text = f"{below} does not exist, or the agent's Role in it is missing"
        return [wrong(text, rules.mend)]
    findings = [*judge_namespace(found, namespace, rules)]
    if any(finding.blocks for finding in findings):
        return findings
    if rules.quotas:
        try:
            pages = list_pages(client, Selection(RESOURCE_QUOTAS, below), Quota)
            quotas = [quota async for page in pages for quota in page.items or ()]
        except Forbidden:
            findings.append(untried(f"quotas of {below}: needs the right to list resourcequotas"))
        else:
            findings += judge_quotas(below, quotas, rules)
    return findings or [ok(f"{below}: ours, open, Pod Security {_level(found)}")]


def judge_namespace(found: PartialObject, namespace: str, rules: Rules) -> Sequence[Finding]:
    """Whose it is, and what it lets in; nothing if all is well."""
    below, labels = found.metadata.name, found.metadata.labels
    if found.metadata.deletion_timestamp is not None:
        held = ", ".join(found.metadata.finalizers) or "its content"
        text = f"{below} is being deleted: no pod can be made in it (held by {held})"
        return [wrong(text, f"wait until it is gone, then: {rules.mend}")]
    owner = labels.get(LABEL_TENANT)
    if owner != rules.tenant:
        whose = f'belongs to tenant "{owner}"' if owner else "is not marked as this tenant's"
        mend = f"kubectl label --overwrite namespace {below} {LABEL_TENANT}={rules.tenant}"
        return [wrong(f"{below} {whose}: it is left alone", f"{mend}  # if it is free for it")]
    if foreign := judge_marks(found, rules):
        return [foreign]
    marked = found.metadata.annotations.get(ANNOTATION_NAMESPACE, namespace)
    if marked != namespace:
        text = f"{below} is that of tenant namespace {marked}, not of {namespace}"
        return [wrong(text, "give one of them another name (namespaces: {mode: map})")]
    return _judge_pod_security(below, labels.get(POD_SECURITY, ""), rules)


def judge_marks(found: PartialObject, rules: Rules) -> Finding | None:
    """Whether a namespace says that it is another tenant cluster's of the same name."""
    uid = found.metadata.annotations.get(ANNOTATION_CLUSTER_UID)
    if uid is None or rules.cluster_uid in (None, uid):
        return None
    below = found.metadata.name
    return wrong(
        f'tenant name "{rules.tenant}" is used twice: {below} belongs to the tenant cluster with '
        f"UID {uid}, this one is {rules.cluster_uid}",
        "choose another tenant.name and prepare its namespaces; or, if that cluster is no more: "
        f"kubectl annotate namespace {below} {ANNOTATION_CLUSTER_UID}-",
    )


def judge_quotas(below: str, quotas: Iterable[Quota], rules: Rules) -> Sequence[Finding]:
    """What is granted there, and how much of it is left; nothing if all is well."""
    quotas = [quota for quota in quotas if any(map(node_resource, quota.spec.hard))]
    if not quotas:
        text = f"{below} has no ResourceQuota of what nodes have: it adds no capacity"
        return [wrong(text, rules.mend)]
    findings = []
    for quota in quotas:
        none = [
            key
            for key, text in quota.spec.hard.items()
            if node_resource(key) and Quantity.parse(text) == ZERO
        ]
        full = [
            f"{key} ({text})"
            for key, text in quota.spec.hard.items()
            if node_resource(key)
            and key not in none
            and Quantity.parse(quota.status.used.get(key, "0")) >= Quantity.parse(text)
        ]
        name, mend = quota.metadata.name, _raise_quota(below, quota.metadata.name, none)
        needed = [key for key in none if node_resource(key) in ("pods", "cpu", "memory")]
        if needed:
            text = f"quota {name} of {below} is 0 for {', '.join(none)}: no pod fits"
            findings.append(wrong(text, mend))
        elif none:
            text = f"quota {name} of {below} is 0 for {', '.join(none)}"
            findings.append(warn(text, mend))
        if full:
            text = f"quota {name} of {below} is used up: {shortened(full)}; more pods wait"
            findings.append(warn(text, "wait for pods to end, or raise the quota"))
    return findings


async def other_clusters(client: KubeClient, below: Iterable[str], rules: Rules) -> list[Finding]:
    """Copies of another tenant cluster under our tenant's name. Raises KubeError."""
    if rules.cluster_uid is None:
        return [untried("needs the right to get namespace kube-system of the tenant")]
    uids: dict[str, str] = {}
    for namespace in below:
        selection = Selection(
            PODS, namespace, label_selector=f"{LABEL_TENANT}={rules.tenant}", metadata_only=True
        )
        try:
            async for page in list_pages(client, selection, PartialObject, page_size=_LOOKED_AT):
                for each in page.items or ():
                    uid = each.metadata.annotations.get(ANNOTATION_CLUSTER_UID)
                    if uid is not None and uid != rules.cluster_uid:
                        uids.setdefault(uid, str(each.metadata.key))
                break
        except (Forbidden, NotFound):
            continue  # said by the check of that namespace
    return [
        wrong(
            f'tenant name "{rules.tenant}" is used twice: pod {pod} belongs to the tenant cluster '
            f"with UID {uid}, this one is {rules.cluster_uid}",
            "choose another tenant.name for one of them; or, if that cluster is no more, delete "
            f"its pods: kubectl delete pods -n {pod.partition('/')[0]} -l "
            f"{LABEL_TENANT}={rules.tenant}",
        )
        for uid, pod in uids.items()
    ] or [ok(f'tenant name "{rules.tenant}" is used by this cluster alone')]


async def other_entries(peer: Peer, others: Iterable[Peer]) -> list[Finding]:
    """Other entries of the configuration that lead to the same API server. Raises KubeError.

    Rights and admission policies there have the tenant's name, and copies its marks: there is one
    set of them for a tenant and an API server.
    """
    uid = await cluster_uid(peer.client)
    same = []
    for other in others:
        if other.opened is None:
            continue  # said by its own check
        try:
            known = await cluster_uid(other.opened)
        except KubeError:
            known = None
        if other.opened.server == peer.client.server or (uid is not None and uid == known):
            same.append(other.name)
    return [
        wrong(
            f"{name} is the same API server: vnode join for one of them replaces the policies of "
            "the other, and each takes copies for its own that only the other's pods use",
            "make one entry of both, with a pool for each",
        )
        for name in same
    ]


def _judge_pod_security(below: str, level: str, rules: Rules) -> Sequence[Finding]:
    mend = f"kubectl label --overwrite namespace {below} {POD_SECURITY}="
    if level not in _LEVELS and not rules.privileged:
        text = f"{below} has no Pod Security level: nothing but our policy keeps pods off the node"
        return [warn(text, f"{mend}baseline")]
    if level == "privileged" and not rules.privileged:
        text = f"{below} lets privileged pods in, although no policy here allows them"
        return [warn(text, f"{mend}baseline")]
    if level in _LEVELS[1:] and rules.privileged:
        text = f"policy.allow or Fluid lets pods reach for the node, {below} refuses them ({level})"
        return [warn(text, f"{mend}privileged  # or empty policy.allow, without pvc: fluid")]
    return []


def _raise_quota(below: str, name: str, keys: Iterable[str]) -> str:
    hard = ",".join(f'"{key}":"100"' for key in keys)
    return (
        f"kubectl -n {below} patch resourcequota {name} --type=merge "
        f'-p \'{{"spec":{{"hard":{{{hard}}}}}}}\'  # or what it is to have'
    )


def _level(found: PartialObject) -> str:
    return found.metadata.labels.get(POD_SECURITY, "") or "not set"
