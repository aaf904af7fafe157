"""Which checks there are for a configuration, and which of them wait for which.

In: a `Site`. Out: `Check`s in the order in which people read them: what all clusters share, the
tenant, each compute cluster with its virtual nodes. No check waits for more than the ways that it
uses.
"""

import time
from collections.abc import Sequence
from functools import partial

from federation.backends.kubernetes.namespaces import cluster_uid
from federation.check import (
    admission,
    capacity,
    clocks,
    eci,
    fluid,
    kubelet,
    links,
    namespaces,
    networks,
    nodes,
    rights,
    versions,
)
from federation.check.findings import Finding, untried
from federation.check.runner import Check
from federation.check.site import TENANT, Peer, Site
from federation.config import ClusterConfig, NamespaceCreation, PoolConfig, VirtualNode
from federation.join.fluid import fluid_plan
from federation.rights import compute_rights, tenant_rights

__all__ = ["CONFIGURATION", "checklist"]

CONFIGURATION = "kubeconfig"
"""Name of the checks whose failure is one of settings, not of clusters."""
_LONG = 60.0
_MEND_TENANT = "kubectl apply -f deploy/tenant/rbac.yaml"


def checklist(site: Site) -> list[Check]:
    """All checks of a configuration."""
    way = _Way(TENANT, site.tenant)
    checks = [Check("all", "clocks", partial(clocks.clocks, site))]
    checks += [
        Check(peer.name, CONFIGURATION, partial(links.configuration, peer))
        for peer in (site.tenant_admin, *site.compute_admins.values())
        if peer is not None
    ]
    checks += [*way.checks, *_of_tenant(site, way.known)]
    for cluster in site.config.kubernetes_clusters:
        below = _Way(cluster.name, site.computes[cluster.name])
        checks += [*below.checks, *_of_compute(site, cluster, way.known, below.known)]
        for node in site.config.virtual_nodes:
            if node.cluster is cluster:
                pool = cluster.pool_of(node.name)
                checks += [
                    *_of_node(site, node, way.known),
                    _of_pool(site, node, pool, below.known),
                ]
    for account in site.config.eci_clusters:
        checks += [
            Check(account.name, "link", partial(eci.link, account), (), _LONG),
            Check(account.name, "weaker forms", partial(eci.weaker_forms, account)),
        ]
        for node in site.config.virtual_nodes:
            if node.cluster is account:
                checks += _of_node(site, node, way.known)
    return checks


class _Way:
    """The way to one API server: what comes before all else there."""

    def __init__(self, where: str, peer: Peer) -> None:
        opened = Check(where, CONFIGURATION, partial(links.configuration, peer))
        link = Check(where, "link", partial(links.link, peer), (opened,))
        self.known = Check(where, "credential", partial(_credential, peer), (link,))
        self.checks = (opened, link, self.known)


async def _credential(peer: Peer) -> Sequence[Finding]:
    return await links.credential(peer, now=time.time() + peer.client.clock_offset)


def _of_tenant(site: Site, known: Check) -> list[Check]:
    after, peer = (known,), site.tenant

    async def version() -> Sequence[Finding]:
        return versions.judge_tenant(await versions.read_version(site.tenant))

    async def required() -> Sequence[Finding]:
        return await rights.required(peer.client, tenant_rights(site.config), mend=_MEND_TENANT)

    async def excess() -> Sequence[Finding]:
        needed = tenant_rights(site.config)
        here = site.config.tenant.namespaces
        return await rights.excess(peer.client, needed, namespaces=here, mend=_NARROW)

    async def client_ca() -> Sequence[Finding]:
        return await nodes.client_ca(peer.client)

    return [
        Check(TENANT, "version", version, after),
        Check(TENANT, "rights", required, after, _LONG),
        Check(TENANT, "more rights", excess, after, _LONG),
        Check(TENANT, "client CA", client_ca, after),
        Check(TENANT, "tolerations", partial(admission.tolerations, site), after),
        Check(TENANT, "DaemonSets", partial(admission.daemonsets, site), after),
        Check(TENANT, "NetworkPolicies", partial(networks.policies, site), after),
    ]


