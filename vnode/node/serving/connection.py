"""One TLS connection of the kubelet API, and what it proves about the client. OpenSSL by pyOpenSSL.

In: encrypted bytes of the client. Out: plain ones, and the client's certificate if OpenSSL verified
it. The standard library ends the handshake of whoever shows a certificate that cannot be verified;
a kubelet goes on and answers 401, or takes the bearer token that comes with the request (Go's
tls.RequestClientCert). So `note_verification` lets every handshake go on and keeps the result.

asyncio's transport owns a `ServerConnection` and uses it like an `ssl.SSLObject`, of which it has
the methods that asyncio and uvloop call. It never blocks, and its errors are those of `ssl`.
"""

import ssl
from collections.abc import Callable
from dataclasses import dataclass
from typing import ParamSpec, TypeVar, cast

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.bindings.openssl.binding import Binding
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from OpenSSL import SSL, crypto

__all__ = ["ServerConnection", "note_verification"]

P = ParamSpec("P")
T = TypeVar("T")

_LONGEST_HANDSHAKE = 48 << 10
"""Bytes of a client that has proved nothing yet; its certificates are kept as long as its
connection. Those of Kubernetes' signers have 1 to 6 KiB."""
_SIP = 4 << 10
"""Bytes that a handshake is given at a time; a request may come right behind it."""
_GULP = 32 << 10
"""Bytes to be decrypted at a time."""
_RECORD = 16 << 10
"""Bytes of content in the longest record of TLS; no call reads or writes more than one."""
_RECORD_AND_FRAME = _RECORD + 512
_LONGEST_KEY = 8192
"""Bits; verifying with a longer one takes too long, see CVE-2023-29409 for the same in Go."""
_LONGEST_EXPONENT = 32
"""Bits; everybody's have 17, Go allows 31. Up to a modulus of 3,072 bits OpenSSL allows any."""


@dataclass(slots=True)
class _Verification:
    """What OpenSSL said of the client's certificate; nothing if there was none."""

    passed: bool = False
    failed: bool = False
    """In any point, of any certificate of the chain."""


def note_verification(
    connection: SSL.Connection, certificate: crypto.X509, _error: int, depth: int, ok: int
) -> bool:
    """Keep what OpenSSL found and let the handshake go on: the callback of SSL_CTX_set_verify(3).

    OpenSSL calls it for whatever is wrong, and at the end once for each certificate of the chain,
    the client's own last. It is False, which ends the handshake, for keys with which nobody can
    verify quickly: OpenSSL looks at the signatures of a chain also when it has failed already.
    """
    verification = cast("_Verification", connection.get_app_data())
    if not ok:
        verification.failed = True
    elif depth == 0:
        verification.passed = True
    return _verifies_quickly(certificate)


def _verifies_quickly(certificate: crypto.X509) -> bool:
    try:
        key = certificate.get_pubkey().to_cryptography_key()
    except (ValueError, UnsupportedAlgorithm, crypto.Error):
        return False
    if isinstance(key, rsa.RSAPublicKey):
        exponent = key.public_numbers().e
        return key.key_size <= _LONGEST_KEY and exponent.bit_length() <= _LONGEST_EXPONENT
    return isinstance(key, ec.EllipticCurvePublicKey | Ed25519PublicKey)


