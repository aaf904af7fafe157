"""Claims of a pod as parts of its container group: what somebody says that they need, put in.

In: for each of the pod's volumes that is a claim, what it needs (`Brought`: volumes, and perhaps a
sidecar that mounts the files). Out: whether the pod can have them. Which files a tenant may have is
not judged here but by whoever brings them (`federation.fluid.groups`). Pure.

A sidecar mounts where the containers look: they begin after it, but init containers come before
it and would find an empty directory, as a sub path would; both are refused. Sidecars are told by
their names, which no container of a tenant may have on any pool, and no volume. All containers of a
group share one network: what would lead the sidecar's calls elsewhere is refused too.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from federation.backends.eci.parameters import Parameters
from federation.backends.eci.translate import limits
from federation.backends.eci.translate.spec import Container, PodSpec, Resources
from federation.backends.translation.redirection import refuse_redirecting
from vnode.backend import Rejected
from vnode.kube.types import Pod

__all__ = [
    "SIDECAR",
    "Brought",
    "is_sidecar",
    "require_free_names",
    "require_possible",
    "sidecars",
]

SIDECAR = "fluid-fuse"
"""Beginning of the names of containers that bring files."""
_OURS = re.compile(rf"{SIDECAR}-[0-9]+")
_RESERVED = (SIDECAR, f"init-{SIDECAR}")


@dataclass(frozen=True, slots=True, repr=False)
class Brought:
    """What a container group needs for one claim."""

    volumes: tuple[Parameters, ...]
    """The first one is what the containers mount, and has the name of the pod's volume."""
    sidecar: Parameters | None = None
    image: str = ""
    """Of the sidecar."""
    propagation: str | None = None
    """Of the containers' mounts of the first volume."""
    read_only: bool = False
    """All of these mounts are."""
    resources: Resources | None = None
    """What the sidecar is to have; None: nothing is said."""


def is_sidecar(name: str) -> bool:
    """Whether a container is one that brings files. Names like it were free for tenants once."""
    return _OURS.fullmatch(name) is not None


def require_free_names(spec: PodSpec) -> None:
    """Raises Rejected: a container or a volume has a name by which those of sidecars are known."""
    for where, name in _named(spec):
        if name.startswith(_RESERVED):
            text = (
                f'{where}: "{name}" is a name of what brings the data of claims to pods; choose '
                "another one"
            )
            raise Rejected(text, field=where)


def _named(spec: PodSpec) -> Iterator[tuple[str, str]]:
    """Where names of the pod's own stand."""
    for part, containers in _parts(spec):
        for index, container in enumerate(containers):
            yield f"spec.{part}[{index}].name", container.name
    for index, volume in enumerate(spec.volumes):
        yield f"spec.volumes[{index}].name", volume.name


def require_possible(spec: PodSpec, claims: Mapping[str, Brought], *, pod: Pod) -> None:
    """See that the pod can have its claims.

    Args:
        spec: what travels of the pod's.
        claims: by the names of the pod's volumes.
        pod: the tenant's.

    Raises:
        Rejected: it can never as it is; names the field.
    """
    by_sidecar = {name for name, found in claims.items() if found.sidecar is not None}
    if not by_sidecar:
        return
    if spec.share_process_namespace:
        raise Rejected(
            "spec.shareProcessNamespace: containers of this pod would see the processes of the "
            "sidecar that brings the data of its claims; leave it out",
            field="spec.shareProcessNamespace",
        )
    refuse_redirecting(pod)
    for where, text in _misfits(spec, by_sidecar):
        raise Rejected(f"{where}: {text}", field=where)
    count = len(spec.containers) + len(spec.init_containers) + len(by_sidecar)
    if count > limits.CONTAINERS:
        raise Rejected(
            f"spec.containers: {count} containers, those that bring the data of claims included, "
            f"are more than the {limits.CONTAINERS} of ECI: use fewer",
            field="spec.containers",
        )
    more = sum(len(found.volumes) - 1 for found in claims.values())
    if (volumes := len(spec.volumes) + more) > limits.VOLUMES:
        raise Rejected(
            f"spec.volumes: {volumes}, those of the sidecars that bring the data of claims "
            f"included, are more than the {limits.VOLUMES} of ECI: use fewer",
            field="spec.volumes",
        )


def _misfits(spec: PodSpec, by_sidecar: set[str]) -> Iterator[tuple[str, str]]:
    """Mounts that would show an empty directory: field and why."""
    for part, containers in _parts(spec):
        for index, container in enumerate(containers):
            for number, mount in enumerate(container.volume_mounts):
                where = f"spec.{part}[{index}].volumeMounts[{number}]"
                if mount.name not in by_sidecar:
                    continue
                if part == "initContainers":
                    yield (
                        where,
                        "the data of this claim comes with the containers, after init containers; "
                        "read it in a container",
                    )
                elif mount.sub_path:
                    yield (
                        f"{where}.subPath",
                        "of a claim whose data a sidecar brings only the whole can be mounted; "
                        "remove it",
                    )


def sidecars(claims: Mapping[str, Brought]) -> list[Parameters]:
    """The containers that bring files."""
    return [found.sidecar for found in claims.values() if found.sidecar is not None]


def _parts(spec: PodSpec) -> tuple[tuple[str, tuple[Container, ...]], ...]:
    return ("containers", spec.containers), ("initContainers", spec.init_containers)
