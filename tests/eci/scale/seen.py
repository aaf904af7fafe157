"""What users could ever see: every version of every pod and event of a namespace.

In: versions, as an onlooker at the tenant tells them. Out: a `Seen` that grows. Times are Unix
seconds at which they reached the onlooker.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import orjson

from tests.e2e.workloads import NAMESPACE
from tests.measuring.onlooker import Collection

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tests.measuring.onlooker import Version

PODS, EVENTS = (Collection(f"/api/v1/namespaces/{NAMESPACE}/{kind}") for kind in ("pods", "events"))

_THROTTLED = re.compile(
    r"throttl|flow control|ComputeBusy|[^\"]*calls are under way", re.IGNORECASE
)
"""What nobody may read on a pod."""
_AROUND = 60
"""Characters that are quoted."""


@dataclass
class SeenPod:
    """One pod."""

    name: str
    phases: dict[str, float] = field(default_factory=dict)
    """When it was in a phase first."""
    gone: float | None = None


class Seen:
    """What was seen so far."""

    def __init__(self) -> None:
        self.pods: dict[str, SeenPod] = {}
        """By UID."""
        self.throttled: dict[str, str] = {}
        """Pods on which a throttling error can be read, by name, with the words."""
        self.warnings: Counter[str] = Counter()
        """Reasons of warnings about pods: how many events."""
        self.waiting: Counter[str] = Counter()
        """Reasons in `status.reason`: how many versions of pods."""

    def hear(self, version: Version) -> None:
        """One more version."""
        if version.collection == PODS:
            self._pod(version)
        elif version.type != "DELETED":
            self._event(version.object)

    def phase(self, phase: str, uids: set[str]) -> int:
        """How many of these pods were ever in a phase."""
        return sum(phase in pod.phases for uid, pod in list(self.pods.items()) if uid in uids)

    def gone(self, uids: set[str]) -> int:
        """How many of these pods are not there any more."""
        return sum(pod.gone is not None for uid, pod in list(self.pods.items()) if uid in uids)

    def _pod(self, version: Version) -> None:
        metadata = version.object["metadata"]
        pod = self.pods.setdefault(metadata["uid"], SeenPod(metadata["name"]))
        if version.type == "DELETED":
            pod.gone = version.at
            return
        status = version.object.get("status", {})
        pod.phases.setdefault(status.get("phase", ""), version.at)
        if reason := status.get("reason"):
            self.waiting[reason] += 1
        self._read(pod.name, status)

    def _event(self, event: Mapping[str, Any]) -> None:
        about = event.get("involvedObject", {})
        if about.get("kind") != "Pod":
            return
        if event.get("type") == "Warning":
            self.warnings[event.get("reason", "")] += 1
        self._read(about.get("name", ""), {k: event.get(k) for k in ("reason", "message")})

    def _read(self, name: str, said: Mapping[str, Any]) -> None:
        text = orjson.dumps(said).decode()
        if found := _THROTTLED.search(text):
            begin = max(0, found.start() - _AROUND)
            self.throttled.setdefault(name, text[begin : found.end() + _AROUND])
