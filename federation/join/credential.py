"""The credential of a plan: a token of its account, and the manifests that take it to the tenant.

In: a token, and how the agent reaches the cluster. Out: a `Credential`. Pure. The token is in its
manifests and nowhere else; who writes them decides where they go.
"""

from dataclasses import dataclass, field

import yaml

from federation.credential import (
    SECRET_KEY,
    Account,
    AccountToken,
    kubeconfig,
    secret_name,
)
from federation.join.plan import Plan
from federation.join.render import Object, tenant_objects
from vnode.kube.types import JSONObject, encode_base64


@dataclass(frozen=True, slots=True)
class Route:
    """How the agent reaches the API server of a compute cluster."""

    server: str
    ca: bytes | None
    """PEM; None: the system's list of CAs."""
    tls_server_name: str | None = None
    proxy: str | None = None


@dataclass(frozen=True, slots=True)
class Credential:
    """What was made for the tenant."""

    account: Account
    expires_at: float
    """Unix seconds."""
    secret: str
    """Name of the Secret."""
    manifests: str = field(repr=False)
    """YAML: the Secret and the right to renew it. Holds the token."""


def credential_of(plan: Plan, route: Route, token: AccountToken) -> Credential:
    """The manifests for the tenant with that token in them."""
    text = kubeconfig(
        plan.cluster,
        server=route.server,
        ca=route.ca,
        token=token.value,
        tls_server_name=route.tls_server_name,
        proxy=route.proxy,
    )
    objects = tenant_objects(plan)
    for each in objects:
        if each["kind"] == "Secret":
            each["data"] = {SECRET_KEY: encode_base64(text)}
    name = secret_name(plan.cluster)
    return Credential(token.account, token.expires_at, name, as_yaml(objects))


def as_yaml(objects: list[Object]) -> str:
    """The objects as documents of one YAML text."""
    return yaml.safe_dump_all(objects, sort_keys=False, explicit_start=True)


def configuration(plan: Plan) -> JSONObject:
    """What `clusters:` of the agent's configuration says about this cluster."""
    entry: JSONObject = {
        "name": plan.cluster,
        "kubeconfig": f"/etc/vnode/{plan.cluster}/kubeconfig",
        "kubeconfigSecret": secret_name(plan.cluster),
    }
    namespaces: JSONObject = {}
    if plan.mapping.mode != "prefix":
        namespaces["mode"] = str(plan.mapping.mode)
    if plan.mapping.table:
        namespaces["table"] = {**plan.mapping.table}
    if plan.on_demand:
        namespaces["create"] = "OnDemand"
        if plan.pod_security != "baseline":
            namespaces["labels"] = {"pod-security.kubernetes.io/enforce": plan.pod_security}
    if namespaces:
        entry["namespaces"] = namespaces
    if plan.usage_kubelet:
        entry["usage"] = "kubelet"
    if plan.capacity_nodes:
        entry["pools"] = [{"name": "default", "capacity": {"sources": ["nodes"]}}]
    elif plan.on_demand:
        numbers: JSONObject = {"cpu": "64", "memory": "512Gi", "pods": "110"}
        capacity: JSONObject = {"sources": ["static"], "static": numbers}
        entry["pools"] = [{"name": "default", "capacity": capacity}]
    return {"clusters": [entry]}
