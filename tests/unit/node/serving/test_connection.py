import asyncio
import datetime
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import cast

import pytest
import trustme
from cryptography import x509
from cryptography.hazmat.bindings.openssl.binding import Binding
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from OpenSSL import SSL

from tests.certificates import Issuer, User
from tests.unit.node.serving.builders import HOST, issue
from vnode.node.serving.connection import ServerConnection
from vnode.node.serving.tls import ServingCertificate

SERVER_CA, CLIENT_CA = trustme.CA(), trustme.CA()
TRUSTED, FOREIGN = Issuer.of(CLIENT_CA), Issuer.of(trustme.CA())
DAY = datetime.timedelta(days=1)
EPHEMERAL = ec.generate_private_key(ec.SECP256R1())

both_versions = pytest.mark.parametrize(
    "version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3], ids=["1.2", "1.3"]
)


class Server:
    """Says who the client is, then whatever the client says."""

    def __init__(self) -> None:
        self.context = ServingCertificate(
            issue(SERVER_CA), client_ca=CLIENT_CA.cert_pem.bytes()
        ).context
        self.port = 0
        self.heard_the_end = asyncio.Event()

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        certificate = writer.get_extra_info("peercert")
        assert isinstance(writer.get_extra_info("ssl_object"), ServerConnection)
        writer.write(f"{_name_in(certificate)}\n".encode())
        while data := await reader.read(1 << 16):
            writer.write(data)
            await writer.drain()
        self.heard_the_end.set()
        writer.close()
        await asyncio.gather(writer.wait_closed(), return_exceptions=True)


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    made = Server()
    async with await asyncio.start_server(made.answer, HOST, 0, ssl=made.context) as listener:
        made.port = listener.sockets[0].getsockname()[1]
        yield made


def _name_in(certificate: x509.Certificate | None) -> str:
    if certificate is None:
        return "nobody"
    return str(certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)[0].value)


def client(version: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3) -> ssl.SSLContext:
    context = ssl.create_default_context(cadata=SERVER_CA.cert_pem.bytes().decode())
    context.minimum_version = context.maximum_version = version
    return context


@asynccontextmanager
async def met(
    server: Server, context: ssl.SSLContext
) -> AsyncIterator[tuple[str, asyncio.StreamReader, asyncio.StreamWriter]]:
    """A connection, and who the server says the client is."""
    reader, writer = await asyncio.open_connection(HOST, server.port, ssl=context)
    try:
        line = await reader.readline()
        if not line:
            raise ConnectionResetError
        yield line.decode().strip(), reader, writer
    finally:
        writer.close()
        await asyncio.gather(writer.wait_closed(), return_exceptions=True)


async def name_of(
    user: User, server: Server, folder: Path, version: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3
) -> str:
    """Who the server says the client is."""
    context = client(version)
    user.show(context, folder)
    async with met(server, context) as (name, _, _):
        return name


async def assert_refused(user: User, server: Server, folder: Path) -> None:
    """TLS fails for this user, and the server serves others."""
    for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
        context = client(version)
        user.show(context, folder)
        with pytest.raises(OSError):  # noqa: PT011 - an alert or a reset, by version
            async with met(server, context):
                pass
    assert await name_of(TRUSTED.issue(("CN", "apiserver")), server, folder) == "apiserver"


@both_versions
async def test_who_the_client_ca_vouches_for_is_known(
    server: Server, tmp_path: Path, version: ssl.TLSVersion
) -> None:
    good = TRUSTED.issue(("CN", "apiserver"))
    assert await name_of(good, server, tmp_path, version) == "apiserver"
    any_purpose = TRUSTED.issue(("CN", "apiserver"), purpose=None)
    assert await name_of(any_purpose, server, tmp_path, version) == "apiserver"


def _in_the_name_of_the_client_ca() -> User:
    return Issuer(TRUSTED.name, EPHEMERAL).issue(("CN", "x"))


def _below_a_client() -> User:
    key = ec.generate_private_key(ec.SECP256R1())
    client = TRUSTED.issue(("CN", "client"), key=key)
    made = Issuer(client.certificate.subject, key).issue(("CN", "x"))
    return replace(made, above=(client.certificate,))


