"""Patience at the start with an API server that has not got its rules yet.

In: a first question to a cluster. Out: its answer. An API server that has just begun refuses
everybody (403) until it has read its roles, and has no kube-system (404) until it has made it; so
does one into which the manifests of deploy/ are being put. That is waited for, and said; what is
refused for longer is the caller's error, as is everything else.
"""

import random
from collections.abc import Awaitable, Callable
from typing import TypeVar

import structlog

from vnode.kube.errors import Forbidden, NotFound
from vnode.runtime.backoff import Backoff
from vnode.runtime.clock import Clock

__all__ = ["RIGHTS_SECONDS", "when_granted"]

T = TypeVar("T")

_LOG = structlog.get_logger(__name__)

RIGHTS_SECONDS = 30.0
"""How long rights are waited for."""


async def when_granted(
    ask: Callable[[], Awaitable[T]], *, of: str, clock: Clock, rng: random.Random
) -> T:
    """Ask until it is not refused; `of` is the cluster's name, for the log.

    Raises:
        Forbidden: it still is after `RIGHTS_SECONDS`.
        NotFound: the same.
        KubeError: whatever else went wrong, at once.
    """
    backoff, until = Backoff(0.5, 5.0, rng=rng), clock.monotonic() + RIGHTS_SECONDS
    while True:
        try:
            return await ask()
        except (Forbidden, NotFound) as refused:
            left = until - clock.monotonic()
            if left <= 0:
                raise
            _LOG.warning(
                "refused; asking again, as a cluster that has just begun refuses everybody",
                cluster=of,
                why=str(refused),
                gives_up_in=round(left),
            )
            await clock.sleep(min(left, backoff.next()))
