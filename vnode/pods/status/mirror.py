"""Carries a copy's status up to its tenant pod, and keeps the tokens that it mounts fresh.

In: a tenant pod and its copy. Out: a patch of pods/status where the two differ
(`vnode.pods.status.statuses` says what it should be), tokens written below when they are due. One
`Mirror` per backend, used by every step of the pod controller that ends with a copy that is there.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from vnode.backend import ObservedPod, PodBackend, Waiting
from vnode.kube.types import NodeName, Pod
from vnode.pods import lifecycle
from vnode.pods.memory import Memories
from vnode.pods.objects.references import token_requests
from vnode.pods.objects.tokens import TokenIssuer
from vnode.pods.status import statuses
from vnode.pods.status.addresses import AddressPool
from vnode.pods.status.writer import StatusWriter
from vnode.pods.tenant_time import TenantTime
from vnode.pods.view import TERMINAL, PodView
from vnode.runtime.clock import Clock
from vnode.runtime.workqueue import Result, soonest

SETTLE_SECONDS = 1.0
"""What a watch is about to say is waited for so long."""
_QUIET_SECONDS = 5.0
"""A copy that is merely on its way is not worth a status write of its own for so long."""
_HELD_SECONDS = 1.0
"""And for so long where the pod still says why it had to wait."""
_LEAST_TOKEN_SECONDS = 30.0
"""Between two renewals of a pod's tokens, whatever the clocks say."""


@dataclass(frozen=True, slots=True)
class NodeSettings:
    """What the pods of one virtual node get from it."""

    name: NodeName
    address: str
    """The virtual node's address, shown as hostIP."""
    flat_network: bool
    """The copies' own addresses are reachable in the tenant and shown there."""


@dataclass(frozen=True, slots=True)
class Mirror:
    """Writes what copies say into the tenant."""

    backend: PodBackend
    nodes: Mapping[NodeName, NodeSettings]
    writer: StatusWriter
    tokens: TokenIssuer
    addresses: AddressPool
    memories: Memories
    time: TenantTime
    clock: Clock
    leaving: Callable[[Pod, ObservedPod], None] = lambda _pod, _copy: None
    """Told of copies that are being deleted though their tenant pods are not."""

    async def show(self, pod: Pod, seen: PodView, copy: ObservedPod) -> Result:
        """Mirror the copy's status and renew its tokens.

        Raises:
            Waiting: no address or no token for the pod.
            Conflict: the pod has changed meanwhile.
        """
        if copy.deleting and not copy.gone and not seen.deleting:
            self.leaving(pod, copy)
        if self._too_early(seen, copy):
            again = _patience(seen)
        else:
            placement, held_back = self.placement(pod, seen), self.memories[seen.key].held_back
            wanted = statuses.mirrored(pod, seen, copy, placement, held_back)
            await self.writer.write(pod, seen, wanted)
            again = None
        due = await self._renew_tokens(pod, seen, copy)
        return soonest(again, due)

    def placement(self, pod: Pod, seen: PodView) -> statuses.Placement:
        """What the virtual node contributes to the pod's status."""
        settings = self.nodes[seen.node]
        uid, place = pod.metadata.uid, self.backend.place(seen.key.namespace)
        allocate: Callable[[], str] | None = None
        if not settings.flat_network:

            def allocate() -> str:
                try:
                    return self.addresses.allocate(uid)
                except LookupError as error:
                    raise Waiting(str(error), reason="NoPodAddress") from None

        return statuses.Placement(settings.address, allocate, self.time.now(), place)

    def _too_early(self, seen: PodView, copy: ObservedPod) -> bool:
        """A fresh copy without news: wait a moment, so that start-up costs one status write."""
        memory = self.memories[seen.key]
        quiet = (
            not seen.forwarded
            and not copy.gone
            and copy.waiting is None
            and lifecycle.phase_below(copy) == "Pending"
        )
        if not quiet:
            return False
        now = self.clock.monotonic()
        memory.quiet_since = now if memory.quiet_since is None else memory.quiet_since
        return now - memory.quiet_since < _patience(seen)

    async def _renew_tokens(self, pod: Pod, seen: PodView, copy: ObservedPod) -> float | None:
        """Write tokens if they are due; return seconds until they are due again."""
        if not self.backend.capabilities.token_refresh:
            return None
        wanted = token_requests(pod.spec)
        if not wanted or copy.deleting or copy.gone or lifecycle.phase_below(copy) in TERMINAL:
            return None
        now = self.clock.time()
        if copy.tokens_refresh_at is not None and copy.tokens_refresh_at > now:
            return copy.tokens_refresh_at - now
        issued = await self.tokens.require(seen, wanted)
        await self.backend.put_tokens(copy, issued)
        return max(_LEAST_TOKEN_SECONDS, min(t.refresh_at for t in issued.values()) - now)


def _patience(seen: PodView) -> float:
    return _HELD_SECONDS if seen.held else _QUIET_SECONDS
