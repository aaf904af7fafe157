from collections.abc import Sequence
from urllib.parse import parse_qsl

import pytest

from vnode.backend import StreamRequest, StreamVerb
from vnode.kubelet.streams.query import InvalidStream, kept_headers, parse_stream_request

SPDY = [("connection", "Upgrade"), ("upgrade", "SPDY/3.1")]
WEBSOCKET = [("Connection", "Upgrade"), ("Upgrade", "websocket")]


def parse(
    query: str,
    *,
    verb: StreamVerb = StreamVerb.EXEC,
    headers: Sequence[tuple[str, str]] = SPDY,
) -> StreamRequest:
    return parse_stream_request(
        verb,
        method="POST",
        container="main",
        query=parse_qsl(query, keep_blank_values=True),
        headers=headers,
    )


@pytest.mark.parametrize(
    ("query", "streams"),
    [
        ("input=1", (True, False, False, False)),
        ("output=1", (False, True, False, False)),
        ("error=1", (False, False, True, False)),
        ("input=1&output=1&error=1", (True, True, True, False)),
        ("input=1&output=1&tty=1", (True, True, False, True)),
        ("output=1&error=1&tty=1", (False, True, False, True)),
        ("stdin=true&stdout=true", (True, True, False, False)),
        ("output=1&input=0&input=1", (False, True, False, False)),
    ],
)
def test_streams_are_read_as_the_kubelet_does(
    query: str, streams: tuple[bool, bool, bool, bool]
) -> None:
    asked = parse(query)
    assert (asked.stdin, asked.stdout, asked.stderr, asked.tty) == streams


@pytest.mark.parametrize("query", ["", "command=ls", "tty=1", "error=1&tty=1", "output=0"])
def test_no_stream_at_all_is_refused(query: str) -> None:
    with pytest.raises(InvalidStream, match="at least 1 of stdin, stdout, stderr"):
        parse(query)


def test_a_command_keeps_its_order_repetitions_and_empty_arguments() -> None:
    query = "command=echo&output=1&command=&command=a&command=a%20b&command=a"
    assert parse(query).command == ["echo", "", "a", "a b", "a"]


def test_attach_has_no_command() -> None:
    assert parse("output=1&command=sh", verb=StreamVerb.ATTACH).command == ()


@pytest.mark.parametrize(
    "headers",
    [
        [],
        [("Connection", "Upgrade")],
        [("Upgrade", "SPDY/3.1")],
        [("Connection", "close"), ("Upgrade", "SPDY/3.1")],
        [("Connection", "Upgrade"), ("Upgrade", "")],
    ],
)
def test_a_request_that_is_no_upgrade_is_refused(headers: list[tuple[str, str]]) -> None:
    with pytest.raises(InvalidStream, match="Upgrade request required"):
        parse("output=1", headers=headers)


@pytest.mark.parametrize("value", ["v5.\udcff", "é"])
def test_a_header_that_could_not_be_sent_on_is_refused(value: str) -> None:
    with pytest.raises(InvalidStream, match="ASCII"):
        parse("output=1", headers=[*WEBSOCKET, ("Sec-WebSocket-Protocol", value)])


def test_spdy_names_its_ports_in_streams() -> None:
    asked = parse("port=80", verb=StreamVerb.PORT_FORWARD)
    assert (asked.ports, asked.container) == ((), "")


def test_a_websocket_names_its_ports_in_the_query() -> None:
    asked = parse("port=80,8080&port=443", verb=StreamVerb.PORT_FORWARD, headers=WEBSOCKET)
    assert asked.ports == (80, 8080, 443)


def test_spdy_in_a_websocket_needs_no_ports() -> None:
    tunnel = [*WEBSOCKET, ("Sec-WebSocket-Protocol", "SPDY/3.1+portforward.k8s.io")]
    assert parse("", verb=StreamVerb.PORT_FORWARD, headers=tunnel).ports == ()


@pytest.mark.parametrize(
    "query",
    ["", "port=", "port=0", "port=65536", "port=http", "port=-1", "port=80,", "port=%C2%B2"],
)
def test_a_websocket_without_valid_ports_is_refused(query: str) -> None:
    with pytest.raises(InvalidStream, match="port"):
        parse(query, verb=StreamVerb.PORT_FORWARD, headers=WEBSOCKET)


def test_only_headers_of_the_upgrade_itself_travel() -> None:
    headers = [
        ("Host", "x"),
        ("Connection", "keep-alive, Upgrade, X-Secret"),
        ("UPGRADE", "websocket"),
        ("Sec-WebSocket-Key", "k"),
        ("X-Stream-Protocol-Version", "v5"),
        ("X-Stream-Protocol-Version", "v4"),
        ("Authorization", "Bearer t"),
        ("Cookie", "c"),
        ("Impersonate-Group", "system:masters"),
        ("X-Remote-Group", "system:masters"),
        ("X-Forwarded-For", "1.2.3.4"),
        ("User-Agent", "kubectl"),
    ]
    assert kept_headers(headers) == [
        ("Connection", "Upgrade"),
        ("UPGRADE", "websocket"),
        ("Sec-WebSocket-Key", "k"),
        ("X-Stream-Protocol-Version", "v5"),
        ("X-Stream-Protocol-Version", "v4"),
    ]


def test_a_token_among_websocket_protocols_is_removed() -> None:
    token = "base64url.bearer.authorization.k8s.io.c2VjcmV0"
    both = [("Sec-WebSocket-Protocol", f"{token}, v4.channel.k8s.io")]
    assert kept_headers(both)[1:] == [("Sec-WebSocket-Protocol", "v4.channel.k8s.io")]
    assert kept_headers([("Sec-WebSocket-Protocol", token)])[1:] == []
