"""A certificate chain with its key, and the self-signed one that a node has from the first second.

Certificates are shaped like those of the signer kubernetes.io/kubelet-serving: O=system:nodes,
CN=system:node:<name>, names and addresses as SANs.
"""

import datetime
import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass, field

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from vnode.kube.types import NodeName

__all__ = ["CertificateError", "KeyPair", "general_name", "renewal_due", "self_signed"]

_LIFE = datetime.timedelta(days=365)
_SKEW = datetime.timedelta(minutes=5)
"""How far the clocks of callers may be behind ours."""
_RENEW_AT = 0.8
"""Share of its life after which a self-signed certificate is replaced."""
_MAX_COMMON_NAME = 64


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
