"""The objects of a plan, from `manifests/*.yaml`.

In: a `Plan`. Out: plain JSON objects in the order in which they have to be made, each with the
tenant's label. Pure but for reading the manifests, which lie beside this file and are read once.

`${name}` in a text of a manifest stands for a value of the plan. It is replaced after the YAML was
parsed, so a value cannot become anything but text. What is no text (numbers of a quota, the rule
for the API server) is put in here by name.
"""

import json
from collections.abc import Iterable, Mapping
from functools import cache
from importlib import resources
from string import Template

import yaml

from federation.backends.kubernetes.translate.names import (
    ANNOTATION_CLUSTER_UID,
    LABEL_MANAGED_BY,
    LABEL_TENANT,
    MANAGED_BY,
    NamespaceMapping,
    NamespaceMode,
)
from federation.credential import SYSTEM_NAMESPACE
from federation.join.fluid import fence_values
from federation.join.plan import EVERY_NAMESPACE, Endpoint, Plan
from vnode.kube.types import JSON

Object = dict[str, JSON]
"""One object as the API takes it."""

BOUND_KINDS = ("Namespace", "ServiceAccount")
"""Kinds whose objects say which tenant cluster they are for, where the plan does. Who has a token
of the account has all that was ever granted to it."""
_NAMESPACE = ("namespace.yaml", "namespace-rbac.yaml", "quota.yaml", "network-policy.yaml")
_API_SERVER = "${apiServerCidr}"
_COUNTED = ("configmaps", "secrets", "services", "persistentvolumeclaims", "count/")
"""Resources of the quota of objects; all others are of the quota that capacity comes from."""


def compute_objects(plan: Plan) -> list[Object]:
    """All that a compute cluster holds for this plan; namespaces come before what is in them."""
    objects = [_marked(each, plan) for each in _objects(_cluster_files(plan), _values(plan))]
    for namespace in () if plan.on_demand else plan.namespaces:
        values = {
            **_values(plan),
            "namespace": plan.below(namespace),
            "tenantNamespace": namespace,
            "podSecurity": plan.pod_security,
        }
        found = _objects((*_NAMESPACE, *_fluid_files(plan)), values)
        objects += [_marked(_filled(each, plan, namespace), plan) for each in found]
    return objects


def tenant_objects(plan: Plan) -> list[Object]:
    """The tenant's side of the credential: a Secret without content, and the right to renew it."""
    return [_marked(each, plan) for each in _objects(("tenant.yaml",), _values(plan))]


def _cluster_files(plan: Plan) -> list[str]:
    files = {
        "account.yaml": True,
        "identity.yaml": not plan.on_demand,  # may get every namespace
        "on-demand-fence.yaml": plan.on_demand,
        "on-demand-pod-security.yaml": plan.on_demand and plan.pod_security != "privileged",
        "on-demand-rbac.yaml": plan.on_demand,
        "capacity-nodes.yaml": plan.capacity_nodes,
        "usage-kubelet.yaml": plan.usage_kubelet,
    }
    if (fluid := plan.fluid) is not None:
        files |= {  # Fences come before what they fence.
            "fluid-fence.yaml": fluid.makes_datasets or bool(fluid.volumes),
            "fluid-pods-fence.yaml": not fluid.reaches_all,
            "fluid-volumes.yaml": bool(fluid.volumes),
        }
    return [name for name, wanted in files.items() if wanted]


def _fluid_files(plan: Plan) -> list[str]:
    """What each prepared namespace has for Fluid."""
    if plan.fluid is None:
        return []
    files = {
        "fluid-rbac.yaml": plan.fluid.makes_datasets,
        "fluid-claims.yaml": bool(plan.fluid.volumes),
    }
    return [name for name, wanted in files.items() if wanted]


def _values(plan: Plan) -> dict[str, str]:
    below = [plan.below(namespace) for namespace in plan.namespaces]
    return {
        **(fence_values(plan.fluid, below) if plan.fluid is not None else {}),
        "tenant": plan.tenant,
        "cluster": plan.cluster,
        "agentNamespace": plan.agent_namespace,
        "fits": _fits(plan.mapping),
    }


def _fits(mapping: NamespaceMapping) -> str:
    """CEL: whether the agent may make a namespace of that name."""
    if mapping.mode is NamespaceMode.MAP:
        return f"request.name in {json.dumps(sorted(mapping.table.values()))}"
    if mapping.mode is NamespaceMode.SAME:
        return '!request.name.startsWith("kube-")'
    return f'request.name.startsWith("{mapping.tenant}--")'


def _objects(files: Iterable[str], values: Mapping[str, str]) -> list[Object]:
    return [_object(_replaced(each, values)) for file in files for each in _manifest(file)]


@cache
def _manifest(file: str) -> tuple[JSON, ...]:
    text = resources.files(__package__).joinpath("manifests", file).read_text(encoding="utf-8")
    return tuple(yaml.load_all(text, Loader=yaml.CSafeLoader))


def _replaced(value: JSON, values: Mapping[str, str]) -> JSON:
    """A copy with the plan's values; those that are no text stay as they are."""
    if isinstance(value, str):
        return Template(value).safe_substitute(values)
    if isinstance(value, list):
        return [_replaced(each, values) for each in value]
    if isinstance(value, dict):
        return {key: _replaced(each, values) for key, each in value.items()}
    return value


def _object(value: JSON) -> Object:
    assert isinstance(value, dict)  # noqa: S101 - our own manifests
    return value


def _marked(value: Object, plan: Plan) -> Object:
    """With the marks of the tenant; the namespace of all accounts has those of nobody."""
    metadata = _object(value["metadata"])
    labels: Object = {LABEL_MANAGED_BY: MANAGED_BY}
    if (value["kind"], metadata["name"]) != ("Namespace", SYSTEM_NAMESPACE):
        labels[LABEL_TENANT] = plan.tenant
    metadata["labels"] = {**labels, **_object(metadata.get("labels", {}))}
    if plan.tenant_uid is not None and LABEL_TENANT in labels and value["kind"] in BOUND_KINDS:
        notes = _object(metadata.get("annotations", {}))
        metadata["annotations"] = {**notes, ANNOTATION_CLUSTER_UID: plan.tenant_uid}
    return value


def _filled(value: Object, plan: Plan, namespace: str) -> Object:
    """With what is no text in it."""
    if value["kind"] == "ResourceQuota":
        _fill_quota(value, plan, namespace)
    if value["kind"] == "NetworkPolicy":
        _fill_policy(_object(value["spec"]), plan.api_server)
    return value


def _fill_quota(value: Object, plan: Plan, namespace: str) -> None:
    wanted = plan.quotas.get(namespace) or plan.quotas.get(EVERY_NAMESPACE) or {}
    counts = {key: each for key, each in wanted.items() if key.startswith(_COUNTED)}
    amounts = {key: each for key, each in wanted.items() if key not in counts}
    spec = _object(value["spec"])
    if _object(value["metadata"])["name"] == "vnode-objects":
        spec["hard"] = {**_object(spec["hard"]), **counts}
    elif amounts:
        spec["hard"] = {**amounts}


def _fill_policy(spec: Object, api_server: Endpoint | None) -> None:
    rules = spec["egress"]
    assert isinstance(rules, list)  # noqa: S101 - our own manifest
    own = next(rule for rule in rules if _API_SERVER in json.dumps(rule))
    at = rules.index(own)
    del rules[at]
    if api_server is not None:
        to: JSON = [{"ipBlock": {"cidr": api_server.cidr}}]
        rules.insert(at, {"to": to, "ports": [{"protocol": "TCP", "port": api_server.port}]})
