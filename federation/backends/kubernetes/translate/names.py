"""Names and ownership marks: what an object of a tenant is called in a compute cluster.

In: tenant names and metadata. Out: compute namespaces and object names, the labels and annotations
that mark an object as ours, and the answer to "is this ours?". Pure; the one place that knows these
rules (DESIGN 4). Every mapping here is injective, so that two tenant objects never meet below.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from hashlib import blake2b

from vnode.backend import API_SERVER_VARIABLES, SERVICE_VARIABLES, Reference, ReferenceKind
from vnode.kube.types import UID, ObjectMeta

LABEL_TENANT = "vnode.dev/tenant"
LABEL_MANAGED_BY = "app.kubernetes.io/managed-by"
MANAGED_BY = "vnode"

ANNOTATION_CLUSTER_UID = "vnode.dev/cluster-uid"
"""UID of the tenant's kube-system namespace."""
ANNOTATION_NAMESPACE = "vnode.dev/namespace"
ANNOTATION_NAME = "vnode.dev/name"
ANNOTATION_UID = "vnode.dev/uid"
ANNOTATION_NODE = "vnode.dev/node"
"""The virtual node that a pod's copy was made for."""
ANNOTATION_DIGEST = "vnode.dev/spec-hash"
"""`PodRequest.digest` of what was last applied as a whole."""
ANNOTATION_GENERATION = "vnode.dev/generation"
"""metadata.generation of the tenant pod that was last applied."""
ANNOTATION_RESOURCES = "vnode.dev/resources-hash"
"""Fingerprints of what the tenant pod and its containers asked for when it was last applied."""
ANNOTATION_IMAGES = "vnode.dev/images-hash"
"""Fingerprints of the containers' images in the tenant when they were last applied."""
ANNOTATION_ENDED = "vnode.dev/ended"
"""On copies that we told to end, as only containers of others were left in them."""
ANNOTATION_EPHEMERAL = "vnode.dev/ephemeral-containers"
"""Names of the ephemeral containers that are the tenant's; others are somebody's below."""
ANNOTATION_APPLIED_KEYS = "vnode.dev/applied-keys"
"""Keys of labels and annotations that we wrote, so that a later change can remove them."""
ANNOTATION_FIELD = "vnode.dev/field-"
"""Begins annotations that answer for fields of the tenant pod which its copy has not (`downward`);
a hash of the field path follows."""
ANNOTATION_SOURCE_VERSION = "vnode.dev/source-version"
"""`uid/resourceVersion` of the tenant object that a ConfigMap or Secret was copied from."""
ANNOTATION_SECRET_VERSION = "vnode.dev/secret-version"  # noqa: S105 - a key, not a password
"""The same, on copies of Secrets that volumes name: no pod refers to them."""
ANNOTATION_CLAIMS = "vnode.dev/claims"
"""On copies of pods: names of the claims that they read through sidecars, separated by commas."""
ANNOTATION_MADE = "vnode.dev/made"
"""On compute namespaces that the agent made: only these it may ever delete."""
MADE_ON_DEMAND = "on-demand"
START_GATE = "vnode.dev/start-once"
"""The schedulingGate of copies that must not start yet (KEP-3521)."""
ANNOTATION_COMPUTE_SCHEDULING = "vnode.dev/compute-scheduling"
"""On tenant pods: what users ask of the scheduler of the compute cluster (JSON)."""

TENANT_NAME_MAX = 20
LABEL_MAX = 63
SUBDOMAIN_MAX = 253

OWN_PREFIX = "vnode-"
"""Begins names that are ours alone."""
_RESERVED: Mapping[ReferenceKind, frozenset[str]] = {
    # Written into every namespace by somebody else in the compute cluster.
    ReferenceKind.CONFIG_MAP: frozenset(
        {
            "kube-root-ca.crt",
            "openshift-service-ca.crt",
            "istio-ca-root-cert",
            "istio-ca-crl",
        }
    ),
    ReferenceKind.SECRET: frozenset(),
}

_FLUIDS = re.compile(r"check-mount|^check-fluid-|^sh\.helm\.release\.|-fuse-conf$")
"""Names of what Fluid makes in the namespaces of its users (fluid, pkg/application/inject/fuse/
poststart, pkg/utils/helm, charts/thin). Its webhook takes a ConfigMap with the name of its script
for its own, and runs it as root in a privileged sidecar; releases say how clients are called."""

_MADE: Mapping[Reference, str] = {
    SERVICE_VARIABLES: f"{OWN_PREFIX}services",
    API_SERVER_VARIABLES: f"{OWN_PREFIX}api-server",
}
"""Names of objects that the tenant does not have."""

_DNS_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")
_CUT = re.compile(r".*-[0-9a-f]{16}")


