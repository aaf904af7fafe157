"""One life of an agent in this process: `vnode/` over the backend of a place.

It can be killed at any write, to the tenant or through the seam: before it is sent, or when it was
carried out and not answered. The dead write nothing (`tests.fakes.crash`).
"""

from __future__ import annotations

import asyncio
import random
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any, TypeVar, cast

from tests.agents.pods import run_pods
from tests.fakes.crash import Crash, Moment
from vnode.backend import Sight
from vnode.kube.client import KubeClient
from vnode.pods.status.mirror import NodeSettings
from vnode.runtime.clock import SystemClock
from vnode.runtime.store import Store

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from tests.agents.pods import RunningBackend
    from tests.e2e.lifecycle.place import Place
    from vnode.backend import PodBackend
    from vnode.kube.config import Connection
    from vnode.kube.types import NodeName, Pod
    from vnode.pods.start_once import StartOnce

T = TypeVar("T")

ADDRESS = "192.0.2.7"
_SEAM = frozenset(
    {"apply", "ungate", "update", "delete", "put_tokens", "put_object", "drop_object"}
)
"""What writes, of `PodBackend`."""


class ShiftedClock(SystemClock):
    """The machine's clock, which tests can set forward."""

    def __init__(self) -> None:
        self.ahead = 0.0

    def monotonic(self) -> float:
        return super().monotonic() + self.ahead

    def time(self) -> float:
        return super().time() + self.ahead


class Death(Crash):
    """The writes of one agent, and the one at which it dies."""

    def __init__(self) -> None:
        super().__init__()
        self._call = ""
        self._heard = 0

    def ended_with(self, call: str, times: int) -> bool:
        """Whether it is dead, or has made such a call so often and waits for no answer."""
        made = sum(write == f"below {call}" for write in self.writes)
        return self.died.is_set() or (made >= times and self._heard == len(self.writes))

    def arm_on(self, call: str) -> None:
        """Die at the first `apply` when it was carried out, at an `ungate` before it is sent."""
        self._call = call
        self.arm(None, Moment.AFTER if call == "apply" else Moment.BEFORE)

    async def before(self, side: str, call: str, act: Callable[[], object]) -> int | None:
        if self._call and call == self._call:
            self._at = len(self.writes)
        return await super().before(side, call, act)

    async def after(self, number: int | None) -> None:
        await super().after(number)
        self._heard += number is not None


class _Client(KubeClient):
    """Of an agent that may die at a write."""

    crash: Death

    async def request(self, method: str, path: str, **options: Any) -> bytes:
        call = f"{'get' if method == 'GET' or '/events' in path else method.lower()} {path}"
        number = await self.crash.before("tenant", call, _nobody)
        return await _heard(super().request(method, path, **options), self.crash, number)


class _Seam:
    """A backend between the lines of which its user may die."""

    def __init__(self, backend: PodBackend, crash: Death) -> None:
        self._backend = backend
        self._crash = crash

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._backend, name)
        return self._dying(name, found) if name in _SEAM else found

    def _dying(self, name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        async def dying(*args: Any, **options: Any) -> Any:
            number = await self._crash.before("below", name, _nobody)
            return await _heard(call(*args, **options), self._crash, number)

        return dying


async def _heard(call: Awaitable[T], crash: Death, number: int | None) -> T:
    """Carry out a call; whoever dies at it does not hear the answer."""
    try:
        answer = await call
    except Exception:
        await crash.after(number)
        raise
    await crash.after(number)
    return answer


def _nobody() -> None:
    """Nothing of these tests lands after a death."""


class Agent:
    """Runs from `start` until `stop`."""

    def __init__(
        self,
        tenant: Connection,
        place: Place,
        *,
        node: NodeName,
        born: str,
        start_once: StartOnce,
        seed: int = 0,
    ) -> None:
        self.clock = ShiftedClock()
        self.crash = Death()
        self._tenant = tenant
        self._place = place
        self._node = NodeSettings(node, ADDRESS, flat_network=False)
        self._born = born
        self._start_once = start_once
        self._rng = random.Random(seed)
        self._running: asyncio.Task[None] | None = None
        self._pods: Store[Pod] = Store("tenant pods")
        self._backend: PodBackend | None = None

    def start(self) -> None:
        self._running = asyncio.create_task(self._run(), name="agent")

    @property
    def listed(self) -> bool:
        """Whether it has seen all pods of the tenant."""
        return self._pods.synced()

    def sees(self, namespace: str) -> bool:
        """Whether it knows all that is below for a tenant namespace."""
        return self._backend is not None and self._backend.sight(namespace) is Sight.COMPLETE

    @property
    def ended(self) -> bool:
        """Whether it ended by itself."""
        return self._running is not None and self._running.done()

    async def stop(self) -> None:
        """End it where it is; nothing is finished or tidied up below or above."""
        if self._running is None:
            return
        running, self._running = self._running, None
        if running.done():
            running.result()  # It ended by itself: that is an error.
            return
        self.crash.died.set()
        running.cancel()
        await asyncio.wait([running])

    async def _run(self) -> None:
        async with AsyncExitStack() as stack:
            client = await _Client.connect(self._tenant)
            await stack.enter_async_context(client)
            dying = cast("_Client", client)
            dying.crash = self.crash
            backend = await stack.enter_async_context(self._place.open(self.clock))
            self._backend = backend
            await run_pods(
                client,
                cast("RunningBackend", _Seam(backend, self.crash)),
                self._pods,
                node=self._node,
                born=lambda _name: self._born,
                clock=self.clock,
                rng=self._rng,
                start_once=self._start_once,
            )
