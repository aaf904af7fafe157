"""What was last refused for want of stock or quota, and which pod asks for it again.

In: what pods ask to buy, and how that ended. Out: nothing for the one pod that goes on asking, and
Waiting for all others that want the same. If each asked, a thousand pods that wait would use up the
calls of those that could be made. Memory only; an entry goes when what it is about was bought.
"""

from dataclasses import dataclass

from federation.backends.eci.translate.purchase import Purchase
from vnode.backend import Waiting
from vnode.kube.types import UID, NodeName
from vnode.runtime.clock import Clock

__all__ = ["Shortages", "Wanted"]

Wanted = tuple[NodeName, Purchase]
"""What is bought, by the settings of a virtual node's pool."""

_GIVEN_UP = 90.0
"""Seconds after which a pod that asked last comes no more: its own tries are 72 apart at most."""


@dataclass(frozen=True, slots=True)
class _Refusal:
    pod: UID
    """Who asks again."""
    at: float
    """Monotonic seconds of its last try."""
    why: Waiting


class Shortages:
    """Of one account."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._refused: dict[Wanted, _Refusal] = {}

    def __len__(self) -> int:
        return len(self._refused)

    def require(self, wanted: Wanted, pod: UID) -> None:
        """Return unless another pod finds out whether this can be had; raises Waiting."""
        known = self._refused.get(wanted)
        if known is None or known.pod == pod:
            return
        if self._clock.monotonic() - known.at < _GIVEN_UP:
            raise Waiting(str(known.why), reason=known.why.reason, not_done=True)

    def tries(self, wanted: Wanted, pod: UID) -> None:
        """It asks now: if it was refused to others, on behalf of all."""
        known = self._refused.get(wanted)
        if known is not None:
            self._refused[wanted] = _Refusal(pod, self._clock.monotonic(), known.why)

    def refused(self, wanted: Wanted, pod: UID, why: Waiting) -> None:
        """There is none of it. Of those that asked at the same time one asks again."""
        known, now = self._refused.get(wanted), self._clock.monotonic()
        if known is None or known.pod == pod:
            self._refused[wanted] = _Refusal(pod, now, why)
        for each in [one for one, refusal in self._refused.items() if now - refusal.at > 3600]:
            del self._refused[each]  # Nobody has wanted that for an hour.

    def bought(self, wanted: Wanted) -> None:
        """There is some of it: all may ask."""
        self._refused.pop(wanted, None)
