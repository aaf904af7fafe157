"""The certificates API of a tenant in memory: requests, an administrator, a signer with its CA."""

import base64
import copy
import datetime
from collections.abc import Mapping, Sequence
from typing import TypeVar, cast

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID

from vnode.kube.client import KubeClient
from vnode.kube.errors import AlreadyExists, KubeError, NotFound
from vnode.kube.resources import CERTIFICATE_SIGNING_REQUESTS, Resource
from vnode.kube.types import JSON

T = TypeVar("T")
Body = dict[str, JSON]
DAY = 86400.0


class Authority:
    """A CA that signs requests."""

    def __init__(self) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name.from_rfc4514_string("CN=tenant-ca")

    def issue(
        self,
        request: bytes,
        *,
        begin: float,
        end: float,
        usages: Sequence[x509.ObjectIdentifier] = (ExtendedKeyUsageOID.SERVER_AUTH,),
        names: x509.ExtensionType | None = None,
    ) -> bytes:
        """PEM for a PKCS #10 request, valid between two times in Unix seconds."""
        asked = x509.load_pem_x509_csr(request)
        sans = asked.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        builder = (
            x509.CertificateBuilder()
            .subject_name(asked.subject)
            .issuer_name(self._name)
            .public_key(asked.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(datetime.datetime.fromtimestamp(begin, tz=datetime.UTC))
            .not_valid_after(datetime.datetime.fromtimestamp(end, tz=datetime.UTC))
            .add_extension(names or sans, critical=False)
        )
        if usages:
            builder = builder.add_extension(x509.ExtendedKeyUsage(list(usages)), critical=False)
        signed = builder.sign(self._key, hashes.SHA256())
        return signed.public_bytes(serialization.Encoding.PEM)


class CertificatesApi:
    """Creates, shows and lists CertificateSigningRequests; the rest is up to the test."""

    name = "tenant"
    user = "system:serviceaccount:vnode:agent"

    def __init__(self) -> None:
        self.clock_offset = 0.0
        self.requests: dict[str, Body] = {}
        self.calls: list[str] = []
        self.faults: dict[str, list[KubeError]] = {}
        """Errors of the next calls by verb."""
        self.lost: dict[str, list[KubeError]] = {}
        """The same, once the call was carried out."""
        self.authority = Authority()
        self._uids = 0

    @property
    def client(self) -> KubeClient:
        return cast("KubeClient", self)

    # --- what administrators, the signer and the pruner do --------------------------------------

    @property
    def newest(self) -> str:
        """Name of the request that was made last."""
        return list(self.requests)[-1]

    def requested(self, name: str) -> bytes:
        """The PKCS #10 request, PEM."""
        spec = cast("Mapping[str, str]", self.requests[name]["spec"])
        return base64.b64decode(spec["request"])

    def decide(self, name: str, kind: str, *, message: str = "") -> None:
        """Approve, deny or fail a request."""
        status = cast("Body", self.requests[name]["status"])
        condition: Body = {"type": kind, "status": "True", "reason": "Test", "message": message}
        status["conditions"] = [condition]

    def sign(self, name: str, certificate: bytes) -> None:
        """Publish a certificate."""
        status = cast("Body", self.requests[name]["status"])
        status["certificate"] = base64.b64encode(certificate).decode()

    def approve(self, name: str, *, now: float, life: float = 365 * DAY) -> bytes:
        """Approve and sign as the controller manager does: five minutes back-dated."""
        self.decide(name, "Approved")
        signed = self.authority.issue(self.requested(name), begin=now - 300, end=now + life)
        self.sign(name, signed)
        return signed

    def prune(self, name: str) -> None:
        """What the controller manager does with old requests."""
        del self.requests[name]

    # --- the client's verbs ---------------------------------------------------------------------

    async def create(
        self, resource: Resource, body: Body, kind: type[T], *, dry_run: bool = False
    ) -> T:
        self._called("dry run" if dry_run else "create", resource)
        name = str(cast("Body", body["metadata"])["name"])
        if name in self.requests:
            raise AlreadyExists("exists", code=409, reason="AlreadyExists")
        self._uids += 1
        made = copy.deepcopy(body)
        cast("Body", made["metadata"])["uid"] = f"uid-{self._uids}"
        cast("Body", made["spec"])["username"] = self.user
        if dry_run:
            return msgspec.json.decode(msgspec.json.encode(made), type=kind)
        self.requests[name] = {**made, "status": {}}
        self._lose("create")
        return self._shown(name, kind)

    async def get(self, resource: Resource, kind: type[T], *, name: str) -> T:
        self._called("get", resource)
        if name not in self.requests:
            raise NotFound(f"{name} not found", code=404, reason="NotFound")
        return self._shown(name, kind)

    async def request(
        self, method: str, path: str, *, query: Mapping[str, str], **_: object
    ) -> bytes:
        """LIST, with the label selector that is asked for."""
        self._called("list", CERTIFICATE_SIGNING_REQUESTS)
        assert (method, path) == ("GET", CERTIFICATE_SIGNING_REQUESTS.path())
        label, value = query["labelSelector"].split("=")
        items = [
            item
            for item in self.requests.values()
            if cast("Body", cast("Body", item["metadata"])["labels"]).get(label) == value
        ]
        return msgspec.json.encode({"metadata": {"resourceVersion": "1"}, "items": items})

    def _shown(self, name: str, kind: type[T]) -> T:
        return msgspec.json.decode(msgspec.json.encode(self.requests[name]), type=kind)

    def _called(self, verb: str, resource: Resource) -> None:
        assert resource is CERTIFICATE_SIGNING_REQUESTS
        self.calls.append(verb)
        if faults := self.faults.get(verb):
            raise faults.pop(0)

    def _lose(self, verb: str) -> None:
        if lost := self.lost.get(verb):
            raise lost.pop(0)
