"""Events of the compute cluster about copies, as events of tenant pods.

In: what the backend's watch brings. Out: `PodEvent` to listeners, by tenant names and with compute
names concealed. What a listing brings was said long ago and is left out, unless the namespace was
made by this agent; so is what they say of containers that others have put into a copy, and of the
deadline by which we end these.
"""

import re
from collections.abc import Callable

from federation.backends.kubernetes.observe import foreign_containers, names_of
from federation.backends.kubernetes.pod_copies import PodCopies
from federation.backends.kubernetes.serverless import blot
from federation.backends.kubernetes.sidecars import ended_by_us
from vnode.backend import PodEvent
from vnode.kube.types import Event, ObjectKey, Pod
from vnode.runtime.store import Change, Store

_SAID_ALREADY = "Scheduled"
"""The tenant's scheduler has said where the pod goes; which compute node it is, is not shown."""
EVENTS_TO_RELAY = f"involvedObject.kind=Pod,reason!={_SAID_ALREADY}"
"""Field selector: every pod has one of that reason, which would be kept here for its hour."""

_DEADLINE = "DeadlineExceeded"
_CONTAINER = re.compile(r"\{(.+)\}$")
"""In the field path of an event about a container: `spec.containers{main}` (kubelet, ref.go)."""


class PodEvents:
    """The store of events of one compute cluster, and who hears of them."""

    def __init__(
        self, copies: PodCopies, *, cluster: str, made_here: Callable[[str], bool]
    ) -> None:
        """Make the store; the backend's watch fills it. `made_here`: see `ComputeNamespaces`."""
        self._copies = copies
        self._made_here = made_here
        self._listeners: list[Callable[[PodEvent], None]] = []
        self.store: Store[Event] = Store(f"{cluster} events")
        self.store.subscribe(self._changed)

    def subscribe(self, listener: Callable[[PodEvent], None]) -> None:
        """See `PodBackend.subscribe_events`."""
        self._listeners.append(listener)

    def _changed(self, change: Change[Event]) -> None:
        event = change.new
        if event is None or event.reason == _SAID_ALREADY:
            return
        about = ObjectKey(event.involved_object.namespace, event.involved_object.name)
        pod = self._copies.store.get(about)
        copy = self._copies.read(pod) if pod is not None else None
        if pod is None or copy is None or copy.handle != event.involved_object.uid:
            return
        if change.initial and not self._made_here(copy.key.namespace):
            return
        if _is_of_others(event, pod):
            return
        said = PodEvent(
            key=copy.key,
            uid=copy.uid,
            node=copy.node,
            type=event.type,
            reason=event.reason,
            message=blot(names_of(pod).conceal(event.message)),
            by_kubelet=event.source.component == "kubelet",
        )
        self.tell(said)

    def tell(self, said: PodEvent) -> None:
        """Hand on what the backend itself has to say of a pod."""
        for listener in self._listeners:
            listener(said)


def _is_of_others(event: Event, pod: Pod) -> bool:
    """Whether it is about what the tenant did not ask for."""
    others = foreign_containers(pod)
    about = _CONTAINER.search(event.involved_object.field_path)
    if about is not None and about[1] in others:
        return True
    if any(f'"{name}"' in event.message for name in others):
        return True  # About the whole pod, as when the kubelet cannot end one of them.
    return event.reason == _DEADLINE and ended_by_us(pod.metadata)
