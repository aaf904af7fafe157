"""The seam to whoever knows how the files of claims come into container groups.

In: a tenant pod that is about to be made. Out: what each of its claims needs, or `Waiting` with the
reason. Nothing is made for a claim: all that it needs is a part of the group.
"""

from collections.abc import Mapping, Sequence
from typing import Protocol, TypeAlias

from federation.backends.eci.translate.claims import Brought
from federation.backends.eci.translate.spec import Resources
from vnode.kube.types import Pod

__all__ = ["ClaimSource", "Claims", "NoClaims"]

Claims: TypeAlias = Mapping[str, Brought]
"""What claims need, by the names of the pod's volumes."""


class ClaimSource(Protocol):
    """Knows the tenant's claims, and what the platform allows."""

    async def of(self, pod: Pod) -> Claims:
        """What the claims of a pod need now.

        Raises:
            Waiting: one cannot be had (yet); nothing was made.
        """
        ...

    def beside(self, pod: Pod) -> Sequence[Resources]:
        """What sidecars for the claims of a pod are to have, as far as that is known. No calls."""
        ...


class NoClaims:
    """Where pods have none: those with claims were refused before."""

    async def of(self, pod: Pod) -> Claims:
        """See `ClaimSource.of`."""
        return {}

    def beside(self, pod: Pod) -> Sequence[Resources]:
        """See `ClaimSource.beside`."""
        return ()
