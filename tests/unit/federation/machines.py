"""What else lives in a compute cluster: a scheduler, kubelets and the garbage collector, in memory.

In: changes of the objects of a `WatchingClient`. Out: pods without gates get a node and run, pods
that are deleted end and go, Secrets go with their owners; each a moment later, in virtual time. So
a compute cluster goes on by itself while no agent is there, and comes to rest.
"""

import asyncio
from collections import Counter
from datetime import UTC, datetime

from federation.backends.kubernetes.translate.names import ANNOTATION_UID
from tests.builders import container_status, running_status
from tests.fakes.client import Body
from tests.fakes.clock import LoopClock
from tests.fakes.watching import WatchingClient
from vnode.kube.resources import PODS, SECRETS
from vnode.kube.types import ObjectKey

_STARTS, _ENDS = 0.7, 0.9
"""Seconds that it takes."""


class Machines:
    """Everything that works on pods in one compute cluster."""

    def __init__(self, cluster: WatchingClient) -> None:
        self._cluster = cluster
        self._busy: set[tuple[str, str]] = set()
        self.started: Counter[str] = Counter()
        """How often containers were started for a tenant UID."""
        cluster.on_change.append(self._changed)

    def _changed(self, plural: str, body: Body, exists: bool) -> None:
        if plural != PODS.plural:
            return
        if not exists:
            self._collect(body)
        elif body["metadata"].get("deletionTimestamp"):
            # Nobody stops what has no node: an API server removes it at once.
            self._later(0.0 if not body["spec"].get("nodeName") else _ENDS, "end", body)
        elif not body["spec"].get("schedulingGates") and not body["spec"].get("nodeName"):
            self._later(_STARTS, "start", body)

    def _later(self, seconds: float, what: str, body: Body) -> None:
        task = (what, body["metadata"]["uid"])
        if task not in self._busy:
            self._busy.add(task)
            act = self._start if what == "start" else self._end
            asyncio.get_running_loop().call_later(seconds, act, _key(body), body["metadata"]["uid"])

    def _start(self, key: ObjectKey, uid: str) -> None:
        now = self._live(key, uid)
        if now is None or now["metadata"].get("deletionTimestamp"):
            return
        self.started[now["metadata"]["annotations"][ANNOTATION_UID]] += 1
        names = [container["name"] for container in now["spec"]["containers"]]

        def run(body: Body) -> None:
            body["spec"]["nodeName"] = "gpu-17"
            body["status"] = running_status(*names)

        self._cluster.edit(PODS, key, run)

    def _end(self, key: ObjectKey, uid: str) -> None:
        now = self._live(key, uid)
        if now is None:
            return
        if now["spec"].get("nodeName"):
            finished = datetime.fromtimestamp(LoopClock().time(), UTC)
            ended = [
                container_status(
                    c["name"], exit_code=143, finished=f"{finished:%Y-%m-%dT%H:%M:%SZ}"
                )
                for c in now["spec"]["containers"]
            ]
            self._cluster.edit(
                PODS,
                key,
                lambda body: body["status"].update(phase="Failed", containerStatuses=ended),
            )
        self._cluster.delete_gracefully(PODS, key, 0)

    def _collect(self, pod: Body) -> None:
        owner = pod["metadata"]["uid"]
        for (plural, key), body in list(self._cluster.objects.items()):
            owners = body["metadata"].get("ownerReferences", [])
            if plural == SECRETS.plural and owner in [each["uid"] for each in owners]:
                self._cluster.drop(SECRETS, key)

    def _live(self, key: ObjectKey, uid: str) -> Body | None:
        body = self._cluster.get_body(PODS, key)
        return body if body is not None and body["metadata"]["uid"] == uid else None


def _key(body: Body) -> ObjectKey:
    return ObjectKey(body["metadata"]["namespace"], body["metadata"]["name"])
