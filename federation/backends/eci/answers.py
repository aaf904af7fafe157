"""What the ECI API answers, as far as it is read. Field names are the service's, in snake case.

Decoded from JSON by msgspec; what is not named here is skipped, what is missing is None or empty.
Times are strings of RFC 3339 in UTC, as they came.
"""

import msgspec

__all__ = [
    "AvailableZone",
    "Condition",
    "ContainerState",
    "ContainerStatus",
    "ErrorAnswer",
    "Event",
    "ExecSession",
    "Group",
    "GroupEvents",
    "GroupStatus",
    "Illegible",
    "PodStatus",
    "Price",
    "SpotPrice",
    "Tag",
]


class _Answer(msgspec.Struct, frozen=True, rename="pascal"):
    """Names in pascal case on the wire."""


class ErrorAnswer(_Answer, frozen=True):
    """The body of an error."""

    code: str = ""
    message: str = ""
    request_id: str = ""


class Tag(_Answer, frozen=True):
    """One tag of a container group."""

    key: str
    value: str = ""


class Waiting(_Answer, frozen=True):
    """Not running yet."""

    reason: str = ""
    message: str = ""


class Running(msgspec.Struct, frozen=True):
    """Running. The SDK's model calls the field StartedAtstartedAt; what is sent is unknown."""

    started_pascal: str = msgspec.field(default="", name="StartedAt")
    started_camel: str = msgspec.field(default="", name="startedAt")
    started_both: str = msgspec.field(default="", name="StartedAtstartedAt")

    @property
    def started_at(self) -> str:
        """Whichever of them came."""
        return self.started_pascal or self.started_camel or self.started_both


class Terminated(_Answer, frozen=True):
    """Ended."""

    exit_code: int = 0
    signal: int | None = None
    reason: str = ""
    message: str = ""
    started_at: str = ""
    finished_at: str = ""
    container_id: str = msgspec.field(default="", name="ContainerID")


class ContainerState(_Answer, frozen=True):
    """One of the three is set."""

    waiting: Waiting | None = None
    running: Running | None = None
    terminated: Terminated | None = None


class ContainerStatus(_Answer, frozen=True):
    """One container."""

    name: str
    image: str = ""
    image_id: str = msgspec.field(default="", name="ImageID")
    ready: bool = False
    started: bool | None = None
    restart_count: int = 0
    state: ContainerState = ContainerState()
    last_state: ContainerState = ContainerState()


class Condition(msgspec.Struct, frozen=True):
    """One condition; the service mixes cases here."""

    type: str = ""
    status: str = ""
    last_transition_time: str = msgspec.field(default="", name="lastTransitionTime")
    reason: str = msgspec.field(default="", name="Reason")
    message: str = msgspec.field(default="", name="Message")


class PodStatus(_Answer, frozen=True):
    """The part that looks like Kubernetes."""

    phase: str = ""
    pod_ip: str = ""
    host_ip: str = ""
    start_time: str = ""
    conditions: tuple[Condition, ...] = ()
    container_statuses: tuple[ContainerStatus, ...] = ()


class GroupStatus(_Answer, frozen=True):
    """One item of DescribeContainerGroupStatus."""

    container_group_id: str
    name: str = ""
    status: str = ""
    pod_status: PodStatus = PodStatus()


class Illegible(GroupStatus, frozen=True):
    """A state of which only the id could be read: the group is there, in the state it had."""


class Group(_Answer, frozen=True):
    """One item of DescribeContainerGroups: who it is and what it costs, not its containers."""

    container_group_id: str
    container_group_name: str = ""
    status: str = ""
    restart_policy: str = ""
    tags: tuple[Tag, ...] = ()
    zone_id: str = ""
    instance_type: str = ""
    cpu: float | None = None
    memory: float | None = None
    spot_strategy: str = ""
    creation_time: str = ""
    succeeded_time: str = ""
    failed_time: str = ""
    expired_time: str = ""


class Event(_Answer, frozen=True):
    """One event of a container group."""

    type: str = ""
    reason: str = ""
    message: str = ""
    count: int = 1
    first_timestamp: str = ""
    last_timestamp: str = ""


class GroupEvents(_Answer, frozen=True):
    """One item of DescribeContainerGroupEvents."""

    container_group_id: str
    events: tuple[Event, ...] = ()


class ExecSession(_Answer, frozen=True):
    """Where a command's streams are; open within 30 s. Both addresses are secrets."""

    web_socket_uri: str = ""
    http_url: str = ""
    sync_response: str = ""

    def __repr__(self) -> str:
        """Nothing of it: whoever knows the addresses is inside the container."""
        return "ExecSession(...)"


class SpotPrice(_Answer, frozen=True):
    """An instance type's price in a zone's spot market, per hour."""

    zone_id: str = ""
    instance_type: str = ""
    spot_price: float = 0.0
    origin_price: float = 0.0


class Price(msgspec.Struct, frozen=True):
    """What a size costs per hour."""

    currency: str
    trade_price: float
    original_price: float
    spot: tuple[SpotPrice, ...] = ()


class AvailableZone(msgspec.Struct, frozen=True):
    """A zone and what it has in stock."""

    zone: str
    stock: dict[str, str]
    """By instance type the service's StatusCategory, such as WithStock."""
