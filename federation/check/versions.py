"""Is an API server new enough for what the configuration asks of it?

In: gitVersion. Out: findings. What we use decides, not what is maintained: strict validation of
fields (KEP-2885: before 1.25 what a cluster does not know is dropped in silence, and a pod runs
without it), schedulingGates (KEP-3521, on since 1.27), SelfSubjectReview (KEP-3325, 1.28),
admission policies (validating 1.30, mutating 1.36), in-place resize by subresource (KEP-1287, on
since 1.33). End-to-end tests run on 1.36 alone.
"""

from collections.abc import Sequence

from federation.backends.kubernetes.server_version import START_GATES_SINCE, parse_version
from federation.check.findings import Finding, ok, warn, wrong
from federation.check.site import Peer
from federation.config import ClusterConfig, NamespaceCreation
from vnode.kube.decode import decode
from vnode.kube.types import APIObject
from vnode.pods.start_once import StartOnce

__all__ = ["MINIMUM", "judge_compute", "judge_tenant", "read_version"]


MINIMUM = (1, 28)
"""Of both sides."""
_POLICIES_ABOVE = (1, 36)
_FENCE = (1, 30)
_RESIZE = (1, 33)


class _Info(APIObject, frozen=True):
    git_version: str = ""


async def read_version(peer: Peer) -> str:
    """The gitVersion of an API server. Raises KubeError."""
    return decode(await peer.client.request("GET", "/version"), _Info).git_version


def judge_tenant(text: str) -> Sequence[Finding]:
    """What a version of the tenant's API server means."""
    version = parse_version(text)
    if version is None or version < MINIMUM:
        return [_too_old(text)]
    findings = [ok(text)]
    if version < _POLICIES_ABOVE:
        findings.append(
            warn(
                f"{text} has no MutatingAdmissionPolicies: pods have to carry the toleration "
                "vnode.dev/provider themselves, and tolerate not-ready nodes for ever",
                f"{_upgrade(_POLICIES_ABOVE)}, or write these tolerations into pod templates",
            )
        )
    return findings


def judge_compute(text: str, cluster: ClusterConfig) -> Sequence[Finding]:
    """What a version of a compute cluster's API server means for its configuration."""
    version = parse_version(text)
    if version is None or version < MINIMUM:
        strict = cluster.start_once is StartOnce.STRICT and (version or (0, 0)) < START_GATES_SINCE
        gates = f"; startOnce: strict needs {_dotted(START_GATES_SINCE)}" if strict else ""
        return [_too_old(text, more=gates)]
    findings = [ok(text)]
    if cluster.namespaces.create is NamespaceCreation.ON_DEMAND and version < _FENCE:
        findings.append(
            wrong(
                f"{text} has no ValidatingAdmissionPolicies: nothing fences an agent that makes "
                "its namespaces",
                f"{_upgrade(_FENCE)}, or set namespaces.create: Never",
            )
        )
    if cluster.fluid is not None and version < _FENCE:
        findings.append(
            wrong(
                f"{text} has no ValidatingAdmissionPolicies: nothing fences an agent that makes "
                "volumes and sidecars for Fluid",
                f"{_upgrade(_FENCE)}, or set another policy.pvc",
            )
        )
    if version < _RESIZE:
        findings.append(
            warn(
                f"{text} resizes no pods in place: that is refused",
                _upgrade(_RESIZE),
            )
        )
    return findings


def _too_old(text: str, *, more: str = "") -> Finding:
    return wrong(
        f"{text or 'an unknown version'} is older than {_dotted(MINIMUM)}, or no Kubernetes: what "
        f"it does not know of a pod would be left out in silence, or refused{more}",
        f"{_upgrade(MINIMUM)} or newer",
    )


def _dotted(version: tuple[int, int]) -> str:
    return ".".join(map(str, version))


def _upgrade(version: tuple[int, int]) -> str:
    return f"upgrade its control plane to {_dotted(version)}"
