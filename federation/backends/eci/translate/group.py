"""Tenant pod to container group: the nested parameters of CreateContainerGroup.

    PodRequest --features.supported--> PodSpec --purchase--> what is bought
    bodies, tokens --contents--> env, volumes, registries --> literals in the group

In: a `PodRequest`, the ConfigMaps, Secrets and tokens that it refers to, and the pool's policy.
Out: parameters for `EciApi.create`, to be sent with the tenant pod's UID as token. Pure and
deterministic: the same request gives the same parameters, which a repeated create must have. The
result holds Secrets where the policy allows them: it belongs in no log and no error.
"""

from collections.abc import Mapping

from federation.backends.eci.parameters import Parameter, Parameters
from federation.backends.eci.translate import env, limits, registries
from federation.backends.eci.translate.claims import Brought, require_possible, sidecars
from federation.backends.eci.translate.contents import Contents
from federation.backends.eci.translate.env import Environment
from federation.backends.eci.translate.features import supported
from federation.backends.eci.translate.fields import NOT_SUPPORTED
from federation.backends.eci.translate.identity import group_name, tags
from federation.backends.eci.translate.policy import EciPolicy
from federation.backends.eci.translate.probes import hooks, probes
from federation.backends.eci.translate.purchase import (
    Purchase,
    asked_by,
    purchase,
    upper_bounds,
)
from federation.backends.eci.translate.spec import Container, Mount, PodSpec, Volume
from federation.backends.eci.translate.volumes import volume
from federation.backends.eci.translate.words import split
from federation.backends.translation.rules import inside, rejected
from vnode.backend import ObjectRef, PodRequest, Token, TokenKey, Waiting
from vnode.kube.types import ConfigMap, Secret

__all__ = ["container_group"]


def container_group(
    request: PodRequest,
    *,
    bodies: Mapping[ObjectRef, ConfigMap | Secret],
    tokens: Mapping[TokenKey, Token],
    policy: EciPolicy,
    claims: Mapping[str, Brought] | None = None,
) -> Parameters:
    """The container group of a tenant pod.

    Args:
        request: the pod.
        bodies: what `vnode.pods.objects.references` finds in it, service variables included.
        tokens: those of `token_requests`, by the keys it gives, however long they live.
        policy: of the virtual node's pool.
        claims: what its claims need, by the names of its volumes.

    Raises:
        Rejected: the pod can never run here as it is; names the field.
        Waiting: something that it refers to is not there, or a volume cannot be had.
    """
    metadata = request.pod.metadata
    spec = supported(request.pod, policy)
    claims = claims or {}
    beside = [one.resources for one in claims.values() if one.resources is not None]
    bought = purchase(spec, policy, beside=beside)
    contents = Contents(metadata.namespace, bodies, tokens)
    require_possible(spec, claims, pod=request.pod)
    at = Environment(request, spec, contents, policy, bought.least, claims)
    volumes = [
        part
        for index, one in enumerate(spec.volumes)
        for part in _volumes(one, f"spec.volumes[{index}]", at)
    ]
    images = [found.image for found in claims.values() if found.image]
    logins = registries.logins(spec, contents, own=policy.registry_logins, more=images)
    return {
        "ContainerGroupName": group_name(
            tenant=policy.tenant, namespace=metadata.namespace, name=metadata.name
        ),
        "Tag": [{"Key": key, "Value": value} for key, value in tags(request, policy).items()],
        **_place(policy),
        **_bought(bought, policy),
        **_spot(policy),
        "RestartPolicy": spec.restart_policy,
        "ActiveDeadlineSeconds": spec.active_deadline_seconds,
        "TerminationGracePeriodSeconds": spec.termination_grace_period_seconds,
        "ShareProcessNamespace": spec.share_process_namespace or None,
        "HostName": _host(spec, metadata.name),
        **_names(spec),
        "ImageRegistryCredential": registries.parameters(logins),
        "AutoMatchImageCache": policy.image_cache or None,
        "ImageSnapshotId": policy.image_snapshot or None,
        "Volume": volumes,
        "InitContainer": [
            _container(one, f"spec.initContainers[{i}]", at)
            for i, one in enumerate(spec.init_containers)
        ],
        "Container": [
            *(
                {
                    **_container(one, f"spec.containers[{i}]", at),
                    **_of_running(one, f"spec.containers[{i}]", at),
                }
                for i, one in enumerate(spec.containers)
            ),
            *sidecars(claims),
        ],
    }


def _volumes(one: Volume, where: str, at: Environment) -> tuple[Parameters, ...]:
    if one.persistent_volume_claim is None:
        return (volume(one, where, at),)
    found = at.claims.get(one.name)
    if found is None and not _is_mounted(one, at.spec):
        return ()
    if found is None:
        text = f"{where}: how the files of this claim come here is not known"
        raise Waiting(text, reason=NOT_SUPPORTED, not_done=True)
    return found.volumes


