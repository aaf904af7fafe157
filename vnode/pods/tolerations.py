"""Lets pods on virtual nodes outlive an agent that is away (DESIGN 7, Tenant unreachable).

In: a tenant pod whose default tolerations of not-ready and unreachable nodes end after 300 s: it
slipped past the admission policy of deploy/. Out: one patch of the pod, conditional on UID and
resourceVersion, that takes these limits out. Kubernetes lets nothing else of a toleration be
changed (ValidatePodUpdate, validateOnlyAddedTolerations), and an added entry would do nothing: of
all that tolerate a taint the first counts (tainteviction, GetMatchingTolerations). A limit other
than 300 s is the user's. A pod is patched at most once: whoever puts a limit back wants it.

It happens before the copy is made, as the copy's fingerprint is of the pod with its tolerations. An
API server that refuses or does not answer holds nobody up: it is said in an event, and tried again
where that may help.
"""

from collections.abc import Callable
from dataclasses import dataclass

import msgspec
import structlog

from vnode.kube.client import KubeClient
from vnode.kube.errors import BadRequest, Conflict, Forbidden, Invalid, KubeError, NotFound
from vnode.kube.resources import PODS
from vnode.kube.types import JSON, JSONObject, Pod, object_in, objects_in
from vnode.pods.events import EventRecorder
from vnode.pods.memory import Memories
from vnode.pods.view import PodView
from vnode.runtime.clock import Clock
from vnode.runtime.store import Store

__all__ = ["Tolerations", "without_default_limits"]

_LOG = structlog.get_logger(__name__)
_KEYS = ("node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable")
_DEFAULT_SECONDS = 300
"""What the admission plugin DefaultTolerationSeconds sets."""
_AGAIN_SECONDS, _CHANGED_SECONDS = 60.0, 1.0


def without_default_limits(pod: Pod) -> list[JSON] | None:
    """The pod's tolerations without the default limits; None: it has none of these. Pure."""
    found = objects_in(object_in(msgspec.json.decode(pod.spec)).get("tolerations"))
    wanted: list[JSON] = [_unlimited(one) if _is_default(one) else one for one in found]
    return wanted if wanted != found else None


def _is_default(toleration: JSONObject) -> bool:
    known = toleration.get("key") in _KEYS
    return known and toleration.get("tolerationSeconds") == _DEFAULT_SECONDS


def _unlimited(toleration: JSONObject) -> JSONObject:
    return {name: value for name, value in toleration.items() if name != "tolerationSeconds"}


@dataclass(frozen=True, slots=True)
class Tolerations:
    """Patches the tolerations of tenant pods on our nodes."""

    client: KubeClient
    pods: Store[Pod]
    events: EventRecorder
    memories: Memories
    clock: Clock
    count: Callable[[str], None] = lambda _result: None
    """Told how each patch ended: `patched`, `refused` or `failed`."""

    async def ensure(self, pod: Pod | None, seen: PodView | None) -> float | None:
        """Patch the pod if need be.

        Returns seconds until it is to be looked at again, since it has changed; None: go on.
        """
        if pod is None or seen is None or seen.deleting or seen.terminal:
            return None
        memory = self.memories[seen.key]
        if memory.tolerates_at > self.clock.monotonic():
            return None
        wanted = without_default_limits(pod)
        if wanted is None:
            memory.tolerates_at = float("inf")
            return None
        try:
            written = await self._patch(pod, wanted)
        except (Conflict, NotFound):
            return _CHANGED_SECONDS  # The watch will bring it.
        except (BadRequest, Forbidden, Invalid) as refused:
            memory.tolerates_at = float("inf")
            self.count("refused")
            self._say(seen, refused)
            return None
        except KubeError as failed:
            memory.tolerates_at = self.clock.monotonic() + _AGAIN_SECONDS
            self.count("failed")
            self._say(seen, failed)
            return None
        memory.tolerates_at = float("inf")
        self.count("patched")
        if self.pods.get(seen.key) is not None:
            self.pods.upsert(written)
        return 0.0

    async def _patch(self, pod: Pod, tolerations: list[JSON]) -> Pod:
        metadata = pod.metadata
        guards = {"uid": metadata.uid, "resourceVersion": metadata.resource_version}
        body = {"metadata": guards, "spec": {"tolerations": tolerations}}
        return await self.client.patch(
            PODS, body, Pod, name=metadata.name, namespace=metadata.namespace
        )

    def _say(self, seen: PodView, why: KubeError) -> None:
        text = (
            "If the agent of this node is away for 300 s, Kubernetes deletes this pod: its default "
            f"tolerations could not be changed ({type(why).__name__}); label the namespace "
            "vnode.dev/virtual-nodes=enabled, or set tolerationSeconds in the pod to what you want"
        )
        self.events.say(seen, "Warning", "TolerationsNotChanged", text)
        _LOG.warning("tolerations not changed", pod=str(seen.key), why=type(why).__name__)
