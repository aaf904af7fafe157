"""Which rights an agent needs for its configuration, on both sides.

In: the configuration. Out: `Right`s, each with what does not work without it. Pure. This is the one
list by which `vnode check` judges credentials; a test compares it with the roles of the manifests,
and the end-to-end tests compare these with what agents really ask for.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from federation.backends.kubernetes.translate.names import NamespaceMapping
from federation.backends.kubernetes.translate.policy import FluidDialect, PvcMode
from federation.backends.kubernetes.usage.reader import UsageMode
from federation.config import (
    AgentConfig,
    CapacitySourceKind,
    CertificateSource,
    ClusterConfig,
    FluidConfig,
    NamespaceCreation,
    NamespaceReclaim,
)
from federation.credential import account_of

__all__ = ["Right", "compute_rights", "tenant_rights"]

_AUTHENTICATION = "authentication.k8s.io"
_AUTHORIZATION = "authorization.k8s.io"
_CERTIFICATES = "certificates.k8s.io"
_COORDINATION = "coordination.k8s.io"
_METRICS = "metrics.k8s.io"
_FLUID = "data.fluid.io"
_SYSTEM = "kube-system"


@dataclass(frozen=True, slots=True)
class Right:
    """One verb on one resource, as RBAC grants it."""

    verb: str
    resource: str
    """With its subresource: `pods/log`."""
    purpose: str
    """What does not work without it."""
    group: str = ""
    namespace: str | None = None
    """None: in the whole cluster."""
    name: str = ""
    """The only object that it is needed for; empty: all."""
    optional: bool = False
    """Pods run, and users see what happens to them, without it too."""

    def __str__(self) -> str:
        resource = f"{self.resource}.{self.group}" if self.group else self.resource
        name = f" {self.name}" if self.name else ""
        place = f" in namespace {self.namespace}" if self.namespace is not None else ""
        return f"{self.verb} {resource}{name}{place}"


def tenant_rights(config: AgentConfig) -> tuple[Right, ...]:
    """What the agent needs in the tenant cluster."""
    return (
        *_of_nodes(config),
        *(
            right
            for scope in config.tenant.namespaces or (None,)
            for right in _in(scope, _tenant_namespace(config))
        ),
        *_of_tenant(config),
    )


def compute_rights(
    config: AgentConfig, cluster: ClusterConfig, namespaces: Iterable[str]
) -> tuple[Right, ...]:
    """What the agent needs in a compute cluster for these namespaces of the tenant."""
    on_demand = cluster.namespaces.create is NamespaceCreation.ON_DEMAND
    if on_demand:
        return (
            *_compute_namespace(cluster),
            *_on_demand(cluster),
            *_of_pools(cluster),
            *_renewal(config, cluster),
        )
    mapping = NamespaceMapping(
        config.tenant.name, mode=cluster.namespaces.mode, table=cluster.namespaces.table
    )
    below = [name for namespace in namespaces if (name := mapping.below(namespace)) is not None]
    return (
        *(right for name in below for right in _in(name, _compute_namespace(cluster))),
        *(
            Right("get", "namespaces", "see whose the namespace is", namespace=name, name=name)
            for name in below
        ),
        Right(
            "get",
            "namespaces",
            "tell a deleted namespace from another cluster: pods of a deleted one wait for ever",
            namespace=_SYSTEM,
            name=_SYSTEM,
            optional=True,
        ),
        *_of_pools(cluster),
        *_renewal(config, cluster),
    )


def _verbs(
    verbs: str, resources: str, purpose: str, *, group: str = "", optional: bool = False
) -> Iterator[Right]:
    """Rights in the whole cluster; verbs and resources are separated by spaces."""
    for resource in resources.split():
        for verb in verbs.split():
            yield Right(verb, resource, purpose, group=group, optional=optional)


def _in(namespace: str | None, rights: Iterable[Right]) -> Iterator[Right]:
    return (replace(right, namespace=namespace) for right in rights)


# --- tenant ---------------------------------------------------------------------------------------


def _of_nodes(config: AgentConfig) -> Iterator[Right]:
    yield from _verbs("create get list watch patch", "nodes", "register the virtual nodes")
    yield from _verbs("patch", "nodes/status", "show capacity and health of the virtual nodes")
    yield from _in(
        "kube-node-lease",
        _verbs("create get patch", "leases", "keep the virtual nodes alive", group=_COORDINATION),
    )
    yield from _in("default", _verbs("create get patch", "events", "tell events of virtual nodes"))
    if config.kubelet.certificate.source is CertificateSource.AUTO:
        yield from _verbs(
            "create get list",
            "certificatesigningrequests",
            "ask for serving certificates (else: kubelet.certificate.source)",
            group=_CERTIFICATES,
        )
    if not config.kubelet.insecure:
        yield from _verbs("create", "tokenreviews", "know who asks for logs", group=_AUTHENTICATION)
        yield from _verbs(
            "create",
            "subjectaccessreviews",
            "know who may use logs",
            group=_AUTHORIZATION,
        )


def _tenant_namespace(config: AgentConfig) -> Iterator[Right]:
    yield from _verbs("get list watch delete patch", "pods", "follow the pods")
    yield from _verbs("patch", "pods/status", "show the status of pods")
    yield from _verbs("get list watch", "configmaps secrets", "copy what pods refer to")
    yield from _verbs("list watch", "services", "give containers the variables of Services")
    yield from _verbs("create", "serviceaccounts/token", "give pods their tokens")
    yield from _verbs("create get patch", "events", "say why a pod waits")
    if config.reads_claims:
        yield from _verbs("get list watch", "persistentvolumeclaims", "see what claims mean")


def _of_tenant(config: AgentConfig) -> Iterator[Right]:
    yield Right("get", "namespaces", "know the tenant cluster by its UID", name=_SYSTEM)
    yield from _in(
        config.leader_election.namespace,
        _verbs("create get patch", "leases", "elect the replica that writes", group=_COORDINATION),
    )
    yield Right(
        "get",
        "configmaps",
        "know the API server by its client certificate",
        namespace=_SYSTEM,
        name="extension-apiserver-authentication",
    )
    for name in {cluster.kubeconfig_secret: None for cluster in config.kubernetes_clusters}:
        if name is not None:
            for right in _verbs("get update", "secrets", "keep renewed tokens for a restart"):
                yield replace(right, namespace=config.leader_election.namespace, name=name)
    if not config.tenant.namespaces:
        yield from _verbs("get list watch", "namespaces", "find the namespaces of the tenant")
    if config.clusters_with_claims:
        yield from _verbs(
            "create get list watch delete", "persistentvolumes", "bind claims to placeholders"
        )
    elif config.reads_claims:
        yield from _verbs("get", "persistentvolumes", "see where the data of claims lies")


# --- compute --------------------------------------------------------------------------------------


def _compute_namespace(cluster: ClusterConfig) -> Iterator[Right]:
    yield from _verbs("create get list watch patch delete", "pods", "run the pods")
    yield from _verbs("patch", "pods/ephemeralcontainers", "kubectl debug")
    yield from _verbs("patch", "pods/resize", "resize pods in place")

    yield from _verbs("get", "pods/log", "kubectl logs")
    yield from _verbs(
        "get create", "pods/exec pods/attach pods/portforward", "kubectl exec and port-forward"
    )
    yield from _verbs(
        "create get list watch update delete", "configmaps secrets", "copy what pods refer to"
    )
    yield from _verbs("list watch", "events", "say why a pod waits")
    if cluster.has_pvc(PvcMode.SHARED, PvcMode.FLUID):
        yield from _verbs("get", "persistentvolumeclaims", "see whether claims exist")
    if cluster.fluid is not None:
        yield from _of_fluid(cluster.fluid)
    if any(CapacitySourceKind.QUOTA in pool.capacity.sources for pool in cluster.pools):
        yield from _verbs("list watch", "resourcequotas", "know the capacity")
    if cluster.usage in (UsageMode.AUTO, UsageMode.METRICS_API):
        yield from _verbs("list", "pods", "kubectl top", group=_METRICS, optional=True)


def _of_fluid(fluid: FluidConfig) -> Iterator[Right]:
    """In a compute namespace: what claims with a profile need there."""
    if fluid.volumes:
        yield from _verbs(
            "create list watch delete", "persistentvolumeclaims", "copy claims for Fluid"
        )
    if fluid.dialect is FluidDialect.FLUID:
        kinds = "datasets thinruntimes dataloads"
        made = "have pods read claims through Fluid"
        yield from _verbs("create list watch delete", kinds, made, group=_FLUID)
        yield from _verbs("get", "daemonsets", "see when Fluid is ready", group="apps")


def _on_demand(cluster: ClusterConfig) -> Iterator[Right]:
    yield from _verbs("create get list", "namespaces", "make namespaces, and find those made")
    yield Right("get", "serviceaccounts", "see when pods can be made", name="default")
    if cluster.namespaces.reclaim is NamespaceReclaim.DELETE:
        yield from _verbs("delete", "namespaces", "delete namespaces that nobody needs")
        yield from _verbs("list", "persistentvolumeclaims", "keep namespaces that hold data")


def _renewal(config: AgentConfig, cluster: ClusterConfig) -> Iterator[Right]:
    if cluster.kubeconfig_secret is not None:
        account = account_of(config.tenant.name)
        yield Right(
            "create",
            "serviceaccounts/token",
            "renew its own token before it ends",
            namespace=account.namespace,
            name=account.name,
        )


def _of_pools(cluster: ClusterConfig) -> Iterator[Right]:
    if any(CapacitySourceKind.NODES in pool.capacity.sources for pool in cluster.pools):
        yield from _verbs("list watch", "nodes pods", "know the capacity of the nodes")
    if cluster.fluid is not None and cluster.fluid.volumes:
        yield from _verbs(
            "create get delete", "persistentvolumes", "copy the volumes of claims for Fluid"
        )
    if cluster.usage is UsageMode.KUBELET:
        yield from _verbs("get", "nodes/proxy", "kubectl top", optional=True)
