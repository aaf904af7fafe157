"""The query and headers of an exec, attach or port-forward request. Pure.

In: what the client sent. Out: a `StreamRequest` that a backend can send on, or `InvalidStream`.
Sources: kubernetes cri-streaming pkg/streaming/{remotecommand,portforward}, and for the headers
apimachinery pkg/util/proxy/upgradeaware.go.
"""

from collections.abc import Iterable, Sequence

from vnode.backend import StreamRequest, StreamVerb

__all__ = ["InvalidStream", "kept_headers", "parse_stream_request"]

_TRUE = ("1", "true")
_KEPT = ("upgrade", "x-stream-protocol-version")
_KEPT_PREFIX = "sec-websocket-"
_WEBSOCKET_PROTOCOLS = "sec-websocket-protocol"
_BEARER_PROTOCOL = "base64url.bearer.authorization.k8s.io."
"""Prefix of the WebSocket subprotocol in which browsers send a bearer token."""
_TUNNEL_PREFIX = "spdy/3.1+"
"""Of subprotocols that carry whole SPDY frames, in lower case."""


class InvalidStream(Exception):
    """The request cannot be served as it is: 400."""

    code = 400


def parse_stream_request(
    verb: StreamVerb,
    *,
    method: str,
    container: str,
    query: Sequence[tuple[str, str]],
    headers: Sequence[tuple[str, str]],
) -> StreamRequest:
    """What the client asks for; `container` is empty for port-forward.

    Raises:
        InvalidStream: no upgrade, no stream or no valid port asked for, or headers that cannot
            travel on.
    """
    if not _wants_upgrade(headers):
        raise InvalidStream("Upgrade request required")
    kept = kept_headers(headers)
    if not all(value.isascii() for _, value in kept):
        raise InvalidStream("headers of an upgrade are ASCII (RFC 9110, 6455)")
    if verb is StreamVerb.PORT_FORWARD:
        ports = _ports(query) if _names_ports(kept) else ()
        return StreamRequest(verb=verb, method=method, ports=ports, headers=kept)
    stdin = _is_set(query, "input", "stdin")
    stdout = _is_set(query, "output", "stdout")
    tty = _is_set(query, "tty")
    # A terminal has one output; the kubelet drops stderr as well.
    stderr = _is_set(query, "error", "stderr") and not tty
    if not (stdin or stdout or stderr):
        raise InvalidStream("you must specify at least 1 of stdin, stdout, stderr")
    command = [value for name, value in query if name == "command"]
    return StreamRequest(
        verb=verb,
        method=method,
        container=container,
        command=command if verb is StreamVerb.EXEC else (),
        stdin=stdin,
        stdout=stdout,
        stderr=stderr,
        tty=tty,
        headers=kept,
    )


def kept_headers(headers: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    """The headers of an upgrade that travel on, in their order; everything else is dropped.

    `Connection` becomes just `Upgrade`, since other options in it are between two hops only, and
    tokens that hide among the WebSocket subprotocols are removed.
    """
    kept = [("Connection", "Upgrade")]
    for name, value in headers:
        lower = name.lower()
        if lower == _WEBSOCKET_PROTOCOLS:
            protocols = [item.strip() for item in value.split(",")]
            value = ", ".join(item for item in protocols if not item.startswith(_BEARER_PROTOCOL))
            if not value:
                continue
        if lower in _KEPT or lower.startswith(_KEPT_PREFIX):
            kept.append((name, value))
    return kept


def _wants_upgrade(headers: Sequence[tuple[str, str]]) -> bool:
    options = [
        option.strip().lower()
        for name, value in headers
        if name.lower() == "connection"
        for option in value.split(",")
    ]
    return "upgrade" in options and any(
        name.lower() == "upgrade" and value for name, value in headers
    )


def _names_ports(headers: Sequence[tuple[str, str]]) -> bool:
    """Whether ports are in the query: plain WebSocket has them there, SPDY in its streams."""
    lowered = [(name.lower(), value.lower()) for name, value in headers]
    if ("upgrade", "websocket") not in lowered:
        return False
    return not any(
        name == _WEBSOCKET_PROTOCOLS and _TUNNEL_PREFIX in value for name, value in lowered
    )


def _is_set(query: Sequence[tuple[str, str]], *names: str) -> bool:
    """Whether the first value of one of these parameters says yes."""
    first: dict[str, str] = {}
    for name, value in query:
        first.setdefault(name, value)
    return any(first.get(name) in _TRUE for name in names)


def _ports(query: Sequence[tuple[str, str]]) -> tuple[int, ...]:
    texts = [
        text for name, value in query if name in ("port", "ports") for text in value.split(",")
    ]
    if not texts:
        raise InvalidStream('query parameter "port" is required')
    return tuple(_port(text) for text in texts)


def _port(text: str) -> int:
    if not (text.isascii() and text.isdecimal()) or not 1 <= int(text[:6]) <= 65535:
        raise InvalidStream(f'unable to parse "{text}" as a port')
    return int(text)