def _of_itself() -> User:
    made = Issuer(TRUSTED.name, EPHEMERAL).below("x", key=EPHEMERAL)[0]
    return made.issue(("CN", "x"), key=EPHEMERAL)


def _with_the_client_ca_above() -> User:
    ca = x509.load_pem_x509_certificate(CLIENT_CA.cert_pem.bytes())
    return replace(FOREIGN.issue(("CN", "x")), above=(ca,))


@both_versions
@pytest.mark.parametrize(
    "user",
    [
        FOREIGN.issue(("CN", "x")),
        TRUSTED.issue(("CN", "x"), age=3 * DAY, life=DAY),
        TRUSTED.issue(("CN", "x"), age=-DAY),
        TRUSTED.issue(("CN", "x"), purpose=ExtendedKeyUsageOID.SERVER_AUTH),
        _in_the_name_of_the_client_ca(),
        _below_a_client(),
        _of_itself(),
        _with_the_client_ca_above(),
    ],
    ids=[
        "foreign",
        "expired",
        "of tomorrow",
        "for servers",
        "forged",
        "below a client",
        "self-signed",
        "with a borrowed CA",
    ],
)
async def test_anybody_else_gets_through_tls_and_is_nobody(
    server: Server, tmp_path: Path, version: ssl.TLSVersion, user: User
) -> None:
    assert await name_of(user, server, tmp_path, version) == "nobody"


@both_versions
async def test_who_shows_no_certificate_is_nobody(server: Server, version: ssl.TLSVersion) -> None:
    async with met(server, client(version)) as (name, _, _):
        assert name == "nobody"


@pytest.mark.parametrize("issuer", [TRUSTED, FOREIGN], ids=["trusted", "foreign"])
async def test_the_certificate_of_somebody_else_ends_the_handshake(
    server: Server, tmp_path: Path, issuer: Issuer
) -> None:
    await assert_refused(_stolen(issuer.issue(("CN", "apiserver"))), server, tmp_path)


@both_versions
@pytest.mark.parametrize(
    ("user", "name"),
    [
        (TRUSTED.issue(("CN", "apiserver")), "apiserver"),
        (FOREIGN.issue(("CN", "apiserver")), "nobody"),
        (_in_the_name_of_the_client_ca(), "nobody"),
    ],
    ids=["good", "foreign", "forged"],
)
def test_it_does_not_matter_in_which_pieces_a_handshake_comes(
    tmp_path: Path, version: ssl.TLSVersion, user: User, name: str
) -> None:
    context = client(version)
    user.show(context, tmp_path)
    link = Link(context)
    for _ in range(2):
        link.ask()
        while crumb := link.sent.read(1):
            assert link.served.getpeercert() is None, "nothing is proved before the end"
            link.serve(crumb)
    assert _name_in(cast("x509.Certificate | None", link.served.getpeercert())) == name


@both_versions
def test_reading_as_long_as_something_pends_finds_everything(version: ssl.TLSVersion) -> None:
    """As uvloop does it."""
    link = Link(client(version))
    for _ in range(2):
        link.ask()
        link.serve(link.sent.read())
    link.ask()
    said = bytes(range(250)) * 400
    link.asking.write(said)
    link.to_server.write(link.sent.read())
    heard = b""
    with suppress(ssl.SSLWantReadError):
        while link.to_server.pending or link.served.pending():
            heard += link.served.read(1 << 18)
    assert (heard, link.served.pending()) == (said, 0)


@both_versions
def test_a_client_may_go_on_talking_until_it_hears_the_end(version: ssl.TLSVersion) -> None:
    """Or it would lose what is on its way to it."""
    link = Link(client(version))
    for _ in range(2):
        link.ask()
        link.serve(link.sent.read())
    link.ask()
    link.served.write(b"the end")
    for said in (b"ping", b"ping" * 20_000):
        with pytest.raises(ssl.SSLWantReadError):
            link.served.unwrap()
        link.asking.write(said)
        link.to_server.write(link.sent.read())
    link.ask()
    assert link.asking.read() == b"the end"
    assert link.asking.read() == b"", "it hears that nothing follows"
    link.asking.unwrap()
    link.to_server.write(link.sent.read())
    link.served.unwrap()


