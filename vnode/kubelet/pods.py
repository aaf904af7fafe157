"""Pods of a virtual node as the kubelet API shows and finds them.

In: the tenant's pod store and the backends, through a `PodLocator` (`vnode.locator` is the one).
Out: the v1.PodList of `/pods` and `/runningpods/` in pieces, and for logs and streams the backend
and the copy of exactly the pod and container that were asked for. Memory only, no I/O.
"""

from collections.abc import Iterable, Iterator
from typing import NamedTuple, Protocol

import msgspec

from vnode.backend import ObservedPod, PodBackend
from vnode.kube.types import UID, NodeName, ObjectKey, Pod, encode

__all__ = [
    "ContainerNotFound",
    "LocateError",
    "LocatedPod",
    "PodLocator",
    "PodNotFound",
    "PodNotStarted",
    "container_names",
    "locate",
    "pod_list",
]

_PIECE_BYTES = 64 * 1024


class LocateError(LookupError):
    """A pod or container cannot be used. `code` is the HTTP status, the text is for the client."""

    code = 404


class PodNotFound(LocateError):
    """No such pod on this node (or one of another UID)."""

    def __init__(self, key: ObjectKey) -> None:
        super().__init__(f'pod "{key.name}" does not exist')


class ContainerNotFound(LocateError):
    """The tenant's pod has no such container, whatever runs beside it below."""

    def __init__(self, key: ObjectKey, container: str) -> None:
        super().__init__(f'container "{container}" not found in pod "{key.name}"')


class PodNotStarted(LocateError):
    """The pod is bound to this node, but there is no copy of it below yet."""

    code = 400

    def __init__(self, key: ObjectKey) -> None:
        super().__init__(f'pod "{key.name}" is waiting to start: ContainerCreating')


class LocatedPod(NamedTuple):
    """Where a tenant pod runs."""

    backend: PodBackend
    observed: ObservedPod
    pod: Pod
    """The tenant's object."""


class PodLocator(Protocol):
    """What the kubelet API has to know of pods. Answers from memory."""

    def tenant_pods(self, node: NodeName) -> Iterable[Pod]:
        """Tenant pods that are bound to `node`."""
        ...

    def running(self, node: NodeName) -> Iterable[Pod]:
        """The pods of `node` that have a copy below and are not being deleted, with tenant UIDs."""
        ...

    def find(self, node: NodeName, key: ObjectKey, *, uid: UID | None) -> LocatedPod:
        """Where that pod runs; a `uid` that is not None must be the pod's.

        Raises:
            PodNotFound: it is not bound to `node`, or has another UID.
            PodNotStarted: it has no copy below yet.
        """
        ...


class _Named(msgspec.Struct, frozen=True):
    name: str = ""


class _Containers(msgspec.Struct, frozen=True, rename="camel"):
    containers: list[_Named] | None = None
    init_containers: list[_Named] | None = None
    ephemeral_containers: list[_Named] | None = None

    @property
    def names(self) -> list[str]:
        kinds = (self.containers, self.init_containers, self.ephemeral_containers)
        return [container.name for kind in kinds for container in kind or ()]


_containers = msgspec.json.Decoder(_Containers)


def locate(
    pods: PodLocator, node: NodeName, key: ObjectKey, *, uid: UID | None, container: str | None
) -> LocatedPod:
    """Find a pod and check that `container` (None: not asked for) is one of the tenant's own.

    Sidecars that the compute side injected are nobody's business up here.

    Raises:
        LocateError: see `PodLocator.find`, and ContainerNotFound.
    """
    located = pods.find(node, key, uid=uid)
    if container is not None and container not in container_names(located.pod):
        raise ContainerNotFound(key, container)
    return located


def container_names(pod: Pod) -> list[str]:
    """Names of all containers of a tenant pod, of whichever kind."""
    return _containers.decode(pod.spec).names


def pod_list(pods: Iterable[Pod]) -> Iterator[bytes]:
    """JSON of a v1.PodList in pieces of some 64 KiB; specs and statuses are copied as they are."""
    piece = bytearray(b'{"kind":"PodList","apiVersion":"v1","metadata":{},"items":[')
    comma = b""
    for pod in pods:
        piece += comma
        piece += encode(pod)
        comma = b","
        if len(piece) >= _PIECE_BYTES:
            yield bytes(piece)
            piece.clear()
    yield bytes(piece + b"]}")
