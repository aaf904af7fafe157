import asyncio
import datetime
import ipaddress
import ssl
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import cast

import pytest
import trustme
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

from vnode.kube.errors import Unreachable
from vnode.kube.types import NodeName
from vnode.node.serving_cert import (
    CertificateError,
    CertificateFiles,
    KeyPair,
    ServingCertificate,
    keep_client_ca,
    keep_self_signed,
    self_signed,
)

HOST = "127.0.0.1"
NODE = NodeName("virtual-1")
NOW = datetime.datetime.now(tz=datetime.UTC).timestamp()
DAY = 86400.0


class SteppingClock:
    """Every sleep takes no time and moves the clock; the given number of them ends the loop."""

    def __init__(self, *, sleeps: int, before: Callable[[int], None] | None = None) -> None:
        self.now = NOW
        self.left = sleeps
        self.before = before
        self.slept: list[float] = []

    def monotonic(self) -> float:
        return self.now

    def time(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        if len(self.slept) == self.left:
            raise asyncio.CancelledError
        if self.before is not None:
            await asyncio.to_thread(self.before, len(self.slept))
        self.slept.append(seconds)
        self.now += seconds


def issue(ca: trustme.CA, name: str = HOST) -> KeyPair:
    leaf = ca.issue_cert(name)
    return KeyPair(
        certificate=b"".join(blob.bytes() for blob in leaf.cert_chain_pems),
        key=leaf.private_key_pem.bytes(),
    )


def client_context(
    trusted: bytes, *, certificate: trustme.LeafCert | None = None
) -> ssl.SSLContext:
    context = ssl.create_default_context(cadata=trusted.decode())
    if certificate is not None:
        certificate.configure_cert(context)
    return context


@asynccontextmanager
async def serving(context: ssl.SSLContext) -> AsyncIterator[int]:
    """A server that tells each client who it is."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        peer = writer.get_extra_info("peercert") or {}
        names = [
            value for part in peer.get("subject", ()) for key, value in part if key == "commonName"
        ]
        writer.write(f"{names}\n".encode())
        writer.close()
        await asyncio.gather(writer.wait_closed(), return_exceptions=True)

    server = await asyncio.start_server(answer, HOST, 0, ssl=context)
    async with server:
        yield server.sockets[0].getsockname()[1]


async def meet(port: int, context: ssl.SSLContext) -> tuple[str, bytes]:
    """Who the server says we are, and the certificate that it showed."""
    reader, writer = await asyncio.open_connection(HOST, port, ssl=context)
    try:
        line = await reader.readline()
        if not line:
            raise ConnectionResetError
        shown = cast("ssl.SSLObject", writer.get_extra_info("ssl_object")).getpeercert(True)
        assert shown is not None
        return line.decode().strip(), shown
    finally:
        writer.close()
        await asyncio.gather(writer.wait_closed(), return_exceptions=True)


async def run_out(loop: Coroutine[object, object, object]) -> None:
    with pytest.raises(asyncio.CancelledError):
        await loop


def test_a_self_signed_certificate_has_the_shape_of_a_kubelets() -> None:
    pair = self_signed(node=NODE, addresses=["10.0.0.1", "fd00::1", "agent.example"], now=NOW)
    leaf = x509.load_pem_x509_certificate(pair.certificate)
    assert leaf.subject.rfc4514_string() == "CN=system:node:virtual-1,O=system:nodes"
    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["virtual-1", "agent.example"]
    assert names.get_values_for_type(x509.IPAddress) == [
        ipaddress.ip_address("10.0.0.1"),
        ipaddress.ip_address("fd00::1"),
    ]
    key = leaf.public_key()
    assert isinstance(key, ec.EllipticCurvePublicKey)
    assert key.curve.name == "secp256r1"
    begin, end = pair.lifetime()
    assert begin < NOW
    assert end == pytest.approx(NOW + 365 * DAY, abs=1)


def test_a_long_node_name_fits() -> None:
    pair = self_signed(node=NodeName("n" * 63 + ".x"), addresses=[], now=NOW)
    assert pair.lifetime()[1] > NOW


def test_a_key_never_appears_in_a_repr() -> None:
    assert "PRIVATE" not in repr(self_signed(node=NODE, addresses=[], now=NOW))


@pytest.mark.parametrize(
    "version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3], ids=["1.2", "1.3"]
)
async def test_a_client_by_address_meets_the_certificate(version: ssl.TLSVersion) -> None:
    pair = self_signed(node=NODE, addresses=[HOST], now=NOW)
    client = client_context(pair.certificate)
    client.minimum_version = client.maximum_version = version
    async with serving(ServingCertificate(pair).context) as port:
        assert (await meet(port, client))[0] == "[]"


async def test_a_new_certificate_is_shown_from_the_next_handshake_on() -> None:
    ca = trustme.CA()
    trusted = client_context(ca.cert_pem.bytes())
    certificate = ServingCertificate(issue(ca))
    context = certificate.context
    async with serving(context) as port:
        _, before = await meet(port, trusted)
        new = issue(ca)
        await certificate.install(new)
        _, after = await meet(port, trusted)
    assert certificate.context is context
    assert before != after == ssl.PEM_cert_to_DER_cert(new.certificate.decode())


async def test_clients_of_the_trusted_ca_are_known_by_name_and_others_may_come_without_one() -> (
    None
):
    ca, clients, foreign = trustme.CA(), trustme.CA(), trustme.CA()
    certificate = ServingCertificate(issue(ca), client_ca=clients.cert_pem.bytes())
    root = ca.cert_pem.bytes()
    known = clients.issue_cert("a@example.com", common_name="apiserver")
    unknown = foreign.issue_cert("b@example.com", common_name="apiserver")
    async with serving(certificate.context) as port:
        assert (await meet(port, client_context(root, certificate=known)))[0] == "['apiserver']"
        assert (await meet(port, client_context(root)))[0] == "[]"
        with pytest.raises(OSError):  # noqa: PT011 - the TLS alert or a reset, by version
            await meet(port, client_context(root, certificate=unknown))


async def test_an_intermediate_ca_can_be_the_one_that_clients_are_trusted_by() -> None:
    ca, intermediate = trustme.CA(), trustme.CA().create_child_ca()
    certificate = ServingCertificate(issue(ca), client_ca=intermediate.cert_pem.bytes())
    known = intermediate.issue_cert("a@example.com", common_name="apiserver")
    client = client_context(ca.cert_pem.bytes(), certificate=known)
    async with serving(certificate.context) as port:
        assert (await meet(port, client))[0] == "['apiserver']"


async def test_a_client_ca_that_was_replaced_is_no_longer_trusted() -> None:
    ca, old, new = trustme.CA(), trustme.CA(), trustme.CA()
    certificate = ServingCertificate(issue(ca), client_ca=old.cert_pem.bytes())
    root = ca.cert_pem.bytes()
    by_old = client_context(root, certificate=old.issue_cert("a@example.com", common_name="a"))
    by_new = client_context(root, certificate=new.issue_cert("a@example.com", common_name="a"))
    async with serving(certificate.context) as port:
        assert (await meet(port, by_old))[0] == "['a']"
        await certificate.trust_clients(new.cert_pem.bytes())
        assert (await meet(port, by_new))[0] == "['a']"
        with pytest.raises(OSError):  # noqa: PT011 - the TLS alert or a reset, by version
            await meet(port, by_old)


async def test_before_a_client_ca_is_known_certificates_are_not_asked_for() -> None:
    ca, clients = trustme.CA(), trustme.CA()
    certificate = ServingCertificate(issue(ca))
    known = clients.issue_cert("a@example.com", common_name="a")
    client = client_context(ca.cert_pem.bytes(), certificate=known)
    async with serving(certificate.context) as port:
        assert (await meet(port, client))[0] == "[]"
        await certificate.trust_clients(clients.cert_pem.bytes())
        assert (await meet(port, client))[0] == "['a']"


async def test_a_client_ca_that_is_rotated_is_trusted_whatever_happens_in_between() -> None:
    old, new = (trustme.CA().cert_pem.bytes() for _ in range(2))
    certificate = ServingCertificate(issue(trustme.CA()), client_ca=old)
    answers: list[bytes | Exception] = [old, Unreachable("away"), b"no certificate", new, new, new]
    trusted: list[bytes] = []

    async def read() -> bytes:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    clock = SteppingClock(sleeps=5, before=lambda _: trusted.append(certificate.client_ca))
    await run_out(keep_client_ca(certificate, read=read, clock=clock, period_seconds=60))
    assert trusted == [old, old, old, new, new]
    assert clock.slept == [60.0] * 5


async def test_a_client_ca_that_was_replaced_before_the_takeover_is_noticed_at_once() -> None:
    old, new = (trustme.CA().cert_pem.bytes() for _ in range(2))
    certificate = ServingCertificate(issue(trustme.CA()), client_ca=old)

    async def read() -> bytes:
        return new

    await run_out(keep_client_ca(certificate, read=read, clock=SteppingClock(sleeps=0)))
    assert certificate.client_ca == new


async def test_a_new_key_pair_and_a_new_client_ca_do_not_undo_each_other() -> None:
    ca, old, new = trustme.CA(), trustme.CA(), trustme.CA()
    certificate = ServingCertificate(issue(ca), client_ca=old.cert_pem.bytes())
    pair = issue(ca)
    await asyncio.gather(certificate.install(pair), certificate.trust_clients(new.cert_pem.bytes()))
    known = new.issue_cert("a@example.com", common_name="a")
    async with serving(certificate.context) as port:
        user, shown = await meet(port, client_context(ca.cert_pem.bytes(), certificate=known))
    assert user == "['a']"
    assert x509.load_der_x509_certificate(shown) == x509.load_pem_x509_certificate(pair.certificate)


async def test_what_cannot_be_used_leaves_everything_as_it_was() -> None:
    ca = trustme.CA()
    certificate = ServingCertificate(issue(ca))
    good = certificate.pair
    mixed = KeyPair(certificate=issue(ca).certificate, key=issue(ca).key)
    with pytest.raises(CertificateError, match="certificate and key"):
        await certificate.install(mixed)
    with pytest.raises(CertificateError, match="client CA"):
        await certificate.trust_clients(b"-----BEGIN CERTIFICATE-----\nx\n")
    assert certificate.pair is good
    async with serving(certificate.context) as port:
        await meet(port, client_context(ca.cert_pem.bytes()))


async def test_a_self_signed_certificate_is_renewed_before_it_ends() -> None:
    certificate = ServingCertificate(self_signed(node=NODE, addresses=[HOST], now=NOW))
    first = certificate.pair
    clock = SteppingClock(sleeps=int(0.81 * 365 * 24))
    await run_out(keep_self_signed(certificate, node=NODE, addresses=[HOST], clock=clock))
    assert certificate.pair != first
    assert certificate.pair.lifetime()[0] > first.lifetime()[0] + 0.79 * 365 * DAY
    assert max(clock.slept) <= 3600


async def test_files_are_installed_when_they_change_and_only_as_a_fitting_pair(
    tmp_path: Path,
) -> None:
    ca = trustme.CA()
    files = CertificateFiles(certificate=tmp_path / "tls.crt", key=tmp_path / "tls.key")
    first, second = issue(ca), issue(ca)
    files.certificate.write_bytes(first.certificate)
    files.key.write_bytes(first.key)
    certificate = ServingCertificate(await files.read())
    seen: list[KeyPair] = []

    def before(number: int) -> None:
        seen.append(certificate.pair)
        if number == 0:
            files.certificate.write_bytes(second.certificate)
        elif number == 2:
            files.key.write_bytes(second.key)
        elif number == 4:
            files.key.unlink()

    await run_out(files.keep(certificate, clock=SteppingClock(sleeps=8, before=before)))
    assert seen == [first] * 3 + [second] * 5


async def test_files_that_changed_before_the_takeover_are_installed_at_once(tmp_path: Path) -> None:
    files = CertificateFiles(certificate=tmp_path / "tls.crt", key=tmp_path / "tls.key")
    ca = trustme.CA()
    old, new = issue(ca), issue(ca)
    files.certificate.write_bytes(new.certificate)
    files.key.write_bytes(new.key)
    certificate = ServingCertificate(old)
    await run_out(files.keep(certificate, clock=SteppingClock(sleeps=0)))
    assert certificate.pair == new


async def test_files_that_are_missing_are_named(tmp_path: Path) -> None:
    files = CertificateFiles(certificate=tmp_path / "tls.crt", key=tmp_path / "tls.key")
    with pytest.raises(CertificateError, match=r"tls\.crt: No such file"):
        await files.read()
