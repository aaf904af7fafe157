"""What stands under `clusters:` with `kind: eci` - an account's container groups in one region.

In: validated scalars. Out: frozen models. Nothing is read but the configuration: whether the
credentials are there is seen when the agent connects. Limits of the API that can be judged here
are, with their place in the file.
"""

from collections.abc import Iterator, Mapping
from typing import Literal, Self

from pydantic import AnyHttpUrl, Field, model_validator

from federation.backends.eci.translate import limits
from federation.backends.eci.translate.policy import OWN_TAGS, EciFeature
from federation.config.compute import ComputeConfig, ComputeKind, NodePool, pool_misfits
from federation.config.fluid import GroupFluidConfig
from federation.config.values import (
    Duration,
    FilePath,
    LabelKey,
    LabelValue,
    Misfit,
    Quantity,
    Section,
    refuse,
)
from vnode.kube.types import NodeName
from vnode.pods.start_once import StartOnce

_SHORTEST_TOKEN = 600.0
"""Seconds; the API server gives none that live for less."""
_RESERVED_TAGS = ("acs:", "aliyun", "vnode.dev/")


class InstanceTypeConfig(Section):
    """An ECS instance type: what it has, and what it costs."""

    cpu: Quantity
    memory: Quantity
    gpus: int = Field(default=0, ge=0)
    price: float | None = Field(default=None, ge=0)
    """Of an hour, in the account's currency. null: as the service says."""


class SpotConfig(Section):
    """Groups are bought on the spot market, and can be taken back."""

    price_limit: float | None = Field(default=None, gt=0)
    """Highest price of an hour. null: whatever the market asks."""
    protected_hours: Literal[0, 1] = 1
    """Hours before a group can be taken back."""
    fallback: bool = False
    """true: what the spot market does not have is bought at the ordinary price."""


class EciPoolConfig(NodePool):
    """A part of what the account may run: one virtual node in the tenant."""

    limits: Mapping[LabelKey, Quantity] = Field(min_length=1)
    """What the virtual node offers, by resource name: ECI has no nodes to count."""
    types: tuple[str, ...] = ()
    """Instance types of pods without GPUs, the most wanted first. Empty: by vCPU and memory."""
    gpu_types: Mapping[LabelValue, tuple[str, ...]] = Field(default_factory=dict)
    """GPU model -> instance types, the most wanted first."""
    default_gpu_types: tuple[str, ...] = ()
    """Instance types of pods with GPUs that name no model."""
    gpu_resource: LabelKey = "nvidia.com/gpu"
    """Resource by which pods ask for GPUs."""
    gpu_label: LabelKey = "nvidia.com/gpu.product"
    """Node label by which pods ask for a GPU model; the virtual node has it where gpuTypes names
    one model."""
    gpu_driver: str | None = None
    """Version of the GPU driver. null: the service's choice."""
    spot: SpotConfig | None = None
    """null: ordinary groups."""
    image_cache: bool = False
    """true: whatever image cache of the account fits is used."""
    image_snapshot: str | None = None
    """Id of the image cache that all pods use."""
    extra_storage: Quantity = "0"
    """Local storage that a pod may have beyond the 30Gi of every group."""

    @property
    def declared_features(self) -> tuple[str, ...]:
        """Kubelet features of the virtual node: what runs there cannot be resized."""
        return ()

    @model_validator(mode="after")
    def _check(self) -> Self:
        refuse("pool", self._misfits())
        return self

    def _misfits(self) -> Iterator[Misfit]:
        if "pods" not in self.limits:
            yield Misfit(("limits",), 'has no "pods", so no pod would fit; add it, like pods: "50"')
        gpus = bool(self.gpu_types or self.default_gpu_types)
        if self.gpu_resource in self.limits and not gpus:
            yield Misfit(
                ("limits", self.gpu_resource),
                "needs instance types that have GPUs; add gpuTypes or defaultGpuTypes",
            )
        for model, types in self.gpu_types.items():
            if not types:
                yield Misfit(("gpuTypes", model), "has no instance type; name one, or remove it")

    def type_names(self) -> Iterator[tuple[tuple[str | int, ...], str]]:
        """Every instance type that is named, with its place."""
        yield from ((("types", i), name) for i, name in enumerate(self.types))
        for model, names in self.gpu_types.items():
            yield from ((("gpuTypes", model, i), name) for i, name in enumerate(names))
        yield from ((("defaultGpuTypes", i), name) for i, name in enumerate(self.default_gpu_types))


class EciPodPolicyConfig(Section):
    """What tenant pods may ask of an account."""

    fluid: GroupFluidConfig | None = None
    """How claims are brought to pods. null: pods with claims wait."""


