"""A serving certificate asked of the tenant's signer, in the words of the certificates API. Pure.

In: a node's name and addresses, and later the CertificateSigningRequest as the API server shows it.
Out: a fresh key with the object to create for it, what became of that object, and whether what was
issued may be served. The shape is that of signer kubernetes.io/kubelet-serving, as kubelets ask
(KEP-267, https://kubernetes.io/docs/reference/access-authn-authz/certificate-signing-requests/).
Owned by `vnode.node.serving.requested`, which talks to the API server. The key never leaves the
process.
"""

import base64
import enum
import hashlib
import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import cast

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from vnode.kube.resources import CERTIFICATE_SIGNING_REQUESTS
from vnode.kube.types import JSON, APIObject, JSONObject, NodeName, ObjectMeta
from vnode.node.serving.key_pair import CertificateError, KeyPair, general_name

__all__ = [
    "LABEL_SELECTOR",
    "SIGNER",
    "Answer",
    "Asked",
    "Outcome",
    "SigningRequest",
    "answer_in",
    "check",
    "covers",
    "is_unanswered",
    "new_request",
]

SIGNER = "kubernetes.io/kubelet-serving"
LABEL_SELECTOR = "app.kubernetes.io/managed-by=vnode"
"""Finds the requests of agents among those of all nodes."""
_USAGES: list[JSON] = ["digital signature", "server auth"]
"""What the signer demands of a key that is not RSA; anything else is Failed."""
_MAX_COMMON_NAME = 64
"""X.509 has no room for more (RFC 5280, ub-common-name)."""
_SKEW_SECONDS = 300.0
_UNREADABLE = (
    ValueError,
    UnsupportedAlgorithm,
    x509.DuplicateExtension,
    x509.InvalidVersion,
    x509.UnsupportedGeneralNameType,
)
"""What cryptography raises for odd certificates, most of it only when a part is looked at."""
_DIGITS = 10
"""Of the key's fingerprint, in the request's name."""


class _Condition(APIObject, frozen=True):
    type: str
    reason: str = ""
    message: str = ""


class _Spec(APIObject, frozen=True):
    request: bytes = b""
    signer_name: str = ""
    username: str = ""
    """Who made it; the API server sets it and lets nobody change it."""


class _Status(APIObject, frozen=True):
    conditions: list[_Condition] | None = None
    certificate: bytes = b""


class SigningRequest(APIObject, frozen=True):
    """certificates.k8s.io/v1 CertificateSigningRequest, as far as we read it."""

    metadata: ObjectMeta
    spec: _Spec = _Spec()
    status: _Status = _Status()

    def __repr__(self) -> str:
        return f"SigningRequest({self.metadata.name}, uid={self.metadata.uid})"


@dataclass(frozen=True, slots=True)
class Asked:
    """One request: its key, and the addresses that the certificate is to hold."""

    name: str
    addresses: tuple[str, ...]
    request: bytes = field(repr=False)
    """PKCS #10, PEM."""
    key: bytes = field(repr=False)
    """Private key, PEM."""

    def body(self) -> JSONObject:
        """The object to create."""
        label, _, value = LABEL_SELECTOR.partition("=")
        return {
            "apiVersion": CERTIFICATE_SIGNING_REQUESTS.api_version,
            "kind": CERTIFICATE_SIGNING_REQUESTS.kind,
            "metadata": {"name": self.name, "labels": {label: value}},
            "spec": {
                "request": base64.b64encode(self.request).decode(),
                "signerName": SIGNER,
                "usages": _USAGES,
            },
        }

    def is_same(self, found: SigningRequest) -> bool:
        """Whether an object of that name is this request: our create whose answer was lost."""
        return found.spec.request == self.request and found.spec.signer_name == SIGNER


def new_request(node: NodeName, addresses: Iterable[str]) -> Asked:
    """A fresh key (EC P-256), and the request for a certificate of the node at these addresses.

    The request is named after node and key, so a create that is sent twice makes one object.

    Raises:
        CertificateError: the node's name does not fit into a certificate.
    """
    common_name = f"system:node:{node}"
    if len(common_name) > _MAX_COMMON_NAME:
        longest = _MAX_COMMON_NAME - len("system:node:")
        raise CertificateError(
            f"a certificate has room for node names of {longest} characters, {node} is longer:"
            " the virtual node stays with a self-signed one"
        )
    addresses = tuple(addresses)
    key = ec.generate_private_key(ec.SECP256R1())
    organization = x509.NameAttribute(NameOID.ORGANIZATION_NAME, "system:nodes")
    name = x509.NameAttribute(NameOID.COMMON_NAME, common_name)
    names = x509.SubjectAlternativeName([general_name(a) for a in dict.fromkeys(addresses)])
    request = (
        x509.CertificateSigningRequestBuilder()
        .subject_name(x509.Name([organization, name]))
        .add_extension(names, critical=False)
        .sign(key, hashes.SHA256())
    )
    public = hashlib.blake2b(_public(request), digest_size=_DIGITS // 2).hexdigest()
    return Asked(
        name=f"{node}-{public}",
        addresses=addresses,
        request=request.public_bytes(serialization.Encoding.PEM),
        key=key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        ),
    )


