"""Certificates, keys and kubeconfigs of one cluster.

In: a folder, names and addresses. Out: PEM files and kubeconfig files in that folder, keys
readable by the owner only. A cluster has its own CA, a second one for the front proxy, and a key
that signs ServiceAccount tokens, as https://kubernetes.io/docs/setup/best-practices/certificates/
lays them out. Certificates live as long as a test cluster may: one year.
"""

from __future__ import annotations

import ipaddress
import json
import os
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

_LIFE = timedelta(days=365)
_SKEW = timedelta(minutes=5)


@dataclass(frozen=True)
class Pair:
    """Paths of a certificate and its private key, both PEM."""

    cert: Path
    key: Path


class Authority:
    """A certificate authority whose files are `<name>.crt` and `<name>.key` in `folder`."""

    def __init__(self, folder: Path, name: str) -> None:
        self.folder = folder
        self.files = Pair(folder / f"{name}.crt", folder / f"{name}.key")
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._subject = _subject(name, ())
        builder = _builder(self._subject, self._subject, self._key.public_key())
        self._cert = (
            builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_key_usage(ca=True), critical=True)
            .add_extension(self._subject_key_id(), critical=False)
            .sign(self._key, hashes.SHA256())
        )
        write_private(self.files.key, _private_pem(self._key))
        self.files.cert.write_bytes(self._cert.public_bytes(serialization.Encoding.PEM))

    def issue(
        self,
        stem: str,
        common_name: str,
        *,
        groups: Iterable[str] = (),
        sans: Iterable[str] = (),
        folder: Path | None = None,
    ) -> Pair:
        """Signs a certificate for a client (user `common_name` in `groups`) or a server (`sans`).

        `sans` are DNS names and IP addresses; with any, the certificate also serves a server.
        """
        sans = list(sans)
        key = ec.generate_private_key(ec.SECP256R1())
        usages = [ExtendedKeyUsageOID.CLIENT_AUTH]
        if sans:
            usages.append(ExtendedKeyUsageOID.SERVER_AUTH)
        builder = (
            _builder(_subject(common_name, groups), self._subject, key.public_key())
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_key_usage(ca=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage(usages), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(
                    self._subject_key_id()
                ),
                critical=False,
            )
        )
        if sans:
            names = x509.SubjectAlternativeName([_general_name(san) for san in sans])
            builder = builder.add_extension(names, critical=False)
        cert = builder.sign(self._key, hashes.SHA256())
        where = folder or self.folder
        pair = Pair(where / f"{stem}.crt", where / f"{stem}.key")
        write_private(pair.key, _private_pem(key))
        pair.cert.write_bytes(cert.public_bytes(serialization.Encoding.PEM))
        return pair

    def _subject_key_id(self) -> x509.SubjectKeyIdentifier:
        return x509.SubjectKeyIdentifier.from_public_key(self._key.public_key())


def signing_key(folder: Path, stem: str) -> Pair:
    """The RSA key of ServiceAccount tokens: `.cert` of the pair is the bare public key."""
    key = rsa.generate_private_key(65537, 2048)
    pair = Pair(folder / f"{stem}.pub", folder / f"{stem}.key")
    write_private(pair.key, _private_pem(key))
    pair.cert.write_bytes(
        key.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )
    )
    return pair


def write_kubeconfig(
    path: Path, *, cluster: str, server: str, ca_file: Path, user: Mapping[str, str]
) -> Path:
    """Writes a kubeconfig (JSON is YAML too) with one context; `user` is its `users[0].user`."""
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": cluster,
        "clusters": [
            {"name": cluster, "cluster": {"server": server, "certificate-authority": str(ca_file)}}
        ],
        "users": [{"name": path.stem, "user": dict(user)}],
        "contexts": [{"name": cluster, "context": {"cluster": cluster, "user": path.stem}}],
    }
    write_private(path, json.dumps(config, indent=1).encode())
    return path


def client_user(pair: Pair) -> dict[str, str]:
    """The `user` of a kubeconfig that authenticates with a client certificate."""
    return {"client-certificate": str(pair.cert), "client-key": str(pair.key)}


def write_private(path: Path, data: bytes) -> None:
    """Writes a file that only its owner can read, from its first byte on."""
    path.unlink(missing_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(data)


def _subject(common_name: str, groups: Iterable[str]) -> x509.Name:
    organisations = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, group) for group in groups]
    return x509.Name([*organisations, x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _builder(
    subject: x509.Name, issuer: x509.Name, public_key: ec.EllipticCurvePublicKey
) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public_key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _SKEW)
        .not_valid_after(now + _LIFE)
    )


def _key_usage(*, ca: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=ca,
        crl_sign=ca,
        encipher_only=False,
        decipher_only=False,
    )


def _general_name(text: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(text))
    except ValueError:
        return x509.DNSName(text)


def _private_pem(key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
