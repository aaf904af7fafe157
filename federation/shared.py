"""What all compute clusters of one replica share. Built once, in `federation.agent`."""

import random
from dataclasses import dataclass

from federation.config import AgentConfig
from federation.telemetry import FederationMetrics
from federation.tenant import Tenant
from vnode.kubelet.access.authenticator import Authenticator
from vnode.kubelet.metrics import KubeletMetrics
from vnode.kubelet.passing import PassedConnections
from vnode.kubelet.sessions import Sessions
from vnode.runtime.clock import Clock

__all__ = ["Shared"]


@dataclass(frozen=True, slots=True)
class Shared:
    """What all clusters of one replica share."""

    config: AgentConfig
    tenant: Tenant
    address: str
    """Where the tenant's API server reaches the kubelet APIs."""
    own_address: str
    """Where other replicas reach this one, if connections come to any of them; else empty."""
    authenticator: Authenticator
    sessions: Sessions
    kubelet_metrics: KubeletMetrics
    passed: PassedConnections
    metrics: FederationMetrics
    clock: Clock
    rng: random.Random