_NARROW = "take it away from the roles that are bound to the agent's account"


def _of_compute(site: Site, cluster: ClusterConfig, above: Check, known: Check) -> list[Check]:
    where, peer, mapping = cluster.name, site.computes[cluster.name], site.mapping(cluster)

    async def rules() -> namespaces.Rules:
        uid = await cluster_uid(site.tenant.client)
        return namespaces.Rules.of(
            cluster, tenant=site.config.tenant.name, cluster_uid=uid, mend=_join(site, cluster.name)
        )

    async def version() -> Sequence[Finding]:
        return versions.judge_compute(await versions.read_version(peer), cluster)

    async def places() -> Sequence[Finding]:
        judged = await rules()
        findings: list[Finding] = []
        for namespace in await site.namespaces():
            below = mapping.below(namespace)
            if below is None:
                findings.append(untried(f"{namespace} has no namespace in {cluster.name}"))
                continue
            findings += await namespaces.look_at_namespace(peer.client, namespace, below, judged)
        return findings

    async def required() -> Sequence[Finding]:
        needed = compute_rights(site.config, cluster, await site.namespaces())
        return await rights.required(peer.client, needed, mend=_join(site, cluster.name))

    async def excess() -> Sequence[Finding]:
        above = await site.namespaces()
        needed = compute_rights(site.config, cluster, above)
        on_demand = cluster.namespaces.create is NamespaceCreation.ON_DEMAND
        # Where the rights are the whole cluster's they are the same in all namespaces.
        listed = () if on_demand else above
        below = [name for each in listed if (name := mapping.below(each)) is not None]
        return await rights.excess(peer.client, needed, namespaces=below, mend=_NARROW)

    async def others() -> Sequence[Finding]:
        below = [name for each in await site.namespaces() if (name := mapping.below(each))]
        entries = (each.name for each in site.config.kubernetes_clusters if each is not cluster)
        return [
            *await namespaces.other_clusters(peer.client, below, await rules()),
            *await namespaces.other_entries(peer, [site.computes[name] for name in entries]),
        ]

    async def fenced() -> Sequence[Finding]:
        plan, tenant = fluid_plan(cluster), site.config.tenant.name
        below = (mapping.below(each) for each in await site.namespaces())
        first = next((name for name in below if name is not None), None)
        if plan is None or first is None:
            return [untried("no namespace is forwarded")]
        mend = _join(site, cluster.name)
        return await fluid.fence(peer, plan, tenant=tenant, below=first, mend=mend)

    after, both = (known,), (above, known)
    of_fluid = [Check(where, "Fluid", fenced, both)] if cluster.fluid is not None else []
    return [
        *of_fluid,
        Check(where, "version", version, after),
        Check(where, "namespaces", places, both, _LONG),
        Check(where, "rights", required, both, _LONG),
        Check(where, "more rights", excess, both, _LONG),
        Check(where, "tenant name", others, both, _LONG),
        Check(where, "network", partial(networks.network, site, cluster), both),
    ]


def _of_node(site: Site, node: VirtualNode, above: Check) -> list[Check]:
    where = node.name

    async def registered() -> Sequence[Finding]:
        return await nodes.node(site.tenant.client, node.name)

    return [
        Check(where, "node", registered, (above,)),
        Check(where, "kubelet", partial(kubelet.path, site, where), (above,), kubelet.SECONDS),
    ]


def _of_pool(site: Site, node: VirtualNode, pool: PoolConfig, below: Check) -> Check:
    async def room() -> Sequence[Finding]:
        peer = site.computes[node.cluster.name]
        return await capacity.capacity(peer.client, pool, mend=_join(site, node.cluster.name))

    return Check(node.name, "capacity", room, (below,))


def _join(site: Site, cluster: str) -> str:
    named = (each for each in site.config.kubernetes_clusters if each.name == cluster)
    level = " --pod-security=privileged" if any(c.has_privileged_sidecars for c in named) else ""
    return f"vnode join --config {site.file} --cluster {cluster}{level}"
