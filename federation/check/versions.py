"""Is an API server new enough for what the configuration asks of it?

In: gitVersion. Out: findings. What we use decides, not what is maintained: strict validation of
fields (KEP-2885: before 1.25 what a cluster does not know is dropped in silence, and a pod runs
without it), schedulingGates (KEP-3521, on since 1.27), SelfSubjectReview (KEP-3325, 1.28),
admission policies (validating 1.30, mutating 1.36), in-place resize by subresource (KEP-1287, on
since 1.33). End-to-end tests run on 1.36 alone.
"""

import re
from collections.abc import Sequence
from typing import NamedTuple

from federation.check.findings import Finding, ok, warn, wrong
from federation.check.site import Peer
from federation.config import ClusterConfig, NamespaceCreation
from vnode.kube.decode import decode
from vnode.kube.types import APIObject

__all__ = ["MINIMUM", "Version", "judge_compute", "judge_tenant", "read_version"]

_UPGRADE = "upgrade its control plane"


class Version(NamedTuple):
    """Major and minor version of Kubernetes."""

    major: int
    minor: int

    @classmethod
    def parse(cls, text: str) -> "Version | None":
        """Of a gitVersion such as v1.36.3-gke.100; None: it is none."""
        found = re.match(r"v(\d+)\.(\d+)", text)
        return cls(int(found[1]), int(found[2])) if found else None

    def __str__(self) -> str:
        return f"{self.major}.{self.minor}"


MINIMUM = Version(1, 28)
"""Of both sides."""
_POLICIES_ABOVE = Version(1, 36)
_FENCE = Version(1, 30)
_RESIZE = Version(1, 33)


class _Info(APIObject, frozen=True):
    git_version: str = ""


async def read_version(peer: Peer) -> str:
    """The gitVersion of an API server. Raises KubeError."""
    return decode(await peer.client.request("GET", "/version"), _Info).git_version


def judge_tenant(text: str) -> Sequence[Finding]:
    """What a version of the tenant's API server means."""
    version = Version.parse(text)
    if version is None or version < MINIMUM:
        return [_too_old(text)]
    findings = [ok(text)]
    if version < _POLICIES_ABOVE:
        findings.append(
            warn(
                f"{text} has no MutatingAdmissionPolicies: pods have to carry the toleration "
                "vnode.dev/provider themselves, and tolerate not-ready nodes for ever",
                f"{_UPGRADE} to {_POLICIES_ABOVE}, or write these tolerations into pod templates",
            )
        )
    return findings


def judge_compute(text: str, cluster: ClusterConfig) -> Sequence[Finding]:
    """What a version of a compute cluster's API server means for its configuration."""
    version = Version.parse(text)
    if version is None or version < MINIMUM:
        return [_too_old(text)]
    findings = [ok(text)]
    if cluster.namespaces.create is NamespaceCreation.ON_DEMAND and version < _FENCE:
        findings.append(
            wrong(
                f"{text} has no ValidatingAdmissionPolicies: nothing fences an agent that makes "
                "its namespaces",
                f"{_UPGRADE} to {_FENCE}, or set namespaces.create: Never",
            )
        )
    if version < _RESIZE:
        findings.append(
            warn(f"{text} resizes no pods in place: that is refused", f"{_UPGRADE} to {_RESIZE}")
        )
    return findings


def _too_old(text: str) -> Finding:
    return wrong(
        f"{text or 'an unknown version'} is older than {MINIMUM}, or no Kubernetes at all: what it "
        "does not know of a pod would be left out in silence, or refused",
        f"{_UPGRADE} to {MINIMUM} or newer",
    )
