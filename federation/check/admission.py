"""Does the tenant's admission do for pods what virtual nodes need, and keep DaemonSets off them?

In: a pod that is created for a look only (dry run), the policy's objects, DaemonSet pods that were
put on virtual nodes. Out: findings. The agent may not create pods in the tenant, so this is tried
as an administrator, if there is one.
"""
# ruff: noqa: RUF012 - msgspec copies these defaults for every object

from collections.abc import Iterable, Sequence

from federation.backends.kubernetes.capacity.pool import Toleration
from federation.check.findings import (
    Finding,
    not_allowed,
    ok,
    one_line,
    refused,
    shortened,
    warn,
    wrong,
)
from federation.check.site import Peer, Site
from vnode.kube.errors import ApiError, Forbidden, KubeError, NotFound
from vnode.kube.listing import Selection, list_pages
from vnode.kube.resources import NAMESPACES, PODS, Resource
from vnode.kube.types import APIObject, JSONObject, ObjectMeta, PartialObject
from vnode.node.spec import PROVIDER_TAINT

__all__ = ["daemonsets", "judge_tolerations", "tolerations"]

_ADMISSION = "admissionregistration.k8s.io"
_POLICIES = Resource(
    _ADMISSION, "v1", "mutatingadmissionpolicies", "MutatingAdmissionPolicy", namespaced=False
)
_BINDINGS = Resource(
    _ADMISSION,
    "v1",
    "mutatingadmissionpolicybindings",
    "MutatingAdmissionPolicyBinding",
    namespaced=False,
)
_POLICY = "vnode-tolerations"
_LABEL, _ENABLED = "vnode.dev/virtual-nodes", "enabled"
_DEFAULT_SECONDS = 300
_LIMITED = ("node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable")
_APPLY = "kubectl apply -f deploy/tenant/tolerations-policy.yaml"
_FORWARD = "vnode.dev/forward-daemonset"
_MOST_NAMESPACES = 20
"""In which the policy is tried; they all have the same one."""


class _PodToleration(Toleration, frozen=True):
    toleration_seconds: int | None = None


class _Spec(APIObject, frozen=True):
    tolerations: list[_PodToleration] = []


class _Tried(APIObject, frozen=True):
    """A pod as it would be."""

    metadata: ObjectMeta
    spec: _Spec = _Spec()


async def tolerations(site: Site) -> Sequence[Finding]:
    """Try a pod in each namespace. Raises KubeError."""
    viewer = site.tenant_viewer
    findings: list[Finding] = []
    names = (await _enabled(site))[:_MOST_NAMESPACES]
    if not names:
        text = f"no namespace has the label {_LABEL}={_ENABLED}: no pod goes to virtual nodes"
        return [warn(text, f"kubectl label namespace NAME {_LABEL}={_ENABLED}")]
    for namespace in names:
        try:
            tried = await viewer.client.create(
                PODS, _probe(), _Tried, namespace=namespace, dry_run=True
            )
        except Forbidden as error:
            if "cannot create resource" in error.message:
                return [not_allowed("create pods (dry run)", "--kubeconfig")]
            findings.append(warn(f"a pod would be refused in {namespace}: {one_line(error)}"))
            continue
        except NotFound:
            text = f"namespace {namespace} of the tenant does not exist"
            findings.append(wrong(text, f"kubectl create namespace {namespace}"))
            continue
        if problem := judge_tolerations(tried.spec.tolerations):
            findings.append(await _why(viewer, namespace, problem))
    return findings or [ok(f"pods in {shortened(names)} may go to virtual nodes and stay there")]


async def _enabled(site: Site) -> Sequence[str]:
    """Namespaces whose pods are to have the tolerations: those listed, else those labelled."""
    if site.config.tenant.namespaces:
        return site.config.tenant.namespaces
    labelled = Selection(NAMESPACES, label_selector=f"{_LABEL}={_ENABLED}", metadata_only=True)
    pages = list_pages(site.tenant.client, labelled, PartialObject)
    names = [each.metadata.name async for page in pages for each in page.items or ()]
    return [name for name in names if site.config.tenant.forwards(name)]


def judge_tolerations(found: Iterable[_PodToleration]) -> str:
    """What a pod would lack on a virtual node; empty: nothing."""
    found = list(found)
    lacks = []
    if not any(
        each.key in ("", PROVIDER_TAINT)
        and each.operator == "Exists"
        and each.effect in ("", "NoSchedule")
        for each in found
    ):
        lacks.append(f"do not tolerate {PROVIDER_TAINT}, so none is placed")
    if any(each.key in _LIMITED and each.toleration_seconds == _DEFAULT_SECONDS for each in found):
        lacks.append(f"are deleted after {_DEFAULT_SECONDS} s without agent")
    return " and ".join(lacks)


async def _why(viewer: Peer, namespace: str, problem: str) -> Finding:
    """Which of the policy's three parts is missing."""
    text = f"pods of namespace {namespace} {problem}: "
    try:
        for resource in (_POLICIES, _BINDINGS):
            if not await _exists(viewer, resource):
                return wrong(f"{text}there is no {resource.kind} {_POLICY}", _APPLY)
        found = await viewer.client.get(NAMESPACES, PartialObject, name=namespace)
    except Forbidden as error:
        return wrong(f"{text}{one_line(error)}", _APPLY)
    if found.metadata.labels.get(_LABEL) != _ENABLED:
        mend = f"kubectl label --overwrite namespace {namespace} {_LABEL}={_ENABLED}"
        return wrong(f"{text}the namespace has not the label {_LABEL}={_ENABLED}", mend)
    return wrong(f"{text}policy {_POLICY} does not act (a new one takes some seconds)", _APPLY)


async def _exists(viewer: Peer, resource: Resource) -> bool:
    try:
        await viewer.client.get(resource, PartialObject, name=_POLICY)
    except ApiError as error:
        if error.code != 404:
            raise
        return False
    return True


def _probe() -> JSONObject:
    """Fit for the Pod Security level restricted."""
    container: JSONObject = {
        "name": "probe",
        "image": "probe",
        "resources": {"requests": {"cpu": "1m", "memory": "1Mi"}},
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "runAsNonRoot": True,
            "runAsUser": 65532,
            "capabilities": {"drop": ["ALL"]},
            "seccompProfile": {"type": "RuntimeDefault"},
        },
    }
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"generateName": "vnode-check-"},
        "spec": {"containers": [container]},
    }


async def daemonsets(site: Site) -> Sequence[Finding]:
    """Which DaemonSets were given pods on virtual nodes? Raises KubeError."""
    found: dict[str, None] = {}
    for node in site.config.virtual_nodes:
        selection = Selection(PODS, field_selector=f"spec.nodeName={node.name}", metadata_only=True)
        try:
            async for page in list_pages(site.tenant_viewer.client, selection, PartialObject):
                for each in page.items or ():
                    if _FORWARD in each.metadata.annotations:
                        continue
                    for owner in each.metadata.owner_references:
                        if owner.kind == "DaemonSet":
                            found[f"{each.metadata.namespace}/{owner.name}"] = None
        except KubeError as error:
            return [refused(error, right="list pods of all namespaces", option="--kubeconfig")]
    if not found:
        return [ok("no DaemonSet has pods on virtual nodes that wait for ever")]
    namespace, _, name = next(iter(found)).partition("/")
    return [
        warn(
            f"DaemonSets match virtual nodes, and their updates never end: {shortened(found)}",
            "kubectl apply -f deploy/tenant/daemonsets-policy.yaml && "
            f"kubectl -n {namespace} rollout restart daemonset {name}",
        )
    ]
