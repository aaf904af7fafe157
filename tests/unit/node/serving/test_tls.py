import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import cast

import pytest
import trustme
from cryptography import x509
from cryptography.x509.oid import NameOID

from tests.unit.node.serving.builders import HOST, NODE, NOW, issue
from vnode.node.serving.key_pair import CertificateError, KeyPair, self_signed
from vnode.node.serving.tls import ServingCertificate


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
        peer = writer.get_extra_info("peercert")
        names = peer.subject.get_attributes_for_oid(NameOID.COMMON_NAME) if peer else []
        writer.write(f"{[name.value for name in names]}\n".encode())
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


@pytest.mark.parametrize(
    "version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3], ids=["1.2", "1.3"]
)
async def test_a_client_by_address_meets_the_certificate(version: ssl.TLSVersion) -> None:
    pair = self_signed(node=NODE, addresses=[HOST], now=NOW)
    client = client_context(pair.certificate)
    client.minimum_version = client.maximum_version = version
    async with serving(ServingCertificate(pair).context) as port:
        assert (await meet(port, client))[0] == "[]"


async def test_a_new_certificate_is_shown_from_the_next_connection_on() -> None:
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
        assert (await meet(port, client_context(root, certificate=unknown)))[0] == "[]"


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
        assert (await meet(port, by_old))[0] == "[]"


async def test_before_a_client_ca_is_known_certificates_are_not_asked_for() -> None:
    ca, clients = trustme.CA(), trustme.CA()
    certificate = ServingCertificate(issue(ca))
    known = clients.issue_cert("a@example.com", common_name="a")
    client = client_context(ca.cert_pem.bytes(), certificate=known)
    async with serving(certificate.context) as port:
        assert (await meet(port, client))[0] == "[]"
        await certificate.trust_clients(clients.cert_pem.bytes())
        assert (await meet(port, client))[0] == "['a']"


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
