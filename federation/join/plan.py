"""What is wanted of one compute cluster for one tenant, as one value.

In: command-line options, or the agent's configuration. Out: a frozen `Plan` that `render` turns
into objects. Pure. What contradicts itself is a `PlanError` that says what to do.
"""

import ipaddress
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from pydantic import TypeAdapter, ValidationError

from federation.backends.kubernetes.translate.names import NamespaceMapping, NamespaceMode
from federation.backends.kubernetes.usage.reader import UsageMode
from federation.config import AgentConfig, CapacitySourceKind, ClusterConfig, NamespaceCreation
from federation.config.values import DnsLabel
from federation.credential import SYSTEM_NAMESPACE, secret_name
from federation.join.fluid import FluidPlan, fluid_plan
from vnode.kube.quantity import InvalidQuantity, Quantity

EVERY_NAMESPACE = ""
"""Key of quotas that hold for each namespace without one of its own."""
_LABEL: TypeAdapter[str] = TypeAdapter(DnsLabel)
POD_SECURITY_LEVELS = ("privileged", "baseline", "restricted")


class PlanError(Exception):
    """What was asked for cannot be done: what, why, and what to ask for instead."""


class Endpoint(NamedTuple):
    """Address and port of the tenant's API server as pods in the compute cluster reach it."""

    address: str
    port: int

    @property
    def cidr(self) -> str:
        """The address alone, as a NetworkPolicy takes it."""
        return str(ipaddress.ip_network(self.address))


@dataclass(frozen=True)
class Plan:
    """One tenant in one compute cluster.

    Raises:
        PlanError: there is nothing to make, or a namespace cannot be named.
    """

    tenant: str
    cluster: str
    """Name of the compute cluster in the agent's configuration."""
    mapping: NamespaceMapping
    namespaces: Sequence[str]
    """Tenant namespaces; their compute namespaces are prepared unless `on_demand`."""
    on_demand: bool = False
    """The agent makes its namespaces itself: rights in the whole cluster."""
    capacity_nodes: bool = False
    """Rights for pools with capacity source `nodes`."""
    usage_kubelet: bool = False
    """Rights for `usage: kubelet`."""
    pod_security: str = "baseline"
    quotas: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """Resource -> quantity by tenant namespace, or by `EVERY_NAMESPACE`; empty: the manifest's."""
    api_server: Endpoint | None = None
    """None: NetworkPolicies have no rule of its own for it."""
    tenant_uid: str | None = None
    """UID of the tenant's kube-system: another tenant cluster of that name is then refused, in
    these namespaces and with this account."""
    agent_namespace: str = SYSTEM_NAMESPACE
    """Of the agent in the tenant cluster."""
    fluid: FluidPlan | None = None
    """Rights for pools with `pvc: fluid`, and the policies that fence them."""

    def __post_init__(self) -> None:
        if not self.on_demand and not self.namespaces:
            raise PlanError(
                "no namespace is named; give the tenant's with --namespaces (or tenant.namespaces "
                "of the configuration), or let the agent make them with --on-demand"
            )
        for name in (secret_name(self.cluster), *self.namespaces):
            _check_label(name)
        if self.pod_security not in POD_SECURITY_LEVELS:
            levels = ", ".join(POD_SECURITY_LEVELS)
            raise PlanError(f'"{self.pod_security}" is no Pod Security level; one of {levels}')
        if self.fluid is not None:
            _check_fluid(self.fluid, self)
        if self.on_demand and self.quotas:
            raise PlanError(
                "quotas belong to prepared namespaces, and with on-demand nothing is prepared; "
                "leave --quota or --on-demand out"
            )
        for namespace in self.quotas:
            if namespace and namespace not in self.namespaces:
                raise PlanError(
                    f'--quota names namespace "{namespace}", which is none of --namespaces; '
                    "correct its name"
                )
        for namespace in self.namespaces:
            if self.mapping.below(namespace) is None:
                raise PlanError(
                    f'tenant namespace "{namespace}" has no compute namespace in mode '
                    f"{self.mapping.mode}; leave it out or map it by NAME=COMPUTE-NAME"
                )

    def below(self, namespace: str) -> str:
        """The compute namespace of one of `namespaces`."""
        return str(self.mapping.below(namespace))

    @property
    def warnings(self) -> list[str]:
        """What is granted in the whole cluster, a line each: a configuration asks for it too."""
        kubelets = (
            "all kubelets may be asked, and the policy lets only /stats/summary through"
            if self.on_demand
            else "the agent may read the logs of all pods and run commands in them; a "
            "metrics-server needs no such right"
        )
        grants = (
            (
                self.on_demand,
                "namespaces on demand: the agent may read all Secrets, ConfigMaps and pods; an "
                "admission policy fences what it writes, and not what it reads",
            ),
            (self.usage_kubelet, f"usage from kubelets (nodes/proxy): {kubelets}"),
            (self.capacity_nodes, "capacity from nodes: the agent may see all nodes and all pods"),
            (
                self.fluid is not None and bool(self.fluid.volumes),
                "volumes for Fluid: the agent may read any PersistentVolume that it can name; an "
                "admission policy keeps those that it makes to what the configuration allows",
            ),
        )
        told = [f"rights in the whole cluster: {text}" for granted, text in grants if granted]
        if self.fluid is not None and self.pod_security == "privileged":
            told.append(_reach(self.fluid))
        return told