class Outcome(enum.Enum):
    """What became of a request."""

    WAITING = enum.auto()
    """Nobody decided yet, or the signer did not get to it."""
    ISSUED = enum.auto()
    REFUSED = enum.auto()


@dataclass(frozen=True, slots=True)
class Answer:
    """What the API server says about a request."""

    outcome: Outcome
    certificate: bytes = field(default=b"", repr=False)
    """PEM chain, when issued."""
    why: str = ""
    """When refused: who says so, and in which words."""


def answer_in(found: SigningRequest) -> Answer:
    """What became of a request. Denied and Failed are final, whatever else it says (client-go)."""
    conditions = {condition.type: condition for condition in found.status.conditions or ()}
    for kind in ("Denied", "Failed"):
        if (condition := conditions.get(kind)) is not None:
            words = ": ".join(filter(None, (condition.reason, condition.message)))
            return Answer(Outcome.REFUSED, why=f"{kind} ({words})" if words else kind)
    if "Approved" in conditions and found.status.certificate:
        return Answer(Outcome.ISSUED, certificate=found.status.certificate)
    return Answer(Outcome.WAITING)


def is_unanswered(found: SigningRequest, *, node: NodeName) -> bool:
    """Whether it is a request for that node that nobody has decided about."""
    stem, _, digits = found.metadata.name.rpartition("-")
    return stem == node and len(digits) == _DIGITS and not found.status.conditions


def check(pair: KeyPair, *, addresses: Iterable[str], now: float) -> None:
    """See that callers which verify can be content with `pair`; `now` is in Unix seconds.

    Raises:
        CertificateError: what is wrong: key, time, use or addresses.
    """
    try:
        _check(pair, addresses=addresses, now=now)
    except _UNREADABLE as error:
        raise CertificateError(f"the certificate that was issued cannot be read: {error}") from None


def _check(pair: KeyPair, *, addresses: Iterable[str], now: float) -> None:
    begin, end = pair.lifetime()
    leaf = _leaf(pair)
    private = serialization.load_pem_private_key(pair.key, None)
    if _public(leaf) != _encoded(cast("ec.EllipticCurvePrivateKey", private).public_key()):
        raise CertificateError("the certificate that was issued belongs to another key")
    if not begin - _SKEW_SECONDS <= now < end:
        raise CertificateError(
            f"the certificate that was issued is valid from {leaf.not_valid_before_utc:%F %T} to"
            f" {leaf.not_valid_after_utc:%F %T} UTC, which is not now"
        )
    if not _serves(leaf):
        raise CertificateError("the certificate that was issued is not for servers")
    if not covers(pair, addresses):
        raise CertificateError(
            f"the certificate that was issued does not hold {', '.join(addresses)}"
        )


def covers(pair: KeyPair, addresses: Iterable[str]) -> bool:
    """Whether the certificate names all of these addresses. Raises CertificateError."""
    try:
        names = _leaf(pair).extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return False
    held = {
        *names.get_values_for_type(x509.DNSName),
        *map(str, names.get_values_for_type(x509.IPAddress)),
    }
    return {_plain(address) for address in addresses} <= held


def _serves(leaf: x509.Certificate) -> bool:
    try:
        usage = leaf.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    except x509.ExtensionNotFound:
        return True  # RFC 5280, 4.2.1.12: any use
    return ExtendedKeyUsageOID.SERVER_AUTH in usage


def _leaf(pair: KeyPair) -> x509.Certificate:
    try:
        return x509.load_pem_x509_certificates(pair.certificate)[0]
    except (ValueError, IndexError) as error:
        raise CertificateError(f"the serving certificate cannot be read: {error}") from None


def _plain(address: str) -> str:
    """An IP address in its one normal form, as certificates compare."""
    try:
        return str(ipaddress.ip_address(address))
    except ValueError:
        return address


def _public(holder: x509.Certificate | x509.CertificateSigningRequest) -> bytes:
    return holder.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )


def _encoded(key: ec.EllipticCurvePublicKey) -> bytes:
    return key.public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
