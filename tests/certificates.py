"""Client certificates that trustme does not make: odd subjects, times, purposes and signers."""

import datetime
import ssl
import warnings
from dataclasses import dataclass
from pathlib import Path

import trustme
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID, ObjectIdentifier

__all__ = ["Issuer", "User", "make_client_certificate"]

_ATTRIBUTES = {
    "CN": NameOID.COMMON_NAME,
    "O": NameOID.ORGANIZATION_NAME,
    "OU": NameOID.ORGANIZATIONAL_UNIT_NAME,
}
_YEAR = datetime.timedelta(days=365)

Key = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey


@dataclass(frozen=True)
class User:
    """A certificate, what comes with it, and a key that may be the one it is for."""

    certificate: x509.Certificate
    key: bytes
    """PEM."""
    above: tuple[x509.Certificate, ...] = ()

    def write(self, folder: Path) -> tuple[Path, Path]:
        """Files of the chain and the key."""
        chain, key = folder / "user.crt", folder / "user.key"
        certificates = (self.certificate, *self.above)
        chain.write_bytes(b"".join(each.public_bytes(Encoding.PEM) for each in certificates))
        key.write_bytes(self.key)
        return chain, key

    def show(self, context: ssl.SSLContext, folder: Path) -> None:
        """Let the clients of `context` show it."""
        context.load_cert_chain(*self.write(folder))


@dataclass(frozen=True)
class Issuer:
    """Signs what it is told to; usually a CA."""

    name: x509.Name
    key: Key

    @classmethod
    def of(cls, ca: trustme.CA) -> "Issuer":
        """This CA itself."""
        key = load_pem_private_key(ca.private_key_pem.bytes(), None)
        assert isinstance(key, ec.EllipticCurvePrivateKey)
        return cls(x509.load_pem_x509_certificate(ca.cert_pem.bytes()).subject, key)

    def issue(
        self,
        *names: tuple[str, str],
        purpose: ObjectIdentifier | None = ExtendedKeyUsageOID.CLIENT_AUTH,
        age: datetime.timedelta = datetime.timedelta(days=1),
        life: datetime.timedelta = _YEAR,
        key: Key | None = None,
        is_ca: bool = False,
    ) -> User:
        """A certificate for `names`, which are pairs of CN, O or OU and a value."""
        key = key or ec.generate_private_key(ec.SECP256R1())
        begin = datetime.datetime.now(tz=datetime.UTC) - age
        builder = (
            x509.CertificateBuilder()
            .subject_name(_name(names))
            .issuer_name(self.name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(begin)
            .not_valid_after(begin + life)
            .add_extension(x509.BasicConstraints(ca=is_ca, path_length=None), critical=True)
        )
        if purpose is not None:
            builder = builder.add_extension(x509.ExtendedKeyUsage([purpose]), critical=False)
        pem = key.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption())
        return User(builder.sign(self.key, hashes.SHA256()), pem)

    def below(self, name: str, *, key: Key | None = None) -> tuple["Issuer", x509.Certificate]:
        """A CA of that name under this one."""
        key = key or ec.generate_private_key(ec.SECP256R1())
        made = self.issue(("CN", name), purpose=None, key=key, is_ca=True)
        return Issuer(made.certificate.subject, key), made.certificate


def make_client_certificate(*names: tuple[str, str]) -> x509.Certificate:
    """Of some CA, for these names."""
    issuer = Issuer(_name((("CN", "ca"),)), ec.generate_private_key(ec.SECP256R1()))
    return issuer.issue(*names).certificate


def _name(names: tuple[tuple[str, str], ...]) -> x509.Name:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the empty ones
        return x509.Name(
            [x509.NameAttribute(_ATTRIBUTES[kind], value, _validate=False) for kind, value in names]
        )
