"""Kubernetes objects as small immutable structs.

Only the fields that we read are named; everything else stays in `msgspec.Raw` (the original JSON
bytes) or is not decoded at all. Objects are never written back from these structs as a whole, so
fields of newer API versions survive. Field meaning: Kubernetes API reference v1.36.
"""

import base64
from typing import NamedTuple, NewType, Protocol, TypeAlias

import msgspec
from msgspec import Raw, Struct

UID = NewType("UID", str)
"""metadata.uid of an object."""
NodeName = NewType("NodeName", str)
"""Name of a (virtual) Node object in the tenant cluster."""
ClusterName = NewType("ClusterName", str)
"""Name of a compute cluster in our configuration."""

JSON: TypeAlias = "bool | int | float | str | list[JSON] | dict[str, JSON] | None"
"""A decoded JSON value."""
JSONObject: TypeAlias = dict[str, JSON]
"""A decoded JSON object."""


def object_in(value: JSON) -> JSONObject:
    """The value if it is an object, else an empty one."""
    return value if isinstance(value, dict) else {}


def objects_in(value: JSON) -> list[JSONObject]:
    """The objects of a list; nothing if it is none."""
    return [v for v in value if isinstance(v, dict)] if isinstance(value, list) else []


class ObjectKey(NamedTuple):
    """Namespace and name of a namespaced object."""

    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"


class APIObject(Struct, frozen=True, rename="camel", omit_defaults=True, kw_only=True, gc=False):
    """Base of objects of the Kubernetes API and of their parts: camelCase, unset fields absent.

    They are trees, so none is ever garbage by a cycle: the collector does not look at them.
    """


class OwnerReference(APIObject, frozen=True):
    """metav1.OwnerReference."""

    api_version: str = ""
    kind: str = ""
    name: str = ""
    uid: UID = UID("")
    controller: bool = False


class ObjectMeta(APIObject, frozen=True):
    """metav1.ObjectMeta without managedFields. Timestamps stay RFC 3339 text."""

    name: str = ""
    namespace: str = ""
    uid: UID = UID("")
    resource_version: str = ""
    generation: int = 0
    creation_timestamp: str | None = None
    deletion_timestamp: str | None = None
    deletion_grace_period_seconds: int | None = None
    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}
    owner_references: list[OwnerReference] = []
    finalizers: list[str] = []

    @property
    def key(self) -> ObjectKey:
        """Namespace and name."""
        return ObjectKey(self.namespace, self.name)


class HasMetadata(Protocol):
    """Any object."""

    @property
    def metadata(self) -> ObjectMeta:
        """The object's metadata."""
        ...


class PartialObject(APIObject, frozen=True):
    """Any object of which only the metadata is read (meta.k8s.io/v1 PartialObjectMetadata)."""

    metadata: ObjectMeta

    def __repr__(self) -> str:
        # Annotations may hold a Secret's last applied configuration.
        return f"PartialObject({self.metadata.key}, uid={self.metadata.uid})"


class Pod(APIObject, frozen=True):
    """v1.Pod: metadata typed, spec and status as the JSON bytes that the API server sent."""

    metadata: ObjectMeta
    spec: Raw = Raw(b"{}")
    status: Raw = Raw(b"{}")

    def __repr__(self) -> str:
        return f"Pod({self.metadata.key}, uid={self.metadata.uid})"


class ConfigMap(APIObject, frozen=True):
    """v1.ConfigMap."""

    metadata: ObjectMeta
    data: dict[str, str] = {}
    binary_data: dict[str, str] = {}
    immutable: bool | None = None

    def __repr__(self) -> str:
        return f"ConfigMap({self.metadata.key})"


class Secret(APIObject, frozen=True):
    """v1.Secret; its values (base64 text) never appear in a repr."""

    metadata: ObjectMeta
    data: dict[str, str] = {}
    type: str = "Opaque"
    immutable: bool | None = None

    def __repr__(self) -> str:
        return f"Secret({self.metadata.key})"


class ObjectReference(APIObject, frozen=True):
    """v1.ObjectReference."""

    api_version: str = ""
    kind: str = ""
    namespace: str = ""
    name: str = ""
    uid: UID = UID("")
    field_path: str = ""
    """A part of it, such as `spec.containers{main}`."""


class EventSource(APIObject, frozen=True):
    """v1.EventSource."""

    component: str = ""


class Event(APIObject, frozen=True):
    """v1.Event (core)."""

    metadata: ObjectMeta
    involved_object: ObjectReference = ObjectReference()
    reason: str = ""
    message: str = ""
    type: str = "Normal"
    source: EventSource = EventSource()


class StatusCause(APIObject, frozen=True):
    """metav1.StatusCause."""

    reason: str = ""
    message: str = ""
    field: str = ""


class StatusDetails(APIObject, frozen=True):
    """metav1.StatusDetails."""

    name: str = ""
    kind: str = ""
    uid: UID = UID("")
    causes: list[StatusCause] = []
    retry_after_seconds: int = 0


class Status(APIObject, frozen=True):
    """metav1.Status: how the API server words an error."""

    status: str = ""
    message: str = ""
    reason: str = ""
    code: int = 0
    details: StatusDetails | None = None


def encode_base64(text: str) -> str:
    """The base64 text under which a Secret keeps a string."""
    return base64.b64encode(text.encode()).decode()


def encode(value: object) -> bytes:
    """Encode a struct or plain JSON value as JSON bytes."""
    return msgspec.json.encode(value)
