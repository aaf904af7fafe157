"""The time by the tenant API server's clock, in which everything about its pods is told."""

import math
from dataclasses import dataclass

from vnode.kube.client import KubeClient
from vnode.kube.timestamps import parse, rfc3339
from vnode.kube.types import Pod
from vnode.runtime.clock import Clock


@dataclass(frozen=True, slots=True)
class TenantTime:
    """Reads our clock and adds what the tenant API server's is ahead of it."""

    client: KubeClient
    clock: Clock

    def seconds(self) -> float:
        """Unix seconds."""
        return self.clock.time() + self.client.clock_offset

    def now(self) -> str:
        """RFC 3339."""
        return rfc3339(self.seconds())

    def remaining(self, pod: Pod) -> int | None:
        """Seconds of grace left to a pod that is being deleted, never more than was asked for.

        The API server's clock and the deletion's end are told in whole seconds, so this is known to
        some two seconds only: rounded up, as no container may get less time than was asked for.
        """
        ends, asked = pod.metadata.deletion_timestamp, pod.metadata.deletion_grace_period_seconds
        if ends is None or asked is None:
            return None
        now = self.seconds()
        try:
            return min(asked, math.ceil(parse(ends) - now) + 1)
        except (ValueError, OverflowError):
            return None