class NamespaceMode(StrEnum):
    """How tenant namespaces are called in a compute cluster."""

    PREFIX = "prefix"
    """`<tenant>--<namespace>`."""
    SAME = "same"
    """The same name: for clusters that serve one tenant."""
    MAP = "map"
    """By an explicit table."""


def validate_tenant_name(name: str) -> None:
    """Check that a tenant name can stand in namespace names and labels.

    Raises:
        ValueError: it is no DNS label of at most 20 characters, or contains `--`.
    """
    if len(name) > TENANT_NAME_MAX or not _DNS_LABEL.fullmatch(name):
        raise ValueError(
            f"tenant name {name!r} must be 1 to {TENANT_NAME_MAX} characters of a-z, 0-9 and '-', "
            "and begin and end with a letter or digit"
        )
    if "--" in name:
        raise ValueError(
            f"tenant name {name!r} must not contain '--': it separates tenant and namespace"
        )


@dataclass(frozen=True)
class NamespaceMapping:
    """Which compute namespace a tenant namespace has. Different ones never share one.

    Raises:
        ValueError: the tenant name or the table is invalid.
    """

    tenant: str
    mode: NamespaceMode = NamespaceMode.PREFIX
    table: Mapping[str, str] = field(default_factory=dict)
    """Tenant namespace -> compute namespace, for mode `map`."""

    def __post_init__(self) -> None:
        validate_tenant_name(self.tenant)
        taken: dict[str, str] = {}
        for namespace, below in self.table.items():
            if len(below) > LABEL_MAX or not _DNS_LABEL.fullmatch(below):
                raise ValueError(f"namespace {namespace!r} maps to {below!r}: not a DNS label")
            if below in taken:
                raise ValueError(f"namespaces {taken[below]!r} and {namespace!r} map to {below!r}")
            taken[below] = namespace

    def below(self, namespace: str) -> str | None:
        """The compute namespace, or None where there is none.

        None is for namespaces without an entry in mode `map`, and for Kubernetes' own (`kube-...`)
        in mode `same`: a tenant must not reach the compute cluster's.
        """
        if self.mode == NamespaceMode.MAP:
            return self.table.get(namespace)
        if self.mode == NamespaceMode.SAME:
            return None if namespace.startswith("kube-") else namespace
        name = f"{self.tenant}--{namespace}"
        # A name that fills the limit and already ends like a cut one is cut too: otherwise it could
        # equal the cut name of another namespace.
        if len(name) > LABEL_MAX or (len(name) == LABEL_MAX and _CUT.fullmatch(name)):
            digest = blake2b(name.encode(), digest_size=8).hexdigest()
            return f"{name[: LABEL_MAX - 1 - len(digest)]}-{digest}"
        return name


@dataclass(frozen=True)
class Owner:
    """Who we are in a compute cluster: one tenant cluster's agent."""

    tenant: str
    cluster_uid: str
    """UID of the tenant's kube-system namespace."""

    def marks(
        self, *, namespace: str, name: str, uid: UID | str
    ) -> tuple[dict[str, str], dict[str, str]]:
        """Labels and annotations that mark the copy of a tenant object as ours.

        Args:
            namespace: the tenant object's namespace.
            name: the tenant object's name.
            uid: the tenant object's UID.
        """
        labels = {LABEL_TENANT: self.tenant, LABEL_MANAGED_BY: MANAGED_BY}
        annotations = {
            ANNOTATION_CLUSTER_UID: self.cluster_uid,
            ANNOTATION_NAMESPACE: namespace,
            ANNOTATION_NAME: name,
            ANNOTATION_UID: uid,
        }
        return labels, annotations

    def owns(self, metadata: ObjectMeta) -> bool:
        """Whether a compute object is ours: tenant label and cluster UID both match."""
        return (
            metadata.labels.get(LABEL_TENANT) == self.tenant
            and metadata.annotations.get(ANNOTATION_CLUSTER_UID) == self.cluster_uid
        )


def object_name_below(kind: ReferenceKind, name: str) -> str:
    """Name of a ConfigMap's or Secret's copy: its own, unless that is reserved.

    Reserved names, and names that look like ours or Fluid's, get the prefix `vnode-`. So what this
    returns is distinct for distinct names, never a reserved name, and never a `token_secret_name`.
    """
    if (made := _MADE.get(Reference(kind, name))) is not None:
        return made
    taken = name.startswith(OWN_PREFIX) or name in _RESERVED[kind]
    if not taken and _FLUIDS.search(name) is None:
        return name
    renamed = OWN_PREFIX + name
    if len(renamed) <= SUBDOMAIN_MAX:
        return renamed
    return f"{OWN_PREFIX}hash-{blake2b(name.encode(), digest_size=32).hexdigest()}"


def token_secret_name(uid: UID | str) -> str:
    """Name of the Secret that holds the ServiceAccount tokens of a pod's copy.

    Args:
        uid: UID of the tenant pod.
    """
    return f"{OWN_PREFIX}token-{uid}"
