"""Credentials that a cluster's own keys vouch for: good ones, and a token whose time is over."""

from __future__ import annotations

import base64
import json
import time
from typing import TYPE_CHECKING

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.x509.oid import NameOID

from tests.e2e.user import until

if TYPE_CHECKING:
    from pathlib import Path

    from tests.clusters import Cluster

_HOUR = 3600


def expired(token: str, ca_file: Path) -> str:
    """The same ServiceAccount token, signed with the cluster's own key, but an hour over."""
    now = int(time.time())
    return resigned(token, ca_file, issued=now - 2 * _HOUR, ends=now - _HOUR)


def resigned(token: str, ca_file: Path, *, issued: int, ends: int) -> str:
    """The same ServiceAccount token, signed with the cluster's own key, of another time.

    API servers take a token until a minute after its end, since clocks differ.
    """
    path = ca_file.with_name("service-accounts.key")
    if not path.exists():
        pytest.skip("the signing key of a given cluster cannot be read")
    key = serialization.load_pem_private_key(path.read_bytes(), None)
    assert isinstance(key, rsa.RSAPrivateKey)
    head, body, signature = token.split(".")
    rule = padding.PKCS1v15(), hashes.SHA256()
    # It is the right key: only the time is wrong about the token that comes out.
    key.public_key().verify(_decoded(signature), f"{head}.{body}".encode(), *rule)
    claims = json.loads(_decoded(body))
    claims.update(iat=issued, nbf=issued, exp=ends)
    signed = f"{head}.{_base64url(json.dumps(claims).encode())}"
    return f"{signed}.{_base64url(key.sign(signed.encode(), *rule))}"


def client_certificate(cluster: Cluster, name: str, folder: Path) -> tuple[Path, Path]:
    """A certificate for the user `name` and its key, signed by the cluster on request."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    request = x509.CertificateSigningRequestBuilder().subject_name(subject)
    pem = request.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
    spec = {
        "request": base64.b64encode(pem).decode(),
        "signerName": "kubernetes.io/kube-apiserver-client",
        "usages": ["client auth"],
    }
    asked = {
        "apiVersion": "certificates.k8s.io/v1",
        "kind": "CertificateSigningRequest",
        "metadata": {"name": name},
        "spec": spec,
    }
    cluster.kubectl("create", "-f", "-", input=json.dumps(asked))
    try:
        cluster.kubectl("certificate", "approve", name)
        shown = ("get", "csr", name, "-o", "jsonpath={.status.certificate}")
        signed = until(lambda: cluster.kubectl(*shown), f"the certificate of {name} is signed")
    finally:
        cluster.kubectl("delete", "csr", name)
    cert_file, key_file = folder / f"{name}.crt", folder / f"{name}.key"
    cert_file.write_bytes(base64.b64decode(signed))
    key_file.touch(0o600)
    key_file.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return cert_file, key_file


def _decoded(part: str) -> bytes:
    return base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))


def _base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
