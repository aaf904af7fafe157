"""What ECI cannot do: a pod is refused, by field, before anything is made or looked up.

In: a tenant pod and the pool's policy. Out: what of its spec travels, or `Rejected` (`Waiting` for
volumes) with what, where and what to do. Pure; what depends on ConfigMaps and Secrets (lengths,
sizes) is judged by `group`, in the same words.
"""

import msgspec

from federation.backends.eci.translate import downward, limits
from federation.backends.eci.translate.claims import require_free_names
from federation.backends.eci.translate.fields import POD_SPEC
from federation.backends.eci.translate.policy import EciPolicy
from federation.backends.eci.translate.probes import hooks, probes
from federation.backends.eci.translate.purchase import purchase
from federation.backends.eci.translate.spec import Container, EnvVar, PodSpec
from federation.backends.eci.translate.words import check_value, check_variable, split
from federation.backends.translation.rules import Refused, as_object, inside, rejected, walk
from vnode.backend import ReferenceKind, Rejected
from vnode.kube.types import Pod
from vnode.pods.objects.references import references, token_requests

__all__ = ["require_supported", "supported"]

_PROTOCOLS = ("TCP", "UDP")


def require_supported(pod: Pod, policy: EciPolicy) -> None:
    """Refuse a pod that ECI cannot run.

    Raises:
        Rejected: it can never run here as it is; names the field.
        Waiting: one of its volumes cannot be had.
    """
    supported(pod, policy)


def supported(pod: Pod, policy: EciPolicy) -> PodSpec:
    """What travels of the pod's spec. Raises as `require_supported`."""
    with rejected("spec"):
        travels = walk(as_object(msgspec.json.decode(pod.spec)), POD_SPEC, policy)
    try:
        spec = msgspec.convert(travels, PodSpec)
    except msgspec.ValidationError as error:
        # The words of msgspec name a place and types, no values.
        raise Rejected(f"spec: not a PodSpec: {error}", field="spec") from None
    _check_counts(spec)
    require_free_names(spec)
    _check_secrets(pod, policy)
    for kind, containers in (
        ("containers", spec.containers),
        ("initContainers", spec.init_containers),
    ):
        for index, container in enumerate(containers):
            with rejected(f"spec.{kind}[{index}]"):
                _check_container(container, policy)
                if kind == "initContainers":
                    _check_init_user(container, spec)
    purchase(spec, policy)
    return spec


def _check_counts(spec: PodSpec) -> None:
    count = len(spec.containers) + len(spec.init_containers)
    if count > limits.CONTAINERS:
        raise Rejected(
            f"spec.containers: {count} containers, init containers included, are more than the "
            f"{limits.CONTAINERS} of ECI: use fewer",
            field="spec.containers",
        )
    if len(spec.volumes) > limits.VOLUMES:
        raise Rejected(
            f"spec.volumes: {len(spec.volumes)} are more than the {limits.VOLUMES} of ECI: use "
            "fewer, or one projected volume for several",
            field="spec.volumes",
        )


def _check_secrets(pod: Pod, policy: EciPolicy) -> None:
    secrets = sorted(
        use.where for use in references(pod.spec) if use.ref.kind is ReferenceKind.SECRET
    )
    if secrets and not policy.allow_inline_secrets:
        raise Rejected(
            f"{secrets[0]}: ECI keeps no Secrets, and this virtual node does not write their "
            "values into container groups: use none, or let the pool's configuration allow "
            "inline secrets",
            field=secrets[0],
        )
    if token_requests(pod.spec) and policy.token_ttl is None:
        raise Rejected(
            "spec.volumes: ServiceAccount tokens cannot be renewed on ECI: set "
            "automountServiceAccountToken to false, or let the pool's configuration set how long "
            "they live",
            field="spec.volumes",
        )


def _check_container(container: Container, policy: EciPolicy) -> None:
    split(container.command, container.args)
    if len(container.image) > limits.IMAGE:
        raise Refused(f"image: ECI takes names of at most {limits.IMAGE} characters")
    with inside(".ports"):
        for index, port in enumerate(container.ports):
            with inside(f"[{index}]"):
                _check_port(port.container_port, port.protocol)
    for index, variable in enumerate(container.env):
        with inside(f".env[{index}]"):
            _check_variable(variable, policy)
    probes(container)
    hooks(container)


def _check_port(port: int, protocol: str) -> None:
    if port in limits.RESERVED_PORTS:
        raise Refused(f"port {port} is used by ECI itself: use another one")
    if protocol not in _PROTOCOLS:
        raise Refused(f"protocol {protocol!r} cannot be had on ECI: use TCP or UDP")


def _check_variable(variable: EnvVar, policy: EciPolicy) -> None:
    check_variable(variable.name, policy)
    if "$(" not in variable.value:  # else its length is known when it is expanded
        check_value(variable.name, variable.value)
    source = variable.value_from
    if source is not None and source.field_ref is not None:
        downward.check_field(source.field_ref.field_path, volume=False)


def _check_init_user(container: Container, spec: PodSpec) -> None:
    """ECI's init containers know runAsUser, but neither runAsGroup nor runAsNonRoot."""
    own, whole = container.security_context, spec.security_context
    group = whole.run_as_group if own.run_as_group is None else own.run_as_group
    if group is not None:
        raise Refused("the group of an init container cannot be set on ECI: remove runAsGroup")
    user = whole.run_as_user if own.run_as_user is None else own.run_as_user
    never_root = whole.run_as_non_root if own.run_as_non_root is None else own.run_as_non_root
    if never_root and not user:
        raise Refused("ECI does not check runAsNonRoot of init containers: set runAsUser")
