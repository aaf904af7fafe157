"""The TLS identity of a virtual node's kubelet API, and which client certificates it trusts.

In: a key pair (self-signed from the first second, own files, or issued by the tenant's signer:
`vnode.node.requested_cert`) and the tenant's client CA. Out: one `ssl.SSLContext` for the life of
the server, whose certificate and client CA change with the next handshake when `install` or
`trust_clients` is called; the `keep` functions are tasks that do so when something changed. Owned
by the agent, one per virtual node. Broken files raise `CertificateError` at the start and are
reported and ignored later.

Certificates are shaped like those of the signer kubernetes.io/kubelet-serving: O=system:nodes,
CN=system:node:<name>, names and addresses as SANs.
"""

import asyncio
import datetime
import ipaddress
import os
import ssl
import weakref
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Never

import structlog
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from vnode.kube.errors import KubeError
from vnode.kube.types import NodeName
from vnode.runtime.clock import Clock

__all__ = [
    "CertificateError",
    "CertificateFiles",
    "KeyPair",
    "ServingCertificate",
    "general_name",
    "keep_client_ca",
    "keep_self_signed",
    "renewal_due",
    "self_signed",
]

_LIFE = datetime.timedelta(days=365)
_SKEW = datetime.timedelta(minutes=5)
"""How far the clocks of callers may be behind ours."""
_RENEW_AT = 0.8
"""Share of its life after which a self-signed certificate is replaced."""
_MAX_COMMON_NAME = 64
_MAX_SLEEP_SECONDS = 3600.0

log = structlog.get_logger(__name__)


class CertificateError(Exception):
    """A certificate, key or CA cannot be used: what is wrong with which."""


@dataclass(frozen=True, slots=True)
class KeyPair:
    """A certificate chain and its private key, both PEM; the key never appears in a repr."""

    certificate: bytes = field(repr=False)
    key: bytes = field(repr=False)

    def lifetime(self) -> tuple[float, float]:
        """Unix seconds at which the leaf certificate begins and ends. Raises CertificateError."""
        try:
            leaf = x509.load_pem_x509_certificates(self.certificate)[0]
        except (ValueError, IndexError) as error:
            raise CertificateError(f"the serving certificate cannot be read: {error}") from None
        return leaf.not_valid_before_utc.timestamp(), leaf.not_valid_after_utc.timestamp()


def self_signed(*, node: NodeName, addresses: Iterable[str], now: float) -> KeyPair:
    """A fresh key (EC P-256) with a certificate that it signs itself, valid for a year.

    `addresses` are IP addresses and DNS names at which the node is reached; `now` is in Unix
    seconds.
    """
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, "system:nodes"),
            # X.509 has room for 64 characters; callers look at the SANs, which hold it all.
            x509.NameAttribute(NameOID.COMMON_NAME, f"system:node:{node}"[:_MAX_COMMON_NAME]),
        ]
    )
    names = x509.SubjectAlternativeName(
        [general_name(text) for text in dict.fromkeys((node, *addresses))]
    )
    begin = datetime.datetime.fromtimestamp(now, tz=datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(begin - _SKEW)
        .not_valid_after(begin + _LIFE)
        .add_extension(names, critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .sign(key, hashes.SHA256())
    )
    return KeyPair(
        certificate=certificate.public_bytes(serialization.Encoding.PEM),
        key=key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        ),
    )


def general_name(text: str) -> x509.GeneralName:
    """An IP address or DNS name, as a certificate holds it."""
    try:
        return x509.IPAddress(ipaddress.ip_address(text))
    except ValueError:
        return x509.DNSName(text)


def renewal_due(pair: KeyPair) -> float:
    """Unix seconds from which a self-signed pair is to be replaced. Raises CertificateError."""
    begin, end = pair.lifetime()
    return begin + _RENEW_AT * (end - begin)


