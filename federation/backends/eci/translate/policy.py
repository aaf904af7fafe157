"""What a pool of virtual nodes says about its container groups: the settings of a translation.

In: validated configuration. Out: a frozen value that every rule reads, the same for all pods of one
virtual node. Owned by whoever builds the backend. Values that ECI would refuse in every create
raise ValueError here, at start.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from federation.backends.eci.translate import limits
from vnode.kube.types import NodeName

__all__ = ["EciFeature", "EciPolicy", "InstanceType", "RegistryLogin", "Spot"]

OWN_TAGS = 11
"""Tags that identify a group, at most: `identity.tags`."""


class EciFeature(StrEnum):
    """What a pool may allow though ECI does it in a weaker or riskier form than a node."""

    LESS_CONFINEMENT = "lessConfinement"
    """Pods that drop capabilities, forbid privilege escalation, name seccomp, AppArmor or SELinux
    profiles or user namespaces run without that: ECI has no parameter for it. Each group is a
    virtual machine of its own."""
    CAPABILITIES = "capabilities"
    """Adding Linux capabilities."""
    ECI_VARIABLES = "eciVariables"
    """Environment variables by which containers steer ECI itself (`ECI_…`)."""


@dataclass(frozen=True)
class InstanceType:
    """An ECS instance type, with what it has."""

    name: str
    """Such as `ecs.gn6i-c4g1.xlarge`."""
    cpu: float
    memory: float
    """GiB."""
    gpus: int = 0


@dataclass(frozen=True)
class Spot:
    """Groups are bought on the spot market."""

    price_limit: float | None = None
    """Highest price of an hour, in the account's currency; None: whatever the market asks."""
    protected_hours: int = 1
    """0 or 1: hours before a group can be taken back."""
    fallback: bool = False
    """What the spot market does not have is bought at the ordinary price: by the backend, which
    then asks for a group by a policy whose `spot` is None."""


@dataclass(frozen=True)
class RegistryLogin:
    """A login of the platform's for an image registry."""

    server: str
    user: str = field(repr=False)
    password: str = field(repr=False)


@dataclass(frozen=True, kw_only=True)
class EciPolicy:
    """Rules of one pool for one tenant."""

    tenant: str
    cluster_uid: str
    """UID of the tenant's kube-system namespace."""
    node: NodeName
    """The virtual node."""
    region: str
    vswitches: tuple[str, ...] = ()
    """In order; each lies in a zone."""
    random_zones: bool = False
    """Zones are chosen at random instead of in order."""
    security_group: str = ""
    resource_group: str = ""
    ram_role: str = ""
    """Containers can get credentials of this role from ECI's metadata address."""
    tags: Mapping[str, str] = field(default_factory=dict)
    """Further tags of all groups."""
    allow: frozenset[EciFeature] = frozenset()
    allow_inline_secrets: bool = False
    """Values of Secrets may be written into the group: files, variables, registry logins."""
    token_ttl: int | None = None
    """Seconds that a ServiceAccount token in a group lives: it cannot be renewed there. None: pods
    with tokens are refused."""
    gpu_resource: str = "nvidia.com/gpu"
    gpu_label: str = "nvidia.com/gpu.product"
    """Label of virtual nodes that names a GPU model, by which pods ask for one."""
    gpu_types: Mapping[str, tuple[InstanceType, ...]] = field(default_factory=dict)
    """GPU model -> instance types, the most wanted first."""
    default_gpu_types: tuple[InstanceType, ...] = ()
    """For pods with GPUs that name no model."""
    default_types: tuple[InstanceType, ...] = ()
    """For pods without GPUs; empty: by vCPU and memory."""
    gpu_driver: str = ""
    spot: Spot | None = None
    image_cache: bool = False
    """Use whatever image cache of the account fits."""
    image_snapshot: str = ""
    """Use this image cache."""
    registry_logins: tuple[RegistryLogin, ...] = ()
    claims: bool = False
    """Pods may have claims: somebody says what those need."""
    extra_storage: int = 0
    """GiB of local storage that a pod may have beyond the 30 that every group has."""

    def __post_init__(self) -> None:
        """Check what would be refused in every create."""
        if len(self.vswitches) > limits.ZONES:
            raise ValueError(f"at most {limits.ZONES} vSwitches")
        if len(self.tags) > limits.TAGS - OWN_TAGS:
            raise ValueError(f"at most {limits.TAGS - OWN_TAGS} tags: others are needed by us")
        for key, value in self.tags.items():
            if not 0 < len(key) <= limits.TAG_KEY or len(value) > limits.TAG_VALUE:
                raise ValueError(f"tag {key!r}: too long, or no key")
            if key.startswith(("acs:", "aliyun", "vnode.dev/")):
                raise ValueError(f"tag {key!r}: this beginning is reserved")