class EciClusterConfig(ComputeConfig):
    """Alibaba Cloud ECI by its OpenAPI: one account in one region."""

    kind: Literal[ComputeKind.ECI]
    region: str = Field(pattern=r"^[a-z0-9]+(-[a-z0-9]+)+$")
    """Such as cn-beijing."""
    endpoint: AnyHttpUrl | None = None
    """Address of the API. null: https://eci.<region>.aliyuncs.com."""
    credentials: FilePath
    """Folder with files `accessKeyId` and `accessKeySecret`, and `securityToken` for keys of STS:
    a Secret, mounted. What changes there is taken up without a restart."""
    v_switches: tuple[str, ...] = Field(min_length=1, max_length=limits.ZONES)
    """Ids of the vSwitches that groups lie in, the most wanted first; each is in a zone."""
    random_zones: bool = False
    """true: zones are chosen at random instead of in order."""
    security_group: str = Field(min_length=1)
    """Id of the security group of all groups: it decides who reaches them."""
    resource_group: str | None = None
    """Id of the resource group that groups are billed to."""
    ram_role: str | None = None
    """RAM role whose credentials containers can get. null: none."""
    tags: Mapping[str, str] = Field(default_factory=dict, max_length=limits.TAGS - OWN_TAGS)
    """Further tags of all groups."""
    allow: tuple[EciFeature, ...] = ()
    """What pods may ask for though ECI does it in a weaker form than a node."""
    allow_inline_secrets: bool = False
    """true: values of Secrets become part of the group, where whoever may describe the account's
    groups may read them. false: pods that refer to Secrets are refused."""
    token_ttl: Duration | None = None
    """Life of ServiceAccount tokens, which cannot be renewed there. null: pods that mount one are
    refused (automountServiceAccountToken: false)."""
    registry_logins: FilePath | None = None
    """Docker configuration (a mounted Secret of type kubernetes.io/dockerconfigjson) with logins of
    the platform's, for images to which the pod brings none. Read at the start. null: none."""
    account_share: float = Field(default=1.0, gt=0, le=1)
    """Part of the account's limits on calls that this agent may use."""
    instance_types: Mapping[str, InstanceTypeConfig] = Field(default_factory=dict)
    """What the instance types that pools name have."""
    policy: EciPodPolicyConfig = EciPodPolicyConfig()
    pools: tuple[EciPoolConfig, ...] = Field(min_length=1)

    @property
    def start_once(self) -> StartOnce:
        """Groups start when they are made: there is nothing that could hold them back."""
        return StartOnce.RELAXED

    @property
    def url(self) -> str:
        """Address of the API."""
        return str(self.endpoint or f"https://eci.{self.region}.aliyuncs.com")

    def pool_of(self, node: NodeName) -> EciPoolConfig:
        """The pool of one of its virtual nodes."""
        return next(p for p in self.pools if p.node_name_in(self.cluster_name) == node)

    @model_validator(mode="after")
    def _check(self) -> Self:
        refuse("cluster", self._misfits())
        return self

    def _misfits(self) -> Iterator[Misfit]:
        yield from pool_misfits(self.pools)
        here = self.endpoint is not None and self.endpoint.host in ("127.0.0.1", "localhost")
        if self.endpoint is not None and self.endpoint.scheme != "https" and not here:
            yield Misfit(("endpoint",), "must begin with https://: calls hold secrets")
        if self.token_ttl is not None and self.token_ttl < _SHORTEST_TOKEN:
            yield Misfit(("tokenTTL",), "is too short; API servers give tokens for 10m or longer")
        for key, value in self.tags.items():
            if key.startswith(_RESERVED_TAGS):
                yield Misfit(("tags", key), "begins as reserved tags do; choose another one")
            elif not 0 < len(key) <= limits.TAG_KEY or len(value) > limits.TAG_VALUE:
                yield Misfit(
                    ("tags", key),
                    f"is too long; keys have at most {limits.TAG_KEY} characters, values "
                    f"{limits.TAG_VALUE}",
                )
        for index, pool in enumerate(self.pools):
            yield from self._pool_misfits(("pools", index), pool)

    def _pool_misfits(self, at: tuple[str | int, ...], pool: EciPoolConfig) -> Iterator[Misfit]:
        for place, name in pool.type_names():
            found = self.instance_types.get(name)
            if found is None:
                yield Misfit(
                    (*at, *place),
                    f'"{name}" is not in instanceTypes; add what it has, like '
                    f"{name}: {{cpu: 4, memory: 15Gi, gpus: 1}}",
                )
            elif place[0] != "types" and not found.gpus:
                yield Misfit(
                    (*at, *place), f'"{name}" has no GPUs by instanceTypes; set gpus, or remove it'
                )
