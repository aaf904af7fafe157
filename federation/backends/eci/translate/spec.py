"""What travels of a PodSpec, as structs: each field that the table of `fields` keeps.

In: JSON that has been through the table. Out: typed values that the mapping reads. Nothing here is
ever written back; Secrets are only named. Field meaning: Kubernetes API reference v1.36.
"""

import msgspec
from msgspec import Struct

__all__ = ["Container", "PodSpec", "Volume"]


class _Part(Struct, frozen=True, rename="camel"):
    """camelCase names, as on the wire; absent, null and empty are the same."""


class KeyToPath(_Part, frozen=True):
    """v1.KeyToPath."""

    key: str = ""
    path: str = ""
    mode: int | None = None


class ObjectField(_Part, frozen=True):
    """v1.ObjectFieldSelector."""

    field_path: str = ""
    api_version: str = ""


class ResourceField(_Part, frozen=True):
    """v1.ResourceFieldSelector."""

    resource: str = ""
    container_name: str = ""
    divisor: str | int | float | None = None


class KeyRef(_Part, frozen=True):
    """v1.ConfigMapKeySelector, v1.SecretKeySelector; without a key the object as a whole."""

    name: str = ""
    key: str = ""
    optional: bool = False


class EnvSource(_Part, frozen=True):
    """v1.EnvVarSource."""

    config_map_key_ref: KeyRef | None = None
    secret_key_ref: KeyRef | None = None
    field_ref: ObjectField | None = None
    resource_field_ref: ResourceField | None = None


class EnvVar(_Part, frozen=True):
    """v1.EnvVar."""

    name: str = ""
    value: str = ""
    value_from: EnvSource | None = None


class EnvFrom(_Part, frozen=True):
    """v1.EnvFromSource."""

    prefix: str = ""
    config_map_ref: KeyRef | None = None
    secret_ref: KeyRef | None = None


class Exec(_Part, frozen=True):
    """v1.ExecAction."""

    command: tuple[str, ...] = ()


class Header(_Part, frozen=True):
    """v1.HTTPHeader."""

    name: str = ""
    value: str = ""


class HttpGet(_Part, frozen=True):
    """v1.HTTPGetAction."""

    port: int | str = 0
    path: str = ""
    scheme: str = "HTTP"
    http_headers: tuple[Header, ...] = ()


class TcpSocket(_Part, frozen=True):
    """v1.TCPSocketAction."""

    port: int | str = 0


class Handler(_Part, frozen=True):
    """v1.LifecycleHandler, and what a probe does."""

    exec: Exec | None = None
    http_get: HttpGet | None = None
    tcp_socket: TcpSocket | None = None


class Probe(Handler, frozen=True):
    """v1.Probe."""

    failure_threshold: int | None = None
    initial_delay_seconds: int | None = None
    period_seconds: int | None = None
    success_threshold: int | None = None
    timeout_seconds: int | None = None


class Lifecycle(_Part, frozen=True):
    """v1.Lifecycle."""

    post_start: Handler | None = None
    pre_stop: Handler | None = None


class Capabilities(_Part, frozen=True):
    """v1.Capabilities."""

    add: tuple[str, ...] = ()


class SecurityContext(_Part, frozen=True):
    """v1.SecurityContext, and what a pod says for all its containers."""

    capabilities: Capabilities = Capabilities()
    read_only_root_filesystem: bool | None = None
    run_as_group: int | None = None
    run_as_non_root: bool | None = None
    run_as_user: int | None = None


class Resources(_Part, frozen=True):
    """v1.ResourceRequirements."""

    limits: dict[str, str | int | float] = {}
    requests: dict[str, str | int | float] = {}


class Port(_Part, frozen=True):
    """v1.ContainerPort."""

    container_port: int = 0
    name: str = ""
    protocol: str = "TCP"


class Mount(_Part, frozen=True):
    """v1.VolumeMount."""

    name: str = ""
    mount_path: str = ""
    sub_path: str = ""
    read_only: bool = False


class Container(_Part, frozen=True):
    """v1.Container."""

    name: str = ""
    image: str = ""
    image_pull_policy: str = ""
    command: tuple[str, ...] = ()
    args: tuple[str, ...] = ()
    working_dir: str = ""
    env: tuple[EnvVar, ...] = ()
    env_from: tuple[EnvFrom, ...] = ()
    ports: tuple[Port, ...] = ()
    resources: Resources = Resources()
    volume_mounts: tuple[Mount, ...] = ()
    liveness_probe: Probe | None = None
    readiness_probe: Probe | None = None
    lifecycle: Lifecycle = Lifecycle()
    security_context: SecurityContext = SecurityContext()
    stdin: bool = False
    stdin_once: bool = False
    tty: bool = False
    termination_message_path: str = ""


