"""What a virtual node's kubelet API shows in TLS handshakes, and which clients it believes.

In: a key pair and the tenant's client CA. Out: one `ssl.SSLContext` for the life of the server,
whose certificate and client CA change with the next handshake when `install` or `trust_clients` is
called; the tasks of `vnode.node.serving.renewal` and `vnode.node.serving.requested` do. Owned by
the agent, one per virtual node.
"""

import asyncio
import os
import ssl
import weakref
from collections.abc import Callable

from vnode.node.serving.key_pair import CertificateError, KeyPair

__all__ = ["ServingCertificate"]


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
