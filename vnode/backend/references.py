"""ConfigMaps and Secrets that pods refer to, as both sides of the seam name them."""

import enum
from typing import NamedTuple


class ReferenceKind(enum.StrEnum):
    """Kinds of objects that pods refer to by name."""

    CONFIG_MAP = "ConfigMap"
    SECRET = "Secret"  # noqa: S105 - a kind, not a password


class Reference(NamedTuple):
    """A ConfigMap or Secret in the pod's own namespace."""

    kind: ReferenceKind
    name: str


SERVICE_VARIABLES = Reference(ReferenceKind.CONFIG_MAP, "service variables")
"""What a kubelet tells containers of the Services around them and of the API server. Every pod
refers to this ConfigMap, which no tenant has: a blank is no part of a name. Its body is made by
`vnode.pods.objects.service_variables`; containers have all its keys as variables, behind all their
own."""
API_SERVER_VARIABLES = Reference(ReferenceKind.CONFIG_MAP, "API server variables")
"""The same for pods with enableServiceLinks false: KUBERNETES_* alone."""


class ObjectRef(NamedTuple):
    """A referenced ConfigMap or Secret together with its tenant namespace."""

    namespace: str
    kind: ReferenceKind
    name: str

    def __str__(self) -> str:
        return f"{self.kind} {self.namespace}/{self.name}"