class ServerConnection:
    """The server's side of a TLS connection; see the module."""

    def __init__(
        self, context: SSL.Context, incoming: ssl.MemoryBIO, outgoing: ssl.MemoryBIO
    ) -> None:
        """Read encrypted bytes from `incoming` and write them to `outgoing`."""
        self.context = context
        """Has the key pair and the client CA of this connection; its callback is ours."""
        self._incoming = incoming
        self._outgoing = outgoing
        self._verification = _Verification()
        self._established = False
        self._ending = False  # close_notify was sent
        self._greeted = 0  # bytes of the handshake so far
        self._exhausted = True
        """OpenSSL can do nothing more with what it was given."""
        self._connection = SSL.Connection(context)
        self._connection.set_app_data(self._verification)
        self._connection.set_accept_state()

    def do_handshake(self) -> None:
        """Go on with the handshake.

        Raises:
            ssl.SSLWantReadError: more is needed of the client.
            ssl.SSLError: it has failed.
        """
        try:
            self._run(self._connection.do_handshake)
        finally:
            if self._verification.failed:
                # What it found stays in the thread's error queue, by which OpenSSL before 4 tells
                # how the next call went, of whichever connection.
                Binding.lib.ERR_clear_error()
        self._established = True
        self._flush()

    def read(self, size: int, buffer: memoryview | None = None) -> bytes | int:
        """At most `size` bytes, or how many were put into `buffer`; none: the client said it ends.

        Raises:
            ssl.SSLWantReadError: there is nothing now.
            ssl.SSLError: the connection is broken.
        """
        size = min(size, _RECORD)
        try:
            if buffer is None:
                return self._run(self._connection.recv, size)
            return self._run(self._connection.recv_into, buffer, size)
        except SSL.ZeroReturnError:
            self._flush()
            return b"" if buffer is None else 0

    def write(self, data: bytes | bytearray | memoryview) -> int:
        """Encrypt all of it. Returns its length.

        Raises:
            ssl.SSLError: the connection is broken.
        """
        sent = 0
        with memoryview(data) as whole:
            while sent < len(whole):
                sent += self._run(self._connection.send, whole[sent : sent + _RECORD])
                # One by one, so that OpenSSL's own buffer stays small.
                self._outgoing.write(self._connection.bio_read(_RECORD_AND_FRAME))
        return sent

    def unwrap(self) -> None:
        """Say that nothing follows (close_notify), and wait for the client to say so.

        What it says meanwhile is for nobody. `ssl` takes it for an error, the connection is reset,
        and the client loses what is on its way to it: the end of a long output, for a ping.

        Raises:
            ssl.SSLWantReadError: it did not say so yet.
            ssl.SSLError: the connection is broken.
        """
        try:
            if not self._ending:
                self._run(self._connection.shutdown)
                self._ending = True
            while True:
                self._run(self._connection.recv, _RECORD)
        except SSL.ZeroReturnError:
            self._flush()

    def getpeercert(self) -> x509.Certificate | None:
        """The client's certificate if the client CA vouches for it, and its key is the client's."""
        verification = self._verification
        if not self._established or verification.failed or not verification.passed:
            return None
        try:
            return self._connection.get_peer_certificate(as_cryptography=True)
        except ValueError:  # OpenSSL reads what cryptography does not
            return None

    def pending(self) -> int:
        """How many bytes can be read now; not 0 if there may be some.

        uvloop reads no further at 0, and what OpenSSL holds undecrypted is in no count of anybody.
        """
        return 0 if self._exhausted else max(1, self._connection.pending())

    def cipher(self) -> tuple[str | None, str, int | None]:
        """Name, protocol and number of secret bits."""
        connection = self._connection
        version = connection.get_protocol_version_name()
        return connection.get_cipher_name(), version, connection.get_cipher_bits()

    def compression(self) -> None:
        """There is none."""

    def _run(self, step: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Do something that may need bytes of the client, and translate errors."""
        while True:
            try:
                return step(*args, **kwargs)
            except SSL.WantReadError:
                if not self._feed():
                    self._exhausted = True
                    self._flush()
                    raise ssl.SSLWantReadError from None
            except SSL.ZeroReturnError:
                raise
            except (SSL.Error, crypto.Error) as error:
                raise ssl.SSLError(f"TLS is broken: {error}") from None

    def _feed(self) -> bool:
        """Give OpenSSL more of what came in. Returns whether there is any."""
        if self._established:
            data = self._incoming.read(_GULP)
        else:
            data = self._incoming.read(_SIP)
            self._greeted += len(data)
            if self._greeted > _LONGEST_HANDSHAKE:
                raise ssl.SSLError("the client's handshake is too long")
        if data:
            self._exhausted = False
            self._connection.bio_write(data)
        return bool(data)

    def _flush(self) -> None:
        """Hand on what OpenSSL has to say by itself: handshakes, alerts, new keys."""
        try:
            while True:
                self._outgoing.write(self._connection.bio_read(_RECORD_AND_FRAME))
        except SSL.WantReadError:
            pass
