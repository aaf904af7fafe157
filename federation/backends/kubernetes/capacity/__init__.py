"""What a virtual node of a compute cluster publishes: the capacity sources.

`StaticCapacity` and `QuotaCapacity` bound what a tenant may use, `NodesCapacity` counts what there
is, `MinimumCapacity` joins them, `NoBlackHole` closes a node for what it cannot deliver, and
`SharedQuota` lets several nodes share one quota. All satisfy `vnode.backend.CapacitySource` and do
no I/O: reflectors of the backend fill their stores.
"""

from federation.backends.kubernetes.capacity.black_hole import NoBlackHole
from federation.backends.kubernetes.capacity.minimum import MinimumCapacity
from federation.backends.kubernetes.capacity.nodes import NodesCapacity
from federation.backends.kubernetes.capacity.pool import Pool, Toleration
from federation.backends.kubernetes.capacity.quota import QuotaCapacity, ResourceQuota
from federation.backends.kubernetes.capacity.requests import RequestingPod, pod_requests
from federation.backends.kubernetes.capacity.shared_quota import SharedQuota
from federation.backends.static_capacity import StaticCapacity

__all__ = [
    "MinimumCapacity",
    "NoBlackHole",
    "NodesCapacity",
    "Pool",
    "QuotaCapacity",
    "RequestingPod",
    "ResourceQuota",
    "SharedQuota",
    "StaticCapacity",
    "Toleration",
    "pod_requests",
]
