"""Writes the status of tenant pods: the one place that does.

In: the status that a pod should have (`vnode.pods.status.statuses`). Out: a patch of pods/status if
the pod says something else now, with its UID. A status that the API server refuses as a whole is
written in its core, with an event.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import structlog

from vnode.kube.client import KubeClient, PatchType
from vnode.kube.errors import Invalid, NotFound
from vnode.kube.resources import PODS
from vnode.kube.types import JSON, JSONObject, Pod, objects_in
from vnode.pods.events import EventRecorder
from vnode.pods.status.patch import patch
from vnode.pods.view import FORWARDED, PodView
from vnode.runtime.store import Store

_LOG = structlog.get_logger(__name__)
_CORE = frozenset(
    {
        "name",
        "image",
        "imageID",
        "containerID",
        "ready",
        "restartCount",
        "started",
        "state",
        "lastState",
    }
)
"""What every API server takes of a ContainerStatus."""


@dataclass(frozen=True, slots=True)
class StatusWriter:
    """Patches pods/status in the tenant cluster."""

    client: KubeClient
    pods: Store[Pod]
    events: EventRecorder

    async def write(
        self, pod: Pod, seen: PodView, wanted: Mapping[str, JSON], *, as_seen: bool = False
    ) -> Pod | None:
        """Patch what differs. A namesake's or a removed pod's status is left alone.

        With `as_seen` only if nothing of the pod has changed since it was read.

        Returns the pod as it is then; None: it is gone.

        Raises:
            Conflict: the pod has changed meanwhile, or another one has its name; look again.
            KubeError: the API server did not answer.
        """
        change = patch(pod, wanted)
        if change is None:
            return pod
        if as_seen:
            version = pod.metadata.resource_version
            change["metadata"] = {"uid": pod.metadata.uid, "resourceVersion": version}
        try:
            written = await self._patch(pod, change)
        except NotFound:
            return None
        except Invalid as invalid:
            written = await self._write_core(pod, seen, wanted, invalid)
        # Our own write is known before the watch brings it: no second write from an old view. A pod
        # that went meanwhile must not come back by it.
        if self.pods.get(seen.key) is not None:
            self.pods.upsert(written)
        return written

    async def _write_core(
        self, pod: Pod, seen: PodView, wanted: Mapping[str, JSON], why: Invalid
    ) -> Pod:
        """The API server refused the status: write at least phase and container states."""
        _LOG.warning("status refused", pod=str(seen.key), uid=seen.uid)
        text = f"The full status was refused by the API server: {why.message}"
        self.events.say(seen, "Warning", "StatusRefused", text)
        change = patch(pod, _core(wanted))
        return pod if change is None else await self._patch(pod, change)

    async def _patch(self, pod: Pod, change: Mapping[str, JSON]) -> Pod:
        return await self.client.patch(
            PODS,
            change,
            Pod,
            name=pod.metadata.name,
            namespace=pod.metadata.namespace,
            subresource="status",
            patch_type=PatchType.STRATEGIC,
        )


def _core(wanted: Mapping[str, JSON]) -> JSONObject:
    core: JSONObject = {"phase": wanted["phase"]} if "phase" in wanted else {}
    if "containerStatuses" in wanted:
        core["containerStatuses"] = [
            {k: v for k, v in container.items() if k in _CORE}
            for container in objects_in(wanted["containerStatuses"])
        ]
    # Without this mark a copy that goes now would be made a second time.
    marks = [c for c in objects_in(wanted.get("conditions")) if c.get("type") == FORWARDED]
    return {**core, "conditions": [*marks]}
