"""The product's client, connected to an emulator."""

import contextlib
import itertools
from collections.abc import AsyncIterator
from typing import Any

from federation.backends.eci.api import EciApi
from federation.backends.eci.budget import Budget
from federation.backends.eci.signature import AccessKey
from federation.backends.eci.transport import HttpTransport
from tests.eci.server import Emulator
from vnode.runtime.clock import Clock, SystemClock

KEY = AccessKey(id="LTAItest", secret="a-secret-of-an-access-key")
KEYS = {KEY.id: KEY.secret}


@contextlib.asynccontextmanager
async def connected(
    emulator: Emulator, *, key: AccessKey = KEY, clock: Clock | None = None
) -> AsyncIterator[EciApi]:
    """Yield a client of the emulator that goes by the emulator's clock, or by another."""
    async with client_of(emulator.url, key=key, clock=clock or emulator.clock) as api:
        yield api


@contextlib.asynccontextmanager
async def client_of(
    url: str, *, key: AccessKey = KEY, clock: Clock | None = None
) -> AsyncIterator[EciApi]:
    """Yield a client of an emulator in another process."""
    numbers = itertools.count()
    clock = clock or SystemClock()
    api = EciApi(
        HttpTransport(url),
        key=lambda: key,
        region="cn-beijing",
        budget=Budget(clock=clock),
        clock=clock,
        nonce=lambda: f"nonce-{next(numbers)}-{id(numbers)}",
    )
    try:
        yield api
    finally:
        await api.close()


def make_group(name: str = "web", **more: Any) -> dict[str, Any]:
    """The parameters of a small container group."""
    container = {"Name": "main", "Image": "registry.example.com/app:1", "Cpu": 1, "Memory": 2}
    return {"ContainerGroupName": name, "Container": [container], **more}
