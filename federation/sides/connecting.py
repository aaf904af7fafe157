"""From an entry of `clusters` to the way to it, by its kind."""

import random
from contextlib import AbstractAsyncContextManager

from federation.config import AnyClusterConfig, EciClusterConfig
from federation.sides import kubernetes
from federation.sides.eci import side as eci
from federation.sides.side import Compute
from vnode.runtime.clock import Clock

__all__ = ["connect"]


def connect(
    cluster: AnyClusterConfig, *, name: str, user_agent: str, clock: Clock, rng: random.Random
) -> AbstractAsyncContextManager[Compute]:
    """Open the way to a compute cluster; nothing is asked of it yet. `name`: for errors.

    Raises:
        ConfigError: its credential cannot be used.
    """
    if isinstance(cluster, EciClusterConfig):
        return eci.connect(cluster, name=name, clock=clock)
    return kubernetes.connect(cluster, name=name, user_agent=user_agent, clock=clock, rng=rng)
