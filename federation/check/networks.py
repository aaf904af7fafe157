"""Do addresses mean what the configuration says they mean?

In: the ranges of pods and Services that both sides name (node.spec.podCIDRs, and ServiceCIDRs of
KEP-1880, Kubernetes 1.33), and the configuration. Out: overlaps. In flat networks an overlap sends
traffic to strangers; pods of isolated ones show addresses of `podAddresses`, which must lead
nowhere. Who may not list nodes below is told what could not be compared.
"""
# ruff: noqa: RUF012 - msgspec copies these defaults for every object

import ipaddress
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from msgspec import field

from federation.check.findings import Finding, not_allowed, ok, refused, shortened, warn, wrong
from federation.check.site import Site
from federation.config import ClusterConfig, NetworkMode
from vnode.kube.client import KubeClient
from vnode.kube.errors import ApiError, Forbidden, KubeError, NotFound
from vnode.kube.listing import Selection, list_pages
from vnode.kube.resources import NODES, Resource
from vnode.kube.types import APIObject, ObjectMeta, PartialObject

__all__ = ["Ranges", "judge_flat", "judge_unroutable", "network", "policies"]

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

SERVICE_CIDRS = Resource("networking.k8s.io", "v1", "servicecidrs", "ServiceCIDR", namespaced=False)
NETWORK_POLICIES = Resource("networking.k8s.io", "v1", "networkpolicies", "NetworkPolicy")


class _NodeSpec(APIObject, frozen=True):
    pod_cidr: str = field(name="podCIDR", default="")
    pod_cidrs: list[str] = field(name="podCIDRs", default_factory=list)


class _Node(APIObject, frozen=True):
    metadata: ObjectMeta
    spec: _NodeSpec = _NodeSpec()


class _ServiceSpec(APIObject, frozen=True):
    cidrs: list[str] = []


class _ServiceCIDR(APIObject, frozen=True):
    spec: _ServiceSpec = _ServiceSpec()


@dataclass(frozen=True, slots=True)
class Ranges:
    """Addresses that one cluster uses."""

    pods: frozenset[Network] = frozenset()
    services: frozenset[Network] = frozenset()
    why_unknown: str = ""
    """Why pods' ranges are not known; empty: they are, or no node has any."""

    @property
    def all(self) -> frozenset[Network]:
        """Pods and Services."""
        return self.pods | self.services


async def network(site: Site, cluster: ClusterConfig) -> Sequence[Finding]:
    """Compare the ranges of the tenant with those of a compute cluster. Raises KubeError."""
    above = await _ranges(site.tenant_viewer.client)
    if cluster.network is NetworkMode.ISOLATED:
        return [judge_unroutable(site.config.pod_addresses, above)]
    below = await _ranges(site.compute_viewer(cluster).client)
    place = f"clusters: {{name: {cluster.name}, network: isolated}}"
    return judge_flat(above, below, mend=f"set in {site.file}: {place}; or renumber one cluster")


def judge_flat(above: Ranges, below: Ranges, *, mend: str) -> Sequence[Finding]:
    """With a flat network no address may mean two things."""
    pairs = [
        f"{one} and {other}"
        for one in sorted(above.all, key=str)
        for other in sorted(below.all, key=str)
        if one.version == other.version and one.overlaps(other)
    ]
    if pairs:
        text = "network flat, but ranges of tenant and compute cluster overlap: "
        return [wrong(f"{text}{shortened(pairs)}; traffic would reach strangers", mend)]
    for side, ranges in (("the tenant", above), ("the compute cluster", below)):
        if ranges.why_unknown == "forbidden":
            option = "--kubeconfig" if ranges is above else "--compute-kubeconfig NAME="
            return [not_allowed(f"list nodes of {side}, to compare pod ranges", option)]
        if not ranges.pods:
            text = f"network flat, and the nodes of {side} name no podCIDRs: nothing was compared"
            return [warn(text, "compare the ranges in your network plug-in's settings")]
    return [ok(f"flat; {len(above.all)} and {len(below.all)} ranges, none overlaps")]


def judge_unroutable(shown: ipaddress.IPv4Network, above: Ranges) -> Finding:
    """What tenants see of isolated pods must be nobody's address."""
    hit = [str(n) for n in above.all if n.version == 4 and n.overlaps(shown)]
    if hit:
        text = f"podAddresses {shown} overlaps {shortened(sorted(hit))} of the tenant"
        return wrong(
            f"{text}; traffic would reach strangers", "set podAddresses to an unused range"
        )
    return ok(f"isolated; tenants see addresses of {shown}, which no node of theirs has")


async def policies(site: Site) -> Sequence[Finding]:
    """Has the tenant NetworkPolicies that are not enforced below? Raises KubeError."""
    client = site.tenant_viewer.client
    found: list[str] = []
    try:
        for namespace in await site.namespaces():
            selection = Selection(NETWORK_POLICIES, namespace, metadata_only=True)
            pages = list_pages(client, selection, PartialObject)
            found += [str(e.metadata.key) async for page in pages for e in page.items or ()]
    except KubeError as error:
        return [refused(error, right="list networkpolicies", option="--kubeconfig")]
    if not found:
        return [ok("none of the tenant's, which would not be enforced below")]
    text = f"NetworkPolicies of the tenant are not enforced below: {shortened(found)}"
    return [warn(text, "write them for the compute namespaces too")]


async def _ranges(client: KubeClient) -> Ranges:
    pods: list[str] = []
    unknown = ""
    try:
        async for page in list_pages(client, Selection(NODES), _Node):
            for each in page.items or ():
                pods += each.spec.pod_cidrs or filter(None, [each.spec.pod_cidr])
    except Forbidden:
        unknown = "forbidden"
    services: list[str] = []
    try:
        listed = list_pages(client, Selection(SERVICE_CIDRS), _ServiceCIDR)
        services += [c async for p in listed for each in p.items or () for c in each.spec.cidrs]
    except (Forbidden, NotFound):
        pass
    except ApiError as error:
        if error.code != 404:
            raise
    return Ranges(_parsed(pods), _parsed(services), unknown)


def _parsed(texts: Iterable[str]) -> frozenset[Network]:
    found: set[Network] = set()
    for text in texts:
        try:
            found.add(ipaddress.ip_network(text, strict=False))
        except ValueError:
            continue
    return frozenset(found)
