"""What a virtual node's kubelet API shows in TLS handshakes, and which clients it believes.

In: a key pair and the tenant's client CA. Out: one TLS context for the life of the server, whose
certificate and client CA change with the next connection when `install` or `trust_clients` is
called; the tasks of `vnode.node.serving.renewal` and `vnode.node.serving.requested` do. Owned by
the agent, one per virtual node. No key is ever written to a file.

Clients are asked for a certificate, and need none: others come with a token. Who shows one that the
client CA does not vouch for counts as one who shows none (`vnode.node.serving.connection`).
"""

import asyncio
import ssl
import weakref
from collections.abc import Callable
from typing import Self, cast

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from OpenSSL import SSL, crypto

from vnode.node.serving.connection import ServerConnection, note_verification
from vnode.node.serving.key_pair import CertificateError, KeyPair

__all__ = ["ServingCertificate"]

_CIPHERS = (
    b"@SECLEVEL=2:ECDH+AESGCM:ECDH+CHACHA20:ECDH+AES:DHE+AES:!aNULL:!eNULL:!aDSS:!SHA1:!AESCCM"
)
"""Of TLS 1.2, as in Python's ssl; all have forward secrecy."""
_PROTOCOL = b"http/1.1"
_LONGEST_CHAIN = 3
"""CAs between a client's certificate and the one that is trusted; each costs a verification."""
_KEYS = (rsa.RSAPrivateKey, ec.EllipticCurvePrivateKey, ed25519.Ed25519PrivateKey)
_UNUSABLE = (SSL.Error, crypto.Error, ValueError, TypeError, UnsupportedAlgorithm)
"""What is raised for keys and certificates that cannot be read or do not fit."""


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
        self._front = _Front(lambda: self._current)

    @property
    def context(self) -> ssl.SSLContext:
        """The same object for ever. Good for servers of asyncio, and for nothing else."""
        return self._front

    @property
    def pair(self) -> KeyPair:
        """The key pair that new connections get."""
        return self._pair

    @property
    def client_ca(self) -> bytes:
        """PEM of the CA whose client certificates new connections believe; empty: none."""
        return self._client_ca

    async def install(self, pair: KeyPair) -> None:
        """Show `pair` from the next connection on; the old one stays if it cannot be used.

        Raises:
            CertificateError: it cannot be used.
        """
        async with self._changing:
            self._current = await asyncio.to_thread(_context, pair, self._client_ca)
            self._believing.add(self._current)
            self._pair = pair

    async def trust_clients(self, client_ca: bytes) -> None:
        """Believe client certificates of this CA (PEM) only, from the next connection on.

        Raises:
            CertificateError: it cannot be used.
        """
        async with self._changing:
            self._current = await asyncio.to_thread(_context, self._pair, client_ca)
            self._believing = weakref.WeakSet([self._current])
            self._client_ca = client_ca

    def believes(self, connection: object) -> bool:
        """Whether the client of `connection` was judged by the client CA of now.

        TLS looks at a client certificate once, and connections live on when the CA is replaced.
        """
        return isinstance(connection, ServerConnection) and connection.context in self._believing


class _Front(ssl.SSLContext):
    """What servers of asyncio and uvloop take for an `ssl.SSLContext`; they only call `wrap_bio`.

    It has no certificate, so nobody gets through its other methods. Every connection has the key
    pair and CA of its time. Sessions cannot be resumed, so a CA that is no longer trusted counts
    for every new connection; of those that exist, `ServingCertificate.believes` tells.
    """

    def __new__(cls, current: Callable[[], SSL.Context]) -> Self:
        self = super().__new__(cls, ssl.PROTOCOL_TLS_SERVER)
        self._current = current
        return self

    _current: Callable[[], SSL.Context]

    def wrap_bio(
        self,
        incoming: ssl.MemoryBIO,
        outgoing: ssl.MemoryBIO,
        server_side: bool = False,
        server_hostname: str | bytes | None = None,
        session: ssl.SSLSession | None = None,
    ) -> ssl.SSLObject:
        """The server's side of a new connection."""
        if not server_side:
            raise ValueError("this is for servers")
        connection = ServerConnection(self._current(), incoming, outgoing)
        return cast("ssl.SSLObject", connection)


def _context(pair: KeyPair, client_ca: bytes) -> SSL.Context:
    context = SSL.Context(SSL.TLS_SERVER_METHOD)
    context.set_min_proto_version(SSL.TLS1_2_VERSION)
    context.set_options(
        SSL.OP_NO_TICKET
        | SSL.OP_NO_RENEGOTIATION
        | SSL.OP_NO_COMPRESSION
        | SSL.OP_CIPHER_SERVER_PREFERENCE
    )
    # A resumed session would bring a verdict of another time.
    context.set_session_cache_mode(SSL.SESS_CACHE_OFF)
    context.set_mode(SSL.MODE_RELEASE_BUFFERS)
    context.set_cipher_list(_CIPHERS)
    # A client that offers nothing we know may try all the same.
    context.set_alpn_select_callback(
        lambda _, offered: _PROTOCOL if _PROTOCOL in offered else SSL.NO_OVERLAPPING_PROTOCOLS
    )
    try:
        leaf, *above = x509.load_pem_x509_certificates(pair.certificate)
        context.use_certificate(leaf)
        for certificate in above:
            context.add_extra_chain_cert(certificate)
        key = load_pem_private_key(pair.key, password=None)
        if not isinstance(key, _KEYS):
            raise TypeError("no client would take a key of this kind")
        context.use_privatekey(key)
        context.check_privatekey()
    except _UNUSABLE as error:
        raise CertificateError(f"the serving certificate and key cannot be used: {error}") from None
    if client_ca:
        try:
            _believe(context, client_ca)
        except _UNUSABLE as error:
            raise CertificateError(f"the client CA cannot be used: {error}") from None
    return context


def _believe(context: SSL.Context, client_ca: bytes) -> None:
    """Ask clients for a certificate, and verify it by this CA (PEM)."""
    trusted = context.get_cert_store()
    assert trusted is not None  # noqa: S101 - contexts come with one
    for certificate in x509.load_pem_x509_certificates(client_ca):
        trusted.add_cert(crypto.X509.from_cryptography(certificate))
    # The client CA may be an intermediate one: any that is trusted ends the chain, as in Go.
    trusted.set_flags(crypto.X509StoreFlags.PARTIAL_CHAIN)
    context.set_verify_depth(_LONGEST_CHAIN)
    context.set_verify(SSL.VERIFY_PEER, note_verification)