class ServingCertificate:
    """The certificate that a server shows now, and the client CA that it trusts now."""

    def __init__(self, pair: KeyPair, *, client_ca: bytes = b"") -> None:
        """Serve `pair`; `client_ca` is PEM, and while empty nobody is asked for one.

        Raises:
            CertificateError: one of them cannot be used.
        """
        self._pair = pair
        self._client_ca = client_ca
        self._current = _context(pair, client_ca)
        self._believing = weakref.WeakSet([self._current])
        """The contexts with the client CA of now; those of connections live as long as they."""
        # Key pair and CA change by different tasks, and each makes its context from both.
        self._changing = asyncio.Lock()
        self._front = _front(self._choose)
        self._ask_for_client_certificates()

    @property
    def context(self) -> ssl.SSLContext:
        """For the server; the same object for ever."""
        return self._front

    @property
    def pair(self) -> KeyPair:
        """The key pair that new handshakes get."""
        return self._pair

    @property
    def client_ca(self) -> bytes:
        """PEM of the CA whose client certificates new handshakes believe; empty: none."""
        return self._client_ca

    async def install(self, pair: KeyPair) -> None:
        """Show `pair` from the next handshake on; the old one stays if it cannot be used.

        Raises:
            CertificateError: it cannot be used.
        """
        async with self._changing:
            self._current = await asyncio.to_thread(_context, pair, self._client_ca)
            self._believing.add(self._current)
            self._pair = pair

    async def trust_clients(self, client_ca: bytes) -> None:
        """Believe client certificates of this CA (PEM) only, from the next handshake on.

        Raises:
            CertificateError: it cannot be used.
        """
        async with self._changing:
            self._current = await asyncio.to_thread(_context, self._pair, client_ca)
            self._believing = weakref.WeakSet([self._current])
            self._client_ca = client_ca
            self._ask_for_client_certificates()

    def believes(self, connection: ssl.SSLObject) -> bool:
        """Whether the client of `connection` was verified by the client CA of now.

        TLS looks at a client certificate once, and connections live on when the CA is replaced.
        """
        return connection.context in self._believing

    def _ask_for_client_certificates(self) -> None:
        """Ask, but insist on none: others come with a token. A foreign one ends the handshake."""
        self._front.verify_mode = ssl.CERT_OPTIONAL if self._client_ca else ssl.CERT_NONE

    def _choose(self, connection: ssl.SSLObject, _server_name: str, _front: ssl.SSLContext) -> None:
        connection.context = self._current


def _front(choose: Callable[[ssl.SSLObject, str, ssl.SSLContext], None]) -> ssl.SSLContext:
    """A context that has nothing itself and takes certificate and CA from another one.

    OpenSSL calls the server name callback in every handshake, also for clients that send no name.
    Sessions cannot be resumed, so a CA that is no longer trusted counts for every new connection;
    of those that exist, `ServingCertificate.believes` tells.
    """
    context = _bare_context()
    context.options |= ssl.OP_NO_TICKET
    context.num_tickets = 0
    context.sni_callback = choose
    return context


def _bare_context() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    # The client CA may be an intermediate one: any that is trusted ends the chain, as in Go.
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    context.set_alpn_protocols(["http/1.1"])
    return context


def _context(pair: KeyPair, client_ca: bytes) -> ssl.SSLContext:
    context = _bare_context()
    # ssl reads certificates from paths only; this file exists in memory and has no name.
    descriptor = os.memfd_create("serving-certificate", os.MFD_CLOEXEC)
    try:
        with open(descriptor, "wb", closefd=False) as file:
            file.write(pair.key.rstrip() + b"\n" + pair.certificate)
        context.load_cert_chain(f"/proc/self/fd/{descriptor}")
    except (ssl.SSLError, ValueError) as error:
        raise CertificateError(f"the serving certificate and key cannot be used: {error}") from None
    finally:
        os.close(descriptor)
    if client_ca:
        # Also here, since getpeercert() looks at the context in use.
        context.verify_mode = ssl.CERT_OPTIONAL
        try:
            context.load_verify_locations(cadata=client_ca.decode("ascii"))
        except (ssl.SSLError, ValueError) as error:
            raise CertificateError(f"the client CA cannot be used: {error}") from None
    return context


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