class Link:
    """A client and a server that hear of each other what a test hands over."""

    def __init__(self, context: ssl.SSLContext, front: ssl.SSLContext | None = None) -> None:
        front = front or Server().context
        self._to_client, self.sent = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.to_server, self._said = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.served = front.wrap_bio(self.to_server, self._said, server_side=True)
        self.asking = context.wrap_bio(self._to_client, self.sent, server_hostname=HOST)

    def ask(self) -> None:
        """Go on with the client's part of the handshake."""
        self._to_client.write(self._said.read())
        with suppress(ssl.SSLWantReadError):
            self.asking.do_handshake()

    def serve(self, data: bytes) -> None:
        """Go on with the server's part of the handshake."""
        self.to_server.write(data)
        with suppress(ssl.SSLWantReadError):
            self.served.do_handshake()


def _stolen(user: User) -> User:
    """With a key that says that it is the right one, and is not."""
    theirs, ours = load_pem_private_key(user.key, None), ec.generate_private_key(ec.SECP256R1())
    points = [
        key.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
        for key in (theirs, ours)
    ]
    der = ours.private_bytes(Encoding.DER, PrivateFormat.TraditionalOpenSSL, NoEncryption())
    assert points[1] in der
    pem = ssl.DER_cert_to_PEM_cert(der.replace(points[1], points[0]))
    return replace(user, key=pem.replace("CERTIFICATE", "EC PRIVATE KEY").encode())


async def test_a_client_may_bring_the_cas_between_it_and_the_client_ca(
    server: Server, tmp_path: Path
) -> None:
    assert await name_of(_deep(3), server, tmp_path) == "deep"


async def test_chains_have_an_end(server: Server, tmp_path: Path) -> None:
    assert await name_of(_deep(8), server, tmp_path) == "nobody"


def _deep(levels: int) -> User:
    issuer = TRUSTED
    above: list[x509.Certificate] = []
    for level in range(levels):
        issuer, certificate = issuer.below(f"ca-{level}")
        above.insert(0, certificate)
    return replace(issuer.issue(("CN", "deep")), above=tuple(above))


async def test_who_shows_very_many_certificates_is_cut_off(server: Server, tmp_path: Path) -> None:
    user = TRUSTED.issue(("CN", "x"))
    await assert_refused(replace(user, above=(user.certificate,) * 150), server, tmp_path)


@pytest.mark.parametrize(
    "huge",
    [
        pytest.param(rsa.RSAPublicNumbers(e=65537, n=(1 << 8999) + 1), id="modulus"),
        pytest.param(rsa.RSAPublicNumbers(e=(1 << 3070) + 1, n=(1 << 3071) + 1), id="exponent"),
    ],
)
async def test_who_has_us_verify_with_a_huge_key_is_cut_off(
    server: Server, tmp_path: Path, huge: rsa.RSAPublicNumbers
) -> None:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "huge")])
    now = datetime.datetime.now(tz=datetime.UTC)
    ca = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(huge.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - DAY)
        .not_valid_after(now + DAY)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(EPHEMERAL, hashes.SHA256())
    )
    # OpenSSL links certificates whose kinds of key and signature fit.
    made = Issuer(name, rsa.generate_private_key(65537, 2048)).issue(("CN", "x"))
    await assert_refused(replace(made, above=(ca,)), server, tmp_path)


@both_versions
def test_what_is_wrong_with_one_certificate_is_no_error_of_others(
    tmp_path: Path, version: ssl.TLSVersion
) -> None:
    trusted, another = (rsa.generate_private_key(65537, 2048) for _ in range(2))
    ca = Issuer(TRUSTED.name, trusted).issue(("CN", "ca"), key=trusted, is_ca=True).certificate
    front = ServingCertificate(issue(SERVER_CA), client_ca=ca.public_bytes(Encoding.PEM)).context
    context = client(version)
    Issuer(ca.subject, another).issue(("CN", "x")).show(context, tmp_path)
    link = Link(context, front)
    for _ in range(2):
        link.ask()
        link.serve(link.sent.read())
    assert link.served.getpeercert() is None
    assert Binding.lib.ERR_peek_error() == 0


