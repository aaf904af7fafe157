"""The time by the tenant API server's clock, in which everything about its pods is told."""

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

    def now(self) -> str:
        """RFC 3339."""
        return rfc3339(self.clock.time() + self.client.clock_offset)

    def remaining(self, pod: Pod) -> int | None:
        """Seconds of grace left to a pod that is being deleted, never more than was asked for."""
        ends, asked = pod.metadata.deletion_timestamp, pod.metadata.deletion_grace_period_seconds
        if ends is None or asked is None:
            return None
        now = self.clock.time() + self.client.clock_offset
        try:
            return min(asked, round(parse(ends) - now))
        except (ValueError, OverflowError):
            return None