def _is_mounted(one: Volume, spec: PodSpec) -> bool:
    containers = (*spec.containers, *spec.init_containers)
    return any(mount.name == one.name for each in containers for mount in each.volume_mounts)


def _place(policy: EciPolicy) -> Parameters:
    several = len(policy.vswitches) > 1
    order = "VSwitchRandom" if policy.random_zones else "VSwitchOrdered"
    return {
        "VSwitchId": ",".join(policy.vswitches) or None,
        "ScheduleStrategy": order if several else None,
        "SecurityGroupId": policy.security_group or None,
        "ResourceGroupId": policy.resource_group or None,
        "RamRoleName": policy.ram_role or None,
    }


def _bought(bought: Purchase, policy: EciPolicy) -> Parameters:
    size = bought.size
    gpus = any(one.gpus for one in bought.types)
    return {
        "Cpu": size.cpu if size is not None else None,
        "Memory": size.memory if size is not None else None,
        "InstanceType": ",".join(one.name for one in bought.types) or None,
        "GpuDriverVersion": (policy.gpu_driver or None) if gpus else None,
        "EphemeralStorage": bought.storage or None,
    }


def _spot(policy: EciPolicy) -> Parameters:
    spot = policy.spot
    if spot is None:
        return {}
    limited = spot.price_limit is not None
    return {
        "SpotStrategy": "SpotWithPriceLimit" if limited else "SpotAsPriceGo",
        "SpotPriceLimit": spot.price_limit,
        "SpotDuration": spot.protected_hours,
    }


def _host(spec: PodSpec, name: str) -> str:
    host = spec.hostname_override or spec.hostname or name
    return host[: limits.HOST_NAME].rstrip("-.")


def _names(spec: PodSpec) -> Parameters:
    """DNS and other names. There is no cluster DNS: ClusterFirst is the VPC's resolver."""
    config = spec.dns_config
    alone = spec.dns_policy == "None" or (config is not None and bool(config.nameservers))
    dns: Parameters = {}
    if config is not None:
        dns = {
            "NameServer": config.nameservers,
            "Search": config.searches,
            "Option": [{"Name": one.name, "Value": one.value or ""} for one in config.options],
        }
    return {
        "HostAliase": [{"Ip": one.ip, "Hostname": one.hostnames} for one in spec.host_aliases],
        "DnsPolicy": "None" if alone else "Default",
        "DnsConfig": dns,
    }


def _container(container: Container, where: str, at: Environment) -> dict[str, Parameter]:
    """What containers and init containers have in common."""
    variables = env.environment(container, where, at)
    with rejected(where):
        with inside(".command"):
            command = [env.expanded(word, variables) for word in container.command]
        with inside(".args"):
            args = [env.expanded(word, variables) for word in container.args]
        command, args = split(command, args)
    own, whole = container.security_context, at.spec.security_context
    asked = asked_by(container, at.policy, where=where)
    return {
        "Name": container.name,
        "Image": container.image,
        "ImagePullPolicy": container.image_pull_policy or None,
        "Command": command,
        "Arg": args,
        "WorkingDir": container.working_dir or None,
        **upper_bounds(container.resources, f"{where}.resources"),
        "Gpu": asked.gpus or None,
        "EnvironmentVar": env.parameters(variables),
        "Port": [{"Port": one.container_port, "Protocol": one.protocol} for one in container.ports],
        "VolumeMount": [_mount(one, at) for one in container.volume_mounts],
        "SecurityContext": {
            "Capability": {"Add": own.capabilities.add},
            "ReadOnlyRootFilesystem": own.read_only_root_filesystem or None,
            "RunAsUser": whole.run_as_user if own.run_as_user is None else own.run_as_user,
        },
        "TerminationMessagePath": container.termination_message_path or None,
    }


def _mount(one: Mount, at: Environment) -> Parameters:
    found = at.claims.get(one.name)
    return {
        "Name": one.name,
        "MountPath": one.mount_path,
        "SubPath": one.sub_path or None,
        "ReadOnly": one.read_only or (found is not None and found.read_only),
        "MountPropagation": found.propagation if found is not None else None,
    }


def _of_running(container: Container, where: str, at: Environment) -> dict[str, Parameter]:
    """What only containers have and init containers have not."""
    own, whole = container.security_context, at.spec.security_context
    group = whole.run_as_group if own.run_as_group is None else own.run_as_group
    never_root = whole.run_as_non_root if own.run_as_non_root is None else own.run_as_non_root
    with rejected(where):
        handlers = {**probes(container), **hooks(container)}
    return {
        **handlers,
        "EnvironmentVarHide": True,
        "SecurityContextRunAsGroup": group,
        "SecurityContextRunAsNonRoot": never_root,
        "Stdin": container.stdin or None,
        "StdinOnce": container.stdin_once or None,
        "Tty": container.tty or None,
    }
