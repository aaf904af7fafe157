"""Which of several replicas does the work: leader election by a Lease (coordination.k8s.io/v1).

Flow: `run` campaigns; while it holds the lease it runs `lead()` as a task and renews; when the
lease cannot be renewed in time, `lead` is cancelled *before* anybody else may take the lease.

Clocks of different machines are never compared, as in client-go: a candidate takes a lease when it
has seen no change of it for the lease's duration by its own monotonic clock. The holder counts from
before it sent its last successful renewal, so its time is over first:

    renewal sent ---- renew_deadline ---> lead is cancelled
        renewal seen by others ---------------- duration ------> may be taken

Errors of the API are logged and met by waiting. Owned by whoever awaits `run`.
"""

import asyncio
import contextlib
import math
import random
from collections.abc import Awaitable, Callable

import structlog
from msgspec import Struct

from vnode.kube.client import KubeClient
from vnode.kube.errors import Conflict, KubeError, NotFound
from vnode.kube.resources import LEASES
from vnode.kube.timestamps import rfc3339_micro
from vnode.kube.types import ObjectMeta
from vnode.runtime.clock import Clock

__all__ = ["HOLDER_ADDRESS", "RETRY_JITTER", "LeaseElector"]

_log = structlog.get_logger(__name__)

HOLDER_ADDRESS = "vnode.dev/holder-address"
"""Annotation of a Lease: identity of the holder, a space, and its address."""
RETRY_JITTER = 1.2
"""Attempts are up to so many times the retry period apart; as long must be before the deadline."""
_RELEASE_TIMEOUT = 2.0


class _LeaseSpec(Struct, frozen=True, rename="camel", omit_defaults=True):
    holder_identity: str | None = None
    lease_duration_seconds: int | None = None
    acquire_time: str | None = None
    renew_time: str | None = None
    lease_transitions: int | None = None


class _Lease(Struct, frozen=True, rename="camel"):
    metadata: ObjectMeta
    spec: _LeaseSpec = _LeaseSpec()


