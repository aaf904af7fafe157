"""Ends copies in which everything of the tenant's has ended, and only sidecars of others run on.

In: the copies' store. Out: patches and deletions of copies, each conditional on the UID and version
on which it was decided. Whoever put a sidecar in ends it (Fluid's fluidapp-controller, ECI); where
that does not happen the pod would hold its place and be paid for without end. So after `patience`:

1. the copy gets a deadline that is over (`activeDeadlineSeconds`): its kubelet ends what is left,
   and the pod stays with its container states and logs. A mark says that the deadline is ours, so
   it counts for nothing in the status (`sidecars.status_without`);
2. if it runs on all the same, or the deadline is refused, it is deleted. Its status is read as that
   of a pod that ended by itself, so the tenant's pod keeps its end; its logs are lost.

How long a copy has been held up is counted from when this agent saw it first. A refusal is tried
again with backoff.
"""

import random
from dataclasses import dataclass, replace
from typing import Never

import msgspec
import structlog

from federation.backends.kubernetes.pod_copies import PodCopies
from federation.backends.kubernetes.sidecars import ended_by_us, is_held_up
from federation.backends.kubernetes.translate.names import ANNOTATION_ENDED
from vnode.kube.client import KubeClient
from vnode.kube.errors import BadRequest, Conflict, Forbidden, Invalid, NotFound
from vnode.kube.resources import PODS
from vnode.kube.types import UID, JSONObject, ObjectKey, Pod
from vnode.runtime.clock import Clock
from vnode.runtime.store import Change
from vnode.runtime.workqueue import Result, WorkQueue, run_workers

_LOG = structlog.get_logger(__name__)

PATIENCE = 60.0
"""Seconds for which others may end what they have put in; Fluid needs a few."""
_GRACE = 30
_AGAIN = 5.0
_WORKERS = 2


class _Spec(msgspec.Struct, frozen=True, rename="camel"):
    termination_grace_period_seconds: int = _GRACE


_SPEC = msgspec.json.Decoder(_Spec)


@dataclass(frozen=True, slots=True)
class _HeldUp:
    uid: UID
    since: float
    """By the monotonic clock: seen like that, or told to end."""
    told: bool = False


class HeldUpCopies:
    """Watches over the copies of one tenant cluster in one compute cluster."""

    def __init__(
        self,
        client: KubeClient,
        copies: PodCopies,
        *,
        cluster: str,
        patience: float,
        clock: Clock,
        rng: random.Random,
    ) -> None:
        """Listen to the store; nothing is done before `run`. `patience`: seconds."""
        self._client = client
        self._copies = copies
        self._cluster = cluster
        self._patience = patience
        self._clock = clock
        self._known: dict[ObjectKey, _HeldUp] = {}
        self._queue: WorkQueue[ObjectKey] = WorkQueue("held-up copies", rng=rng)
        copies.store.subscribe(self._changed)

    async def run(self) -> Never:
        """Work until cancelled."""
        await run_workers(self._queue, self.reconcile, workers=_WORKERS, name="held-up copies")

    def _changed(self, change: Change[Pod]) -> None:
        if change.new is None:
            self._known.pop(change.key, None)
        elif is_held_up(change.new):
            self._queue.add(change.key)

    async def reconcile(self, key: ObjectKey) -> Result:
        """Look at the pod of that name below, and end it when its time has come.

        Raises:
            KubeError: the compute cluster does not answer, or not now.
        """
        pod = self._copies.store.get(key)
        if pod is None or not self._concerns(pod):
            self._known.pop(key, None)
            return Result()
        now = self._clock.monotonic()
        held = self._known.get(key)
        if held is None or held.uid != pod.metadata.uid:
            held = self._known[key] = _HeldUp(pod.metadata.uid, now, told=ended_by_us(pod.metadata))
        patience = self._patience + (_grace(pod) if held.told else 0)
        if (left := held.since + patience - now) > 0:
            return Result(requeue_after=left)
        try:
            await (self._delete(pod) if held.told else self._end(pod))
        except (NotFound, Conflict):
            return Result(requeue_after=_AGAIN)  # The watch brings what it is now.
        self._known[key] = replace(held, since=now, told=True)
        return Result(requeue_after=self._patience)

    def _concerns(self, pod: Pod) -> bool:
        going = pod.metadata.deletion_timestamp is not None
        return not going and is_held_up(pod) and self._copies.read(pod) is not None

    async def _end(self, pod: Pod) -> None:
        """Let its kubelet end it. Raises NotFound, Conflict, KubeError."""
        metadata = pod.metadata
        body: JSONObject = {
            "metadata": {
                "uid": metadata.uid,
                "resourceVersion": metadata.resource_version,
                "annotations": {ANNOTATION_ENDED: "sidecars"},
            },
            "spec": {"activeDeadlineSeconds": 1},
        }
        try:
            await self._client.patch(
                PODS, body, Pod, name=metadata.name, namespace=metadata.namespace
            )
        except (Forbidden, Invalid, BadRequest) as error:
            self._say("a finished copy with a sidecar takes no deadline", pod, error=str(error))
        else:
            self._say("ended the sidecars of a finished copy", pod)

    async def _delete(self, pod: Pod) -> None:
        metadata = pod.metadata
        await self._client.delete(
            PODS,
            name=metadata.name,
            namespace=metadata.namespace,
            uid=metadata.uid,
            resource_version=metadata.resource_version,
        )
        self._say("deleted a finished copy whose sidecars did not end", pod)

    def _say(self, text: str, pod: Pod, **more: str) -> None:
        copy = self._copies.read(pod)
        about = str(copy.key) if copy is not None else ""
        _LOG.info(text, cluster=self._cluster, pod=about, uid=pod.metadata.uid, **more)


def _grace(pod: Pod) -> int:
    return _SPEC.decode(pod.spec).termination_grace_period_seconds