def test_a_certificate_whose_key_is_none_ends_the_handshake(tmp_path: Path) -> None:
    context = client(ssl.TLSVersion.TLSv1_2)
    user = FOREIGN.issue(("CN", "x"), key=EPHEMERAL)
    user.show(context, tmp_path)
    point = EPHEMERAL.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
    link = Link(context)
    link.ask()
    link.serve(link.sent.read())
    link.ask()
    said = link.sent.read()
    assert point in said
    with pytest.raises(ssl.SSLError):
        link.serve(said.replace(point, b"\x04" + b"\xff" * (len(point) - 1)))


@both_versions
async def test_every_handshake_looks_at_the_certificate_again(
    server: Server, tmp_path: Path, version: ssl.TLSVersion
) -> None:
    context = client(version)
    TRUSTED.issue(("CN", "apiserver")).show(context, tmp_path)

    def twice() -> list[tuple[str, bool | None]]:
        session, results = None, []
        for _ in range(2):
            with (
                socket.create_connection((HOST, server.port)) as plain,
                context.wrap_socket(plain, server_hostname=HOST, session=session) as secure,
            ):
                results.append((secure.recv(100).decode().strip(), secure.session_reused))
                session = secure.session
        return results

    assert await asyncio.to_thread(twice) == [("apiserver", False)] * 2


async def test_a_client_cannot_begin_anew_within_a_connection(server: Server) -> None:
    context = SSL.Context(SSL.TLS_CLIENT_METHOD)
    context.set_max_proto_version(SSL.TLS1_2_VERSION)

    def again() -> None:
        with socket.create_connection((HOST, server.port)) as plain:
            connection = SSL.Connection(context, plain)
            connection.set_connect_state()
            connection.do_handshake()
            assert connection.recv(100) == b"nobody\n"
            connection.renegotiate()
            connection.do_handshake()

    with pytest.raises(SSL.Error, match="no renegotiation"):
        await asyncio.to_thread(again)


@pytest.mark.parametrize(
    ("offered", "chosen"), [(["h2", "http/1.1"], "http/1.1"), (["h2"], None), ([], None)]
)
async def test_http_1_1_is_spoken(server: Server, offered: list[str], chosen: str | None) -> None:
    context = client()
    context.set_alpn_protocols(offered)
    async with met(server, context) as (_, _, writer):
        assert writer.get_extra_info("ssl_object").selected_alpn_protocol() == chosen


@both_versions
async def test_megabytes_go_through_both_ways_as_they_are(
    server: Server, version: ssl.TLSVersion
) -> None:
    sent = bytes(range(251)) * 20_011  # no multiple of a record
    async with met(server, client(version)) as (_, reader, writer):
        writer.write(sent)
        assert await reader.readexactly(len(sent)) == sent


async def test_a_client_that_says_that_it_ends_is_heard_and_answered(server: Server) -> None:
    context = client()

    def end() -> None:
        with (
            socket.create_connection((HOST, server.port)) as plain,
            context.wrap_socket(plain, server_hostname=HOST) as secure,
        ):
            assert secure.recv(100) == b"nobody\n"
            secure.unwrap()  # Waits for the answer.

    await asyncio.to_thread(end)
    await server.heard_the_end.wait()


@pytest.mark.parametrize("cut", [1, 100, 300])
async def test_noise_after_half_a_handshake_ends_the_connection(server: Server, cut: int) -> None:
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    with pytest.raises(ssl.SSLWantReadError):
        client().wrap_bio(incoming, outgoing, server_hostname=HOST).do_handshake()
    reader, writer = await asyncio.open_connection(HOST, server.port)
    writer.write(outgoing.read()[:cut] + b"\xff" * 1000)
    await asyncio.gather(reader.read(), return_exceptions=True)
    assert reader.at_eof() or reader.exception()
    writer.close()
    await asyncio.gather(writer.wait_closed(), return_exceptions=True)