def plan_of(
    config: AgentConfig,
    cluster: ClusterConfig,
    *,
    pod_security: str = "baseline",
    quotas: Mapping[str, Mapping[str, str]] | None = None,
    api_server: Endpoint | None = None,
    tenant_uid: str | None = None,
    capacity_nodes: bool = False,
    usage_kubelet: bool = False,
) -> Plan:
    """The plan of one cluster of an agent's configuration, and what only its administrator knows.

    `capacity_nodes` and `usage_kubelet` grant what the configuration does not need, such as for
    `usage: auto`.

    Raises:
        PlanError: it prepares namespaces and does not name any.
    """
    tenant, namespaces = config.tenant, cluster.namespaces
    server = tenant.api_server
    if api_server is None and server.host is not None and is_address(server.host):
        api_server = Endpoint(server.host, server.port or 443)
    return Plan(
        tenant=tenant.name,
        cluster=cluster.name,
        mapping=NamespaceMapping(tenant.name, mode=namespaces.mode, table=namespaces.table),
        namespaces=tenant.namespaces,
        on_demand=namespaces.create is NamespaceCreation.ON_DEMAND,
        capacity_nodes=capacity_nodes
        or any(CapacitySourceKind.NODES in pool.capacity.sources for pool in cluster.pools),
        usage_kubelet=usage_kubelet or cluster.usage is UsageMode.KUBELET,
        fluid=fluid_plan(cluster),
        pod_security=pod_security,
        quotas=quotas or {},
        api_server=api_server,
        tenant_uid=tenant_uid,
        agent_namespace=config.leader_election.namespace,
    )


def mapping_of(
    tenant: str, names: Sequence[str], *, same: bool = False
) -> tuple[NamespaceMapping, tuple[str, ...]]:
    """Tenant namespaces given as NAME or NAME=COMPUTE-NAME: their names below, and their own.

    Raises:
        PlanError: a name is invalid or stands there twice, or only some are mapped.
    """
    pairs = [name.partition("=") for name in names]
    mapped = [name for name, sign, _ in pairs if sign]
    if mapped and (same or len(mapped) < len(pairs)):
        raise PlanError(
            "either every namespace has a compute name (NAME=COMPUTE-NAME) or none; without one "
            "the tenant's name is its prefix"
        )
    tenants = tuple(name for name, _, _ in pairs)
    if len(set(tenants)) < len(tenants):
        raise PlanError("a namespace stands there twice; name each once")
    try:
        if mapped:
            table = {name: below for name, _, below in pairs}
            return NamespaceMapping(tenant, mode=NamespaceMode.MAP, table=table), tenants
        mode = NamespaceMode.SAME if same else NamespaceMode.PREFIX
        return NamespaceMapping(tenant, mode=mode), tenants
    except ValueError as error:
        raise PlanError(f"{error}; choose another name") from None


def quotas_of(texts: Iterable[str]) -> dict[str, dict[str, str]]:
    """Quotas given as [NAMESPACE:]RESOURCE=QUANTITY[,RESOURCE=QUANTITY...].

    Quantities become canonical, as API servers store them: server-side apply compares texts, and
    takes 1000 and 1k of two managers for a conflict.

    Raises:
        PlanError: one is not of that form.
    """
    quotas: dict[str, dict[str, str]] = {}
    for text in texts:
        namespace, sign, rest = text.partition(":")
        if not sign:
            namespace, rest = EVERY_NAMESPACE, text
        for part in rest.split(","):
            resource, sign, quantity = part.partition("=")
            try:
                quantity = str(Quantity.parse(quantity))
            except InvalidQuantity:
                sign = ""
            if not sign or not resource:
                raise PlanError(
                    f'"{text}" is no quota; write it like requests.nvidia.com/gpu=8,pods=100, or '
                    "for one namespace team-a:pods=100"
                )
            quotas.setdefault(namespace, {})[resource] = quantity
    return quotas


def endpoint_of(text: str) -> Endpoint:
    """An address and port given as ADDRESS:PORT.

    Raises:
        PlanError: it is none.
    """
    host, _, port = text.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not is_address(host) or not port.isdecimal() or not 0 < int(port) < 2**16:
        raise PlanError(
            f'"{text}" is no ADDRESS:PORT; NetworkPolicies know addresses only, such as '
            "203.0.113.10:6443"
        )
    return Endpoint(host, int(port))


def _check_fluid(fluid: FluidPlan, plan: Plan) -> None:
    if plan.on_demand:
        raise PlanError(
            "Fluid (pvc: fluid) needs prepared namespaces, as its volumes and sidecars would reach "
            "past the fence of on-demand ones; leave one of them out"
        )
    if fluid.makes_datasets and plan.pod_security != "privileged":
        raise PlanError(
            "Fluid's sidecars are privileged, and Pod Security "
            f"{plan.pod_security} would refuse them; give --pod-security=privileged, and see "
            "docs/data.md for what keeps such pods apart"
        )


def _reach(fluid: FluidPlan) -> str:
    head = "Fluid's sidecars are privileged: who has the agent's credential can make pods that "
    if fluid.reaches_all:
        return f"{head}reach for any node; give the pools with pvc: fluid a nodeSelector"
    places = " or ".join(
        ",".join(f"{key}={value}" for key, value in sorted(labels.items()))
        for labels in fluid.reach
    )
    return f"{head}reach for nodes with {places}; an admission policy keeps them off all others"


def _check_label(name: str) -> None:
    try:
        _LABEL.validate_python(name)
    except ValidationError:
        raise PlanError(
            f'"{name}" is no name of a cluster or namespace; use a-z, 0-9 and -, at most 63'
        ) from None


def is_address(text: str) -> bool:
    """Whether it is an IP address."""
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True
