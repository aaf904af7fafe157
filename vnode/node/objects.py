"""v1.Node as far as we read it: of our own virtual nodes and of the nodes of compute clusters.

Decoded from API answers and never written back as a whole (`vnode.node.status` makes patches), so
fields of newer API versions survive.
"""
# ruff: noqa: RUF012 - msgspec copies these defaults for every object

from msgspec import field

from vnode.kube.types import UID, APIObject, ObjectMeta


class Taint(APIObject, frozen=True):
    """v1.Taint."""

    key: str = ""
    value: str = ""
    effect: str = ""


class NodeSpec(APIObject, frozen=True):
    """v1.NodeSpec."""

    provider_id: str = field(name="providerID", default="")
    unschedulable: bool = False
    taints: list[Taint] = []


class NodeCondition(APIObject, frozen=True):
    """v1.NodeCondition; the time is RFC 3339 text."""

    type: str = ""
    status: str = ""
    reason: str = ""
    message: str = ""
    last_transition_time: str | None = None


class NodeAddress(APIObject, frozen=True):
    """v1.NodeAddress."""

    type: str = ""
    address: str = ""


class DaemonEndpoint(APIObject, frozen=True):
    """v1.DaemonEndpoint; its field really is spelled `Port`."""

    port: int = field(name="Port", default=0)


class DaemonEndpoints(APIObject, frozen=True):
    """v1.NodeDaemonEndpoints."""

    kubelet_endpoint: DaemonEndpoint = DaemonEndpoint()


class NodeSystemInfo(APIObject, frozen=True):
    """v1.NodeSystemInfo; the API requires every one of these fields."""

    machine_id: str = field(name="machineID", default="")
    system_uuid: str = field(name="systemUUID", default="")
    boot_id: str = field(name="bootID", default="")
    kernel_version: str = ""
    os_image: str = ""
    container_runtime_version: str = ""
    kubelet_version: str = ""
    operating_system: str = ""
    architecture: str = ""


class NodeStatus(APIObject, frozen=True):
    """v1.NodeStatus."""

    capacity: dict[str, str] = {}
    allocatable: dict[str, str] = {}
    conditions: list[NodeCondition] = []
    addresses: list[NodeAddress] = []
    daemon_endpoints: DaemonEndpoints = DaemonEndpoints()
    node_info: NodeSystemInfo = NodeSystemInfo()
    declared_features: list[str] = []


class Node(APIObject, frozen=True):
    """v1.Node."""

    metadata: ObjectMeta
    spec: NodeSpec = NodeSpec()
    status: NodeStatus = NodeStatus()

    @property
    def uid(self) -> UID:
        """metadata.uid."""
        return self.metadata.uid

    def __repr__(self) -> str:
        return f"Node({self.metadata.name}, uid={self.metadata.uid})"