class LeaseElector:
    """A candidate for one lease. `identity` must differ between processes that run at once."""

    def __init__(
        self,
        client: KubeClient,
        *,
        namespace: str,
        name: str,
        identity: str,
        clock: Clock,
        rng: random.Random,
        duration: float = 15.0,
        renew_deadline: float = 10.0,
        retry_period: float = 2.0,
        address: str = "",
    ) -> None:
        """Stand for one lease; `address`: where the other candidates reach us while we hold it."""
        if not retry_period * RETRY_JITTER < renew_deadline < duration:
            raise ValueError(f"need retry_period * {RETRY_JITTER} < renew_deadline < duration")
        self._client = client
        self._namespace = namespace
        self._name = name
        self._identity = identity
        self._address = address
        self._clock = clock
        self._rng = rng
        self._duration = duration
        self._renew_deadline = renew_deadline
        self._retry_period = retry_period
        self._lease: _Lease | None = None
        """The lease as last seen."""
        self._seen_at = 0.0
        """When `_lease` was first seen with its present version."""
        self._valid_until: float | None = None
        """Until when we lead, by our monotonic clock; None: we do not."""
        self._log = _log.bind(cluster=client.name, lease=f"{namespace}/{name}", identity=identity)

    @property
    def is_leader(self) -> bool:
        """Whether we hold the lease and it cannot have been taken yet."""
        return self._valid_until is not None and self._clock.monotonic() < self._valid_until

    def may_write(self) -> bool:
        """The same as a function, for what asks again before each write."""
        return self.is_leader

    @property
    def holder(self) -> str:
        """Identity of the holder as last seen; empty: none."""
        return (self._lease.spec.holder_identity if self._lease else None) or ""

    def holder_address(self) -> str:
        """Where another candidate that holds the lease is reached, as last seen; empty: nobody."""
        if self._lease is None or self.holder in ("", self._identity):
            return ""
        note = self._lease.metadata.annotations.get(HOLDER_ADDRESS, "")
        identity, _, address = note.rpartition(" ")
        # A holder of an older version leaves the annotation of the one before.
        return address if identity == self.holder else ""

    async def run(self, lead: Callable[[], Awaitable[None]]) -> None:
        """Campaign for ever, and run `lead()` whenever and as long as we hold the lease.

        Returns only by cancellation, or with the exception that `lead` raised. Either way the
        lease is released first. If `lead` returns, the lease is released and campaigned for again.
        """
        while True:
            await self._acquire()
            try:
                await self._hold(lead)
            finally:
                self._valid_until = None
                await self._release()
            await self._pause()

    async def _acquire(self) -> None:
        told = ""
        while True:
            try:
                async with asyncio.timeout(self._renew_deadline):
                    if await self._try_acquire():
                        self._log.info("leading")
                        return
                if self.holder != told and (told := self.holder):
                    self._log.info("standing by", leader=told)
            except (KubeError, TimeoutError) as error:
                self._log.warning("cannot campaign", error=str(error) or "timed out")
            await self._pause()

    async def _try_acquire(self) -> bool:
        """One look at the lease, and an attempt to take it if it is free."""
        try:
            lease = await self._look()
        except NotFound:
            return await self._write(None)
        return self._is_free(lease) and await self._write(lease)

    def _is_free(self, lease: _Lease) -> bool:
        if lease.spec.holder_identity in (None, "", self._identity):
            return True
        duration = lease.spec.lease_duration_seconds or self._duration
        return self._clock.monotonic() >= self._seen_at + duration

    async def _hold(self, lead: Callable[[], Awaitable[None]]) -> None:
        """Lead and renew until the lease is lost or `lead` ends; `lead` is over afterwards."""
        leading = asyncio.ensure_future(_awaited(lead))
        leading.set_name(f"lead {self._name}")
        try:
            while self.is_leader:
                remaining = (self._valid_until or 0.0) - self._clock.monotonic()
                await asyncio.wait([leading], timeout=min(remaining, self._period()))
                if leading.done():
                    leading.result()
                    self._log.info("stopped leading by itself")
                    return
                await self._renew()
            self._log.warning("lease lost")
        finally:
            if not leading.done():
                await _stop(leading, patience=self._duration - self._renew_deadline)

    async def _renew(self) -> None:
        """One attempt to renew; ends `is_leader` if somebody else has the lease."""
        remaining = (self._valid_until or 0.0) - self._clock.monotonic()
        try:
            # Half of what is left: a call that hangs must leave time for another.
            async with asyncio.timeout(max(remaining / 2, 0.0)):
                if self._lease is not None and await self._write(self._lease):
                    return
                # Another version exists: a renewal of ours whose answer was lost, or a new holder.
                lease = await self._look()
                if lease.spec.holder_identity != self._identity:
                    self._valid_until = None
                else:
                    await self._write(lease)
        except NotFound:
            self._lease = None
            with contextlib.suppress(KubeError):
                await self._write(None)
        except (KubeError, TimeoutError) as error:
            self._log.warning("cannot renew", error=str(error) or "timed out")

    async def _write(self, lease: _Lease | None) -> bool:
        """Take or renew the lease if it is still as in `lease`; False: somebody was faster."""
        sent_at = self._clock.monotonic()
        now = rfc3339_micro(self._clock.time())
        ours = lease is not None and lease.spec.holder_identity == self._identity
        transitions = (lease.spec.lease_transitions or 0) if lease else 0
        spec = _LeaseSpec(
            holder_identity=self._identity,
            # Whole seconds in the API: never fewer than the holder reckons with.
            lease_duration_seconds=math.ceil(self._duration),
            acquire_time=(lease.spec.acquire_time if lease and ours else None) or now,
            renew_time=now,
            lease_transitions=transitions if ours or lease is None else transitions + 1,
        )
        try:
            written = await self._put(lease, spec)
        except (Conflict, NotFound):
            if lease is None:
                raise
            return False
        self._observe(written)
        self._valid_until = sent_at + self._renew_deadline
        return True

    async def _put(self, lease: _Lease | None, spec: _LeaseSpec) -> _Lease:
        if lease is None:
            metadata = {"name": self._name, "namespace": self._namespace, **self._note(spec)}
            body = {
                "apiVersion": LEASES.api_version,
                "kind": LEASES.kind,
                "metadata": metadata,
                "spec": spec,
            }
            return await self._client.create(
                LEASES, body, _Lease, namespace=self._namespace, session="lease"
            )
        # A merge patch keeps what others have put there; the resourceVersion is its precondition.
        version = {"resourceVersion": lease.metadata.resource_version, "uid": lease.metadata.uid}
        return await self._client.patch(
            LEASES,
            {"metadata": {**version, **self._note(spec)}, "spec": spec},
            _Lease,
            namespace=self._namespace,
            name=self._name,
            session="lease",
        )

    def _note(self, spec: _LeaseSpec) -> dict[str, dict[str, str | None]]:
        if not self._address:
            return {}
        note = f"{spec.holder_identity} {self._address}" if spec.holder_identity else None
        return {"annotations": {HOLDER_ADDRESS: note}}

    async def _release(self) -> None:
        """Give the lease up, if it is still ours, so that others need not wait for its end."""
        if self.holder != self._identity:
            return
        try:
            async with asyncio.timeout(_RELEASE_TIMEOUT):
                try:
                    await self._give_up()
                except Conflict:  # the answer to our last renewal was lost
                    await self._look()
                    await self._give_up()
            self._log.info("lease released")
        except (KubeError, TimeoutError) as error:
            self._log.warning("lease not released, it will expire", error=str(error))

    async def _give_up(self) -> None:
        if self._lease is None or self.holder != self._identity:
            return
        now = rfc3339_micro(self._clock.time())
        spec = _LeaseSpec(
            holder_identity="",
            lease_duration_seconds=1,
            acquire_time=now,
            renew_time=now,
            lease_transitions=self._lease.spec.lease_transitions,
        )
        self._observe(await self._put(self._lease, spec))

    async def _look(self) -> _Lease:
        lease = await self._client.get(
            LEASES, _Lease, namespace=self._namespace, name=self._name, session="lease"
        )
        self._observe(lease)
        return lease

    def _observe(self, lease: _Lease) -> None:
        version = lease.metadata.resource_version
        if self._lease is None or self._lease.metadata.resource_version != version:
            self._seen_at = self._clock.monotonic()
        self._lease = lease

    def _period(self) -> float:
        return self._retry_period * self._rng.uniform(1.0, RETRY_JITTER)

    async def _pause(self) -> None:
        await self._clock.sleep(self._period())


async def _awaited(lead: Callable[[], Awaitable[None]]) -> None:
    await lead()


async def _stop(leading: asyncio.Future[None], *, patience: float) -> None:
    """Cancel what leads and wait until it is over; its failure, if any, is logged.

    If it needs more than `patience` seconds that is reported, and still waited for: the lease must
    not be released while it runs.
    """
    leading.cancel()
    done, _ = await asyncio.wait([leading], timeout=patience)
    if not done:
        _log.error("what leads does not end", waited=patience)
        await asyncio.wait([leading])
    if not leading.cancelled() and (error := leading.exception()) is not None:
        _log.error("what leads failed while it was stopped", error=repr(error))
