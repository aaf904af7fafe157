"""Whether a compute cluster answers: asked on purpose, since a healthy cluster may be silent.

In: one cheap request every few seconds. Out: `reachable`, and `websockets`, what the version in the
answer means for streams. Only a good answer counts: the page of a load balancer, or a refusal of
our credential, is no cluster that pods can be sent to.
"""

import re
from collections.abc import Callable
from typing import Never

import msgspec
import structlog

from vnode.kube.client import KubeClient
from vnode.kube.errors import KubeError
from vnode.runtime.clock import Clock

_LOG = structlog.get_logger(__name__)

_EVERY = 10.0
_TIMEOUT = 8.0
_PATIENCE = 40.0
"""Seconds without a good answer after which the cluster counts as unreachable, as for nodes."""
_WEBSOCKETS_SINCE = (1, 31)
"""The first version that takes kubectl's WebSocket protocols for port-forward too (KEP-4006)."""
_VERSION = re.compile(r"v?([0-9]+)\.([0-9]+)")


class _Answer(msgspec.Struct):
    git_version: str = msgspec.field(default="", name="gitVersion")


class Reachability:
    """Keeps asking one API server for its version."""

    def __init__(
        self, client: KubeClient, *, clock: Clock, returned: Callable[[], None] = lambda: None
    ) -> None:
        """Nothing is asked yet; `returned` is called when the cluster answers again."""
        self._client = client
        self._clock = clock
        self._returned = returned
        # Before the first answer nothing is known: patience begins to run now.
        self._answered_at = clock.monotonic()
        self.error: KubeError | None = None
        """What the newest answer was instead of a good one."""
        self.websockets = False
        """Whether its streams take WebSocket, by the last good answer."""

    @property
    def reachable(self) -> bool:
        """Whether there was a good answer lately."""
        return self._clock.monotonic() - self._answered_at < _PATIENCE

    async def run(self) -> Never:
        """Ask until cancelled."""
        while True:
            try:
                answer = await self._client.request("GET", "/version", timeout=_TIMEOUT)
            except KubeError as error:
                if self.error is None:
                    _LOG.warning(
                        "compute does not answer", cluster=self._client.name, why=str(error)
                    )
                self.error = error
            else:
                back = self.error is not None
                self._answered_at, self.error = self._clock.monotonic(), None
                self.websockets = _takes_websockets(answer)
                if back:
                    _LOG.info("compute answers again", cluster=self._client.name)
                    self._returned()
            await self._clock.sleep(_EVERY)


def _takes_websockets(answer: bytes) -> bool:
    try:
        found = _VERSION.match(msgspec.json.decode(answer, type=_Answer).git_version)
    except msgspec.DecodeError:
        return False
    return found is not None and (int(found[1]), int(found[2])) >= _WEBSOCKETS_SINCE
