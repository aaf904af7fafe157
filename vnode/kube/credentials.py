"""Keeps one cluster's `Access` fresh.

Tokens and certificates in files change (projected service account tokens every hour), and so do
whole kubeconfigs (another CA, a renewed token); tokens of exec plugins end. `current` returns at
once and renews in the background when the access is old or its files say something else; `renew` is
called after a 401 and waits. A renewal that fails is logged and the old access kept: the API server
is the judge of whether it still works.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable

import structlog

from vnode.kube.config import FILE_MAX_AGE, Access, Connection, load, unchanged
from vnode.kube.errors import ConfigError

__all__ = ["Credentials"]

_log = structlog.get_logger(__name__)

_RETRY_AFTER = 10.0
"""Seconds between two renewals at least, whatever asks for them."""


class Credentials:
    """Owns the newest `Access` of one connection. Close it."""

    def __init__(
        self,
        connection: Connection,
        access: Access,
        *,
        monotonic: Callable[[], float] = time.monotonic,
        load: Callable[[Connection], Awaitable[Access]] = load,
        unchanged: Callable[[Connection, Access], Awaitable[bool]] = unchanged,
    ) -> None:
        self._connection = connection
        self._access = access
        self._monotonic = monotonic
        self._load = load
        self._unchanged = unchanged
        self._loaded_at = self._looked_at = monotonic()
        self._not_before = self._loaded_at
        self._renewal: asyncio.Task[None] | None = None

    def current(self) -> Access:
        """The newest access; starts a renewal if it has reached its age, or a look at its files."""
        now, max_age = self._monotonic(), self._access.max_age
        if max_age is not None and now - self._loaded_at >= max_age and now >= self._not_before:
            self._start()
        elif now - self._looked_at >= FILE_MAX_AGE:
            self._start(if_changed=True)
        return self._access

    async def renew(self, *, refused: Access) -> bool:
        """Load again after the server refused `refused`. True: there is another one to try."""
        # Shielded: one renewal serves everybody, whoever of them gives up.
        if self._access is refused and self._renewal is not None:
            await asyncio.shield(self._renewal)
        if self._access is refused and self._monotonic() >= self._not_before:
            await asyncio.shield(self._start())
        return self._access.authorization != refused.authorization or (
            self._access.tls_digest != refused.tls_digest
        )

    async def close(self) -> None:
        """Stop a renewal that is under way."""
        if self._renewal is not None:
            self._renewal.cancel()
            await asyncio.wait([self._renewal])

    def _start(self, *, if_changed: bool = False) -> asyncio.Task[None]:
        if self._renewal is None:
            self._looked_at = self._monotonic()
            if not if_changed:
                self._not_before = self._looked_at + _RETRY_AFTER
            name = f"renew credentials of {self._connection.name}"
            self._renewal = asyncio.create_task(self._renew(if_changed=if_changed), name=name)
        return self._renewal

    async def _renew(self, *, if_changed: bool) -> None:
        try:
            if if_changed and await self._unchanged(self._connection, self._access):
                return
            self._access = await self._load(self._connection)
            self._loaded_at = self._monotonic()
        except ConfigError as error:
            _log.warning("credentials not renewed", cluster=self._connection.name, error=str(error))
        finally:
            self._renewal = None
