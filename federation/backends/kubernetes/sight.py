"""What is known of the compute namespaces of tenant namespaces, and where copies can be made.

In: states of namespaces, what was listed in them, errors of watches. Out: `Sight` and reasons, for
the lifecycle rules, and refusals to act where something of ours could be overlooked.
"""

from collections.abc import Callable, Sequence

from federation.backends.kubernetes.conceal import Names
from federation.backends.kubernetes.failures import unseen, waiting
from federation.backends.kubernetes.namespaces import ComputeNamespaces, NamespaceState
from federation.backends.kubernetes.reachability import Reachability
from federation.backends.kubernetes.translate.names import NamespaceMapping
from federation.backends.kubernetes.watches import Watches
from vnode.backend import Rejected, Sight, Waiting, WaitingReason
from vnode.kube.errors import KubeError

_OPEN = frozenset({NamespaceState.READY, NamespaceState.ABSENT})
"""Where copies can be, or can be made. What is absent is in no listing of the whole cluster."""
_NO_PLACE = frozenset({"NamespaceNotReady", "NamespaceTerminating"})
"""Reasons of refusals that make us doubt the namespace."""


class NamespaceSight:
    """Sight of one tenant cluster's namespaces in one compute cluster."""

    def __init__(
        self,
        namespaces: ComputeNamespaces,
        *,
        cluster: str,
        mapping: NamespaceMapping,
        watches: Sequence[Watches],
        listed: Callable[[str], bool],
        forwards: Callable[[str], bool],
        reachability: Reachability,
    ) -> None:
        """Nothing is asked of the cluster here.

        Args:
            namespaces: their states.
            cluster: the name under which tenants know the compute cluster.
            mapping: where tenant namespaces lie.
            watches: of all that is ours.
            listed: whether all that is ours in a compute namespace was listed.
            forwards: see `KubernetesBackend`.
            reachability: of the compute cluster.
        """
        self._namespaces = namespaces
        self._cluster = cluster
        self._mapping = mapping
        self._watches = watches
        self._listed = listed
        self._forwards = forwards
        self._reachability = reachability

    def of(self, namespace: str) -> Sight:
        """See `PodBackend.sight`."""
        state = self._namespaces.state(namespace)
        if state is NamespaceState.UNKNOWN:
            return Sight.UNKNOWN
        if state is NamespaceState.NOT_FORWARDED and not self._forwards(namespace):
            return Sight.NOWHERE
        if state not in _OPEN:
            return Sight.BARRED
        listed = self._listed(self._mapping.below(namespace) or "")
        return Sight.COMPLETE if listed else Sight.UNKNOWN

    def why_unseen(self, namespace: str) -> WaitingReason:
        """See `PodBackend.why_unseen`."""
        below = self._mapping.below(namespace) or ""
        errors = (watch.error(below) for watch in self._watches)
        return unseen(next((e for e in errors if e is not None), self._reachability.error))

    def require(self, namespace: str) -> None:
        """A namespace in which all of ours is known. Raises Waiting."""
        state = self._namespaces.state(namespace)
        if self.of(namespace) is Sight.COMPLETE:
            return
        if state is NamespaceState.READY:
            raise self._not_ready(namespace, "is being looked at", passing=True)
        raise self._not_ready(namespace, state.value, passing=state is NamespaceState.UNKNOWN)

    async def require_place(self, namespace: str) -> None:
        """A namespace in which something can be made; it is made if need be. Raises Waiting.

        What lies in one that is forwarded no more is seen through, and nothing new is made there.
        """
        if not self._forwards(namespace):
            raise self._not_ready(namespace, NamespaceState.NOT_FORWARDED.value)
        try:
            await self._namespaces.require(namespace)
        except KubeError as error:
            names = Names(self._mapping.below(namespace) or "", namespace)
            what = "making the pod's namespace in the compute cluster"
            raise waiting(error, what=what, names=names) from error
        self.require(namespace)

    def _not_ready(self, namespace: str, why: str, *, passing: bool = False) -> Waiting:
        advice = "" if passing else "; ask the platform team to prepare it for this tenant"
        return Waiting(
            f'namespace "{namespace}" {why} (cluster "{self._cluster}"){advice}',
            reason="NamespaceNotReady",
            not_done=True,
            passing=passing,
        )

    def doubt(self, namespace: str, refused: Rejected | Waiting) -> None:
        """Look again at the namespace if a refusal says that it is not as it was."""
        if isinstance(refused, Waiting) and refused.reason in _NO_PLACE:
            self._namespaces.look_again(namespace)
