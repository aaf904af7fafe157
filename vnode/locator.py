"""Where the kubelet API finds a tenant pod: which backend and which copy.

In: the store of tenant pods of one backend's nodes, and the backend. Implements
`vnode.kubelet.pods.PodLocator`; memory only.
"""

from collections.abc import Iterable

import msgspec

from vnode.backend import ObservedPod, PodBackend
from vnode.kube.types import UID, NodeName, ObjectKey, Pod
from vnode.kubelet.pods import LocatedPod, PodNotFound, PodNotStarted
from vnode.pods.view import PodView, view
from vnode.runtime.store import Store


class _Spec(msgspec.Struct, frozen=True, rename="camel"):
    node_name: str = ""


_SPEC = msgspec.json.Decoder(_Spec)


class BackendPods:
    """Finds the pods of the virtual nodes of one backend."""

    def __init__(self, pods: Store[Pod], backend: PodBackend) -> None:
        self._pods = pods
        self._backend = backend

    def tenant_pods(self, node: NodeName) -> Iterable[Pod]:
        """Tenant pods that are bound to `node`, found one by one while it is iterated."""
        return (pod for pod in self._pods.values() if _SPEC.decode(pod.spec).node_name == node)

    def running(self, node: NodeName) -> Iterable[Pod]:
        """Pods of `node` that have a copy below and are not being deleted; found as above."""
        return (
            pod
            for pod in self._pods.values()
            if (seen := view(pod)).node == node
            and not seen.deleting
            and not seen.terminal
            and self._copy(seen) is not None
        )

    def find(self, node: NodeName, key: ObjectKey, *, uid: UID | None) -> LocatedPod:
        """Where that pod runs. Raises PodNotFound or PodNotStarted."""
        pod = self._pods.get(key)
        seen = view(pod) if pod is not None else None
        if pod is None or seen is None or seen.node != node or uid not in (None, seen.uid):
            raise PodNotFound(key)
        copy = self._copy(seen)
        if copy is None:
            raise PodNotStarted(key)
        return LocatedPod(self._backend, copy, pod)

    def _copy(self, seen: PodView) -> ObservedPod | None:
        """The copy of exactly this pod, not of a namesake."""
        copy = self._backend.observed(seen.key)
        return copy if copy is not None and copy.uid == seen.uid and not copy.gone else None
