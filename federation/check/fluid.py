"""Is the agent fenced where it makes objects for Fluid, and is Fluid there?

In: a compute cluster with `pvc: fluid`. Out: findings. Tried by creates that the fences have to
refuse, as the agent and for a look only (dry run): a ThinRuntime with an image of its own, a volume
of a node's folder, a privileged pod for any node. Who may make these is root on the nodes.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from federation.check.findings import Finding, ok, one_line, untried, warn, wrong
from federation.check.site import Peer
from federation.claims.objects import PERSISTENT_VOLUMES
from federation.fluid.objects import THIN_RUNTIMES
from federation.join.fluid import FluidPlan
from vnode.kube.client import KubeClient
from vnode.kube.errors import Forbidden, NotFound
from vnode.kube.resources import PODS, Resource
from vnode.kube.types import JSONObject, PartialObject

__all__ = ["fence"]

_NAME = "vnode-0000000000000000"
_POD_SECURITY = "violates PodSecurity"


@dataclass(frozen=True)
class _Probe:
    """An object that the agent has not to make."""

    resource: Resource
    spec: JSONObject
    policy: str
    """By what it has to be refused; empty: nothing is there for that, by what is configured."""
    namespace: str | None = None


async def fence(
    peer: Peer, plan: FluidPlan, *, tenant: str, below: str, mend: str
) -> Sequence[Finding]:
    """Try it in a compute namespace. `mend`: the command that grants what is needed. KubeError."""
    probes = _probes(plan, tenant, below)
    return [await _try(peer.client, probe, tenant=tenant, mend=mend) for probe in probes]


def _probes(plan: FluidPlan, tenant: str, below: str) -> Iterator[_Probe]:
    policy = f"vnode-{tenant}-fluid"
    if plan.makes_datasets:
        yield _Probe(THIN_RUNTIMES, _RUNTIME, policy, below)
    if plan.volumes:
        yield _Probe(PERSISTENT_VOLUMES, _VOLUME, policy)
    yield _Probe(PODS, _POD, "" if plan.reaches_all else f"{policy}-pods", below)


_RUNTIME: JSONObject = {"fuse": {"image": "vnode-check", "imageTag": "0"}}
_VOLUME: JSONObject = {
    "accessModes": ["ReadWriteMany"],
    "capacity": {"storage": "1Gi"},
    "hostPath": {"path": "/vnode-check"},
}
_POD: JSONObject = {
    "automountServiceAccountToken": False,
    "containers": [
        {"name": "check", "image": "vnode-check", "securityContext": {"privileged": True}}
    ],
}


async def _try(client: KubeClient, probe: _Probe, *, tenant: str, mend: str) -> Finding:
    resource, policy = probe.resource, probe.policy
    labels: JSONObject = {"vnode.dev/tenant": tenant, "app.kubernetes.io/managed-by": "vnode"}
    body: JSONObject = {
        "apiVersion": resource.api_version,
        "kind": resource.kind,
        "metadata": {"name": _NAME, "labels": labels},
        "spec": probe.spec,
    }
    try:
        await client.create(resource, body, PartialObject, namespace=probe.namespace, dry_run=True)
    except Forbidden as error:
        if policy and f"'{policy}'" in error.message:
            return ok(f"policy {policy} refuses {resource.plural} that the agent has not to make")
        if _POD_SECURITY in error.message:
            return ok("Pod Security refuses pods that reach for their node")
        return untried(f"{resource.plural}: {one_line(error)}")
    except NotFound as error:
        if error.details is not None and error.details.name == probe.namespace:
            return untried(f"{resource.plural}: {one_line(error)}")
        return wrong(
            f"there is no API {resource.group}/{resource.version} with {resource.plural}",
            "install Fluid there, or set another policy.pvc",
        )
    if not policy:
        return warn(
            "no policy keeps privileged pods off any node: who has the agent's credential can make "
            "them there",
            f"give the pools with pvc: fluid a nodeSelector, then: {mend}",
        )
    return wrong(
        f"policy {policy} is missing or does not act: who has the agent's credential can make any "
        f"{resource.kind}, and so reach the nodes",
        mend,
    )