class DownwardFile(_Part, frozen=True):
    """v1.DownwardAPIVolumeFile."""

    path: str = ""
    mode: int | None = None
    field_ref: ObjectField | None = None
    resource_field_ref: ResourceField | None = None


class TokenSource(_Part, frozen=True):
    """v1.ServiceAccountTokenProjection."""

    path: str = ""
    audience: str = ""
    expiration_seconds: int | None = None


class ObjectSource(_Part, frozen=True):
    """A ConfigMap or Secret as files."""

    name: str = ""
    secret_name: str = ""
    optional: bool = False
    items: tuple[KeyToPath, ...] = ()
    default_mode: int | None = None


class DownwardSource(_Part, frozen=True):
    """v1.DownwardAPIVolumeSource, v1.DownwardAPIProjection."""

    items: tuple[DownwardFile, ...] = ()
    default_mode: int | None = None


class Source(_Part, frozen=True):
    """Where files come from: v1.VolumeProjection, and a volume that has one source."""

    config_map: ObjectSource | None = None
    secret: ObjectSource | None = None
    downward_api: DownwardSource | None = msgspec.field(default=None, name="downwardAPI")
    service_account_token: TokenSource | None = None


class Projected(_Part, frozen=True):
    """v1.ProjectedVolumeSource."""

    sources: tuple[Source, ...] = ()
    default_mode: int | None = None


class EmptyDir(_Part, frozen=True):
    """v1.EmptyDirVolumeSource."""

    medium: str = ""
    size_limit: str | int | float | None = None


class ClaimSource(_Part, frozen=True):
    """v1.PersistentVolumeClaimVolumeSource."""

    claim_name: str = ""
    read_only: bool = False


class Volume(Source, frozen=True):
    """v1.Volume."""

    name: str = ""
    persistent_volume_claim: ClaimSource | None = None
    empty_dir: EmptyDir | None = None
    projected: Projected | None = None


class DnsOption(_Part, frozen=True):
    """v1.PodDNSConfigOption."""

    name: str = ""
    value: str | None = None


class DnsConfig(_Part, frozen=True):
    """v1.PodDNSConfig."""

    nameservers: tuple[str, ...] = ()
    searches: tuple[str, ...] = ()
    options: tuple[DnsOption, ...] = ()


class HostAlias(_Part, frozen=True):
    """v1.HostAlias."""

    ip: str = ""
    hostnames: tuple[str, ...] = ()


class PullSecret(_Part, frozen=True):
    """v1.LocalObjectReference."""

    name: str = ""


class Requirement(_Part, frozen=True):
    """v1.NodeSelectorRequirement."""

    key: str = ""
    operator: str = ""
    values: tuple[str, ...] = ()


class NodeTerm(_Part, frozen=True):
    """v1.NodeSelectorTerm, as far as labels go."""

    match_expressions: tuple[Requirement, ...] = ()


class NodeSelector(_Part, frozen=True):
    """v1.NodeSelector."""

    node_selector_terms: tuple[NodeTerm, ...] = ()


class NodeAffinity(_Part, frozen=True):
    """v1.NodeAffinity, as far as it is read."""

    required: NodeSelector = msgspec.field(
        default=NodeSelector(), name="requiredDuringSchedulingIgnoredDuringExecution"
    )


class Affinity(_Part, frozen=True):
    """v1.Affinity, as far as it is read: by it a pod may ask for a GPU model."""

    node_affinity: NodeAffinity = NodeAffinity()


class PodSpec(_Part, frozen=True):
    """v1.PodSpec."""

    containers: tuple[Container, ...] = ()
    init_containers: tuple[Container, ...] = ()
    volumes: tuple[Volume, ...] = ()
    restart_policy: str = "Always"
    active_deadline_seconds: int | None = None
    termination_grace_period_seconds: int | None = None
    affinity: Affinity = Affinity()
    node_selector: dict[str, str] = {}
    dns_policy: str = "ClusterFirst"
    dns_config: DnsConfig | None = None
    enable_service_links: bool = True
    host_aliases: tuple[HostAlias, ...] = ()
    hostname: str = ""
    hostname_override: str = ""
    image_pull_secrets: tuple[PullSecret, ...] = ()
    resources: Resources = Resources()
    security_context: SecurityContext = SecurityContext()
    service_account_name: str = "default"
    share_process_namespace: bool = False
