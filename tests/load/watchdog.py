"""Asks every second whether a virtual node still serves.

In: a kubelet API, a good token, a pod whose log is known. Out: how long each answer took, and what
was wrong with those that were not as they should be. Two askers: /healthz directly, and `kubectl
logs` through the tenant's API server.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import aiohttp

from tests.load.victim import TLS
from vnode.kube.sockets import Sockets

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from tests.load.victim import Victim

_EVERY = 1.0
LONGEST = 10.0
"""Seconds for one answer, on a machine that the attack itself keeps busy."""


@dataclass
class Watch:
    """What one asker saw."""

    name: str
    seconds: list[float] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)


async def ask_healthz(victim: Victim, token: str, watch: Watch) -> None:
    """Until cancelled; each time on a connection of its own."""
    url = f"https://{victim.host}:{victim.port}/healthz"

    async def ask() -> str:
        headers = {"Authorization": f"Bearer {token}"}
        async with (
            aclosing(Sockets()) as sockets,
            aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(ssl=TLS, socket_factory=sockets.make)
            ) as http,
            http.get(url, headers=headers) as answer,
        ):
            return f"{answer.status} {await answer.text()}"

    await _repeat(ask, "200 ok", watch)


async def ask_logs(command: Sequence[str], expected: str, watch: Watch) -> None:
    """Until cancelled; with kubectl."""

    async def ask() -> str:
        process = await asyncio.create_subprocess_exec(
            *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
        )
        try:
            output, _ = await process.communicate()
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        return output.decode(errors="replace").strip()

    await _repeat(ask, expected, watch)


async def _repeat(ask: Callable[[], Awaitable[str]], expected: str, watch: Watch) -> None:
    while True:
        began = time.monotonic()
        try:
            async with asyncio.timeout(LONGEST):
                answer = await ask()
        except TimeoutError:
            watch.wrong.append(f"no answer in {LONGEST:g} s")
        except (aiohttp.ClientError, OSError) as error:
            watch.wrong.append(f"{type(error).__name__}: {error}")
        else:
            if answer == expected:
                watch.seconds.append(time.monotonic() - began)
            else:
                watch.wrong.append(answer[:300])
        await asyncio.sleep(max(0.0, began + _EVERY - time.monotonic()))
