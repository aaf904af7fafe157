"""The rules that are taken out of an agent, one at a time, to see that the verdict finds it.

python -m tests.eci.scale.broken no-budget run --config FILE
"""

from __future__ import annotations

import itertools
import os
import sys
from typing import TYPE_CHECKING, Any

from tests.measuring import broken

if TYPE_CHECKING:
    from tests.measuring.broken import Rules


def no_budget() -> None:
    """Calls go whenever somebody wants one, and what the service throws back slows nobody."""
    from federation.backends.eci.budget import Budget

    async def take(self: Any, action: str, *, patience: float) -> None:
        pass

    def throttled(self: Any, action: str) -> None:
        pass

    assert callable(Budget.take)
    assert callable(Budget.throttled)
    Budget.take = take  # type: ignore[method-assign]
    Budget.throttled = throttled  # type: ignore[method-assign]


def no_token() -> None:
    """Each create has a ClientToken of its own, and no list is asked first."""
    from federation.backends.eci.api import EciApi

    plain, numbers = EciApi.create, itertools.count()

    async def create(self: Any, group: Any, *, token: str) -> str:
        return await plain(self, group, token=f"{os.getpid()}-{next(numbers)}")

    EciApi.create = create  # type: ignore[method-assign]


def slow_polls() -> None:
    """States are asked for every 15 s."""
    from federation.backends.eci import observe

    assert observe._EVERY < 15.0
    observe._EVERY = 15.0


def no_delete() -> None:
    """A group whose deletion is asked for is taken for gone, and nobody tells the service."""
    from federation.backends.eci.api import EciApi
    from federation.backends.eci.errors import NotFound

    async def delete(self: Any, group: str) -> None:
        raise NotFound("the group is not there", code="ContainerGroup.NotFound")

    assert callable(EciApi.delete)
    EciApi.delete = delete  # type: ignore[method-assign]


RULES: Rules = {
    "no-budget": no_budget,
    "no-token": no_token,
    "slow-polls": slow_polls,
    "no-delete": no_delete,
}


if __name__ == "__main__":
    broken.main(RULES, sys.argv[1:])
