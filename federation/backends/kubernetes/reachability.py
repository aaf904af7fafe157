"""Whether a compute cluster answers: asked on purpose, since a healthy cluster may be silent.

In: one cheap request every few seconds. Out: `reachable` and its changes, by the rules of
`vnode.runtime.circuit`, and what the version in the answer means for streams (`websockets`) and for
pods (`start_gates`). Only a good answer counts: the page of a load balancer, or a refusal of our
credential, is no cluster that pods can be sent to.
"""

from collections.abc import Callable
from typing import Never

import structlog

from federation.backends.kubernetes.server_version import (
    START_GATES_SINCE,
    WEBSOCKETS_SINCE,
    server_version,
)
from vnode.kube.client import KubeClient
from vnode.kube.errors import KubeError, Unauthorized
from vnode.runtime.circuit import Circuit
from vnode.runtime.clock import Clock

_LOG = structlog.get_logger(__name__)

_EVERY, _IN_DOUBT = 10.0, 3.0
"""Seconds between two questions; the second after a bad answer and while the link is lost."""
_TIMEOUT = 8.0
_JOIN = (
    "an administrator of the compute cluster makes a new one: vnode join --secret-file FILE, and "
    "kubectl apply --filename FILE in the tenant"
)


class Reachability:
    """Keeps asking one API server for its version."""

    def __init__(
        self,
        client: KubeClient,
        *,
        clock: Clock,
        returned: Callable[[], None] = lambda: None,
        changed: Callable[[], None] = lambda: None,
    ) -> None:
        """Nothing is asked yet.

        Args:
            client: of the cluster.
            clock: of the agent.
            returned: called at the first good answer after others.
            changed: called when `reachable` has changed, and when a lost cluster that answered
                now and then is silent again.
        """
        self._client = client
        self._clock = clock
        self._returned = returned
        self._changed = changed
        self._circuit = Circuit(clock.monotonic())
        self.error: KubeError | None = None
        """What the newest answer was instead of a good one."""
        self.websockets = False
        """Whether its streams take WebSocket, by the last good answer."""
        self.start_gates = True
        """Whether it has schedulingGates, by the last good answer that told its version."""

    @property
    def reachable(self) -> bool:
        """Whether the link to it holds; so it does until more is known."""
        return self._circuit.lost_since(self._clock.monotonic()) is None

    @property
    def refuses_us(self) -> bool:
        """Whether it answers, but refuses our credential."""
        return isinstance(self.error, Unauthorized)

    @property
    def known(self) -> bool:
        """Whether `reachable` rests on an answer, or on having waited for one in vain."""
        return self._circuit.answered or not self.reachable

    @property
    def silent_for(self) -> float | None:
        """Seconds of silence beyond the patience with it; None: it holds, or answered lately."""
        return self._circuit.silent_for(self._clock.monotonic())

    async def run(self) -> Never:
        """Ask until cancelled."""
        told, was_silent = self.reachable, False
        while True:
            await self._ask()
            changed, silent = self.reachable is not told, self.silent_for is not None
            if changed:
                told = self.reachable
                _LOG.warning("compute link", cluster=self._client.name, reachable=told)
            if changed or (silent and not was_silent):
                self._changed()
            was_silent = silent
            await self._clock.sleep(_EVERY if told and self.error is None else _IN_DOUBT)

    async def _ask(self) -> None:
        try:
            answer = await self._client.request("GET", "/version", timeout=_TIMEOUT)
        except KubeError as error:
            if type(self.error) is not type(error):
                mend = {"mend": _JOIN} if isinstance(error, Unauthorized) else {}
                name, why = self._client.name, str(error)
                _LOG.warning("compute does not answer", cluster=name, why=why, **mend)
            self.error = error
            self._circuit.bad(self._clock.monotonic())
            return
        back, self.error = self.error is not None, None
        self._circuit.good(self._clock.monotonic())
        version = server_version(answer)
        self.websockets = version is not None and version >= WEBSOCKETS_SINCE
        self.start_gates = version is None or version >= START_GATES_SINCE
        if back:
            _LOG.info("compute answers again", cluster=self._client.name)
            self._returned()
