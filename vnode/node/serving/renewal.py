"""Tasks that keep a serving certificate and its client CA up to date.

In: where the newest ones are to be had: our own key, files, the tenant. Out: changes of a
`ServingCertificate`. What cannot be used is logged and looked at again; the old one stays.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Never

import structlog

from vnode.kube.errors import KubeError
from vnode.kube.types import NodeName
from vnode.node.serving.key_pair import CertificateError, KeyPair, renewal_due, self_signed
from vnode.node.serving.tls import ServingCertificate
from vnode.runtime.clock import Clock

__all__ = ["CertificateFiles", "keep_client_ca", "keep_self_signed"]

_MAX_SLEEP_SECONDS = 3600.0

log = structlog.get_logger(__name__)


async def keep_self_signed(
    serving: ServingCertificate, *, node: NodeName, addresses: Iterable[str], clock: Clock
) -> Never:
    """Replace the self-signed certificate of `serving` whenever most of its life is over."""
    addresses = tuple(addresses)
    while True:
        remaining = renewal_due(serving.pair) - clock.time()
        if remaining > 0:
            await clock.sleep(min(remaining, _MAX_SLEEP_SECONDS))
            continue
        await serving.install(self_signed(node=node, addresses=addresses, now=clock.time()))
        log.info("The self-signed serving certificate was renewed", node=node)


async def keep_client_ca(
    serving: ServingCertificate,
    *,
    read: Callable[[], Awaitable[bytes]],
    clock: Clock,
    period_seconds: float = 300.0,
) -> Never:
    """Trust the client CA that `read` gives (PEM), looked at now and every `period_seconds`.

    Now, since after a takeover what is trusted is as old as the start of this replica.
    The tenant's administrators may rotate it, after which its API server comes with a certificate
    of the new one. A KubeError of `read`, and what is no CA, is logged and looked at again next
    time; the old CA stays until then.
    """
    while True:
        try:
            client_ca = await read()
            if client_ca != serving.client_ca:
                await serving.trust_clients(client_ca)
                log.info("Another client CA is trusted")
        except (KubeError, CertificateError) as error:
            log.warning("The client CA cannot be renewed", error=str(error))
        await clock.sleep(period_seconds)


@dataclass(frozen=True, slots=True)
class CertificateFiles:
    """A certificate chain and key that somebody else (cert-manager, a Secret) keeps in files."""

    certificate: Path
    key: Path

    async def read(self) -> KeyPair:
        """The key pair as it is on disk now. Raises CertificateError."""
        return await asyncio.to_thread(self._read)

    async def keep(
        self, serving: ServingCertificate, *, clock: Clock, period_seconds: float = 30.0
    ) -> Never:
        """Install the files into `serving` whenever their content changes.

        What cannot be used is logged once and ignored until it changes again: certificate and key
        are two files, so between two writes they may not fit.
        """
        tried: KeyPair | None = None
        while True:
            try:
                pair = await self.read()
                if pair not in (serving.pair, tried):
                    tried = pair
                    await serving.install(pair)
                    log.info("A new serving certificate is in use", file=str(self.certificate))
            except CertificateError as error:
                log.warning("The serving certificate cannot be renewed", error=str(error))
            await clock.sleep(period_seconds)

    def _read(self) -> KeyPair:
        try:
            return KeyPair(certificate=self.certificate.read_bytes(), key=self.key.read_bytes())
        except OSError as error:
            raise CertificateError(f"{error.filename}: {error.strerror}") from None
