"""Is the agent fenced where it makes objects for Fluid, and is Fluid there?

In: a compute cluster with `pvc: fluid`. Out: findings. Tried by creates that the fence has to
refuse, as the agent and for a look only (dry run): a ThinRuntime with an image of its own, a volume
of a node's folder. Who may make these is root on the nodes.
"""

from collections.abc import Sequence

from federation.backends.kubernetes.translate.policy import FluidDialect
from federation.check.findings import Finding, ok, one_line, untried, wrong
from federation.check.site import Peer
from federation.claims.objects import PERSISTENT_VOLUMES
from federation.config import FluidConfig
from federation.fluid.objects import THIN_RUNTIMES
from vnode.kube.client import KubeClient
from vnode.kube.errors import ApiError, Forbidden
from vnode.kube.resources import Resource
from vnode.kube.types import JSONObject, PartialObject

__all__ = ["fence"]

_NOT_FOUND = 404
_NAME = "vnode-0000000000000000"


async def fence(
    peer: Peer, fluid: FluidConfig, *, tenant: str, below: str, mend: str
) -> Sequence[Finding]:
    """Try it in a compute namespace. `mend`: the command that grants what is needed. KubeError."""
    policy = f"vnode-{tenant}-fluid"
    probes: list[tuple[Resource, JSONObject, str | None]] = []
    if fluid.dialect is FluidDialect.FLUID:
        probes.append((THIN_RUNTIMES, {"fuse": {"image": "vnode-check", "imageTag": "0"}}, below))
    if fluid.volumes:
        probes.append((PERSISTENT_VOLUMES, _VOLUME, None))
    findings = [
        await _try(peer.client, *probe, tenant=tenant, policy=policy, mend=mend) for probe in probes
    ]
    return findings or [ok("the agent makes no objects for Fluid")]


_VOLUME: JSONObject = {
    "accessModes": ["ReadWriteMany"],
    "capacity": {"storage": "1Gi"},
    "hostPath": {"path": "/vnode-check"},
}


async def _try(
    client: KubeClient,
    resource: Resource,
    spec: JSONObject,
    namespace: str | None,
    *,
    tenant: str,
    policy: str,
    mend: str,
) -> Finding:
    labels: JSONObject = {"vnode.dev/tenant": tenant, "app.kubernetes.io/managed-by": "vnode"}
    body: JSONObject = {
        "apiVersion": resource.api_version,
        "kind": resource.kind,
        "metadata": {"name": _NAME, "labels": labels},
        "spec": spec,
    }
    try:
        await client.create(resource, body, PartialObject, namespace=namespace, dry_run=True)
    except Forbidden as error:
        if policy in error.message:
            return ok(f"policy {policy} refuses {resource.plural} that the agent has not to make")
        return untried(f"{resource.plural}: {one_line(error)}")
    except ApiError as error:
        if error.code != _NOT_FOUND:
            raise
        return wrong(
            f"there is no API {resource.group}/{resource.version} with {resource.plural}",
            "install Fluid there, or set another policy.pvc",
        )
    return wrong(
        f"policy {policy} is missing or does not act: who has the agent's credential can make any "
        f"{resource.kind}, and so reach the nodes",
        mend,
    )
