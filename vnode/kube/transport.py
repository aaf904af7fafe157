"""HTTP to one API server: sessions, credentials, time-outs and what went wrong.

In: method, path, headers, body. Out: an `aiohttp.ClientResponse` of whatever status, or an
`Unreachable`. A 401 makes the credentials be read again and the call be sent once more (a refused
call was not carried out). Several sessions per server, so that a flood of one kind of traffic does
not keep the others waiting: ordinary requests, streams (watches and logs; unlimited), upgrades
(unlimited, each on a fresh connection) and leases, on which everything else depends. Redirects are
never followed.
"""

import asyncio
import contextlib
import ssl
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal
from urllib.parse import quote, urlencode

import aiohttp
import msgspec
from multidict import CIMultiDict
from yarl import URL

from vnode.kube.config import Access, Connection
from vnode.kube.credentials import Credentials
from vnode.kube.errors import (
    ServerError,
    Silent,
    Unauthorized,
    Unreachable,
    Untrusted,
    Withheld,
    api_error,
)
from vnode.kube.permit import Permit, PermittedRequest, required
from vnode.kube.server_time import ServerTime
from vnode.kube.sockets import Sockets
from vnode.kube.types import Status

__all__ = ["ClientStatistics", "Query", "SessionName", "Transport"]

SessionName = Literal["requests", "streams", "upgrades", "lease"]
Query = Mapping[str, str] | Sequence[tuple[str, str]]

CONNECT_TIMEOUT = 5.0
_KEEPALIVE = 60.0
_DNS_TTL = 300
_READ_BUFFER = 256 * 1024
_ERROR_BODY_LIMIT = 64 * 1024
_STATUS = msgspec.json.Decoder(Status)
_UNTRUSTED_ISSUER = (2, 18, 19, 20, 21)
"""X509_V_ERR_* codes that mean: not signed by a CA that we know."""


@dataclass(frozen=True, slots=True)
class ClientStatistics:
    """What a client has done so far."""

    requests: Mapping[tuple[str, int], int]
    """Answers by method and HTTP code; code 0: no answer."""
    in_flight: int
    """Calls whose answer has not begun, open streams not counted."""


class Transport:
    """Connections to one API server. Needs a running loop; close it."""

    def __init__(
        self,
        connection: Connection,
        credentials: Credentials,
        *,
        limit: int,
    ) -> None:
        self.name = connection.name
        self._time = ServerTime()
        self._user_agent = connection.user_agent
        self._credentials = credentials
        self._limits: dict[SessionName, int] = {
            "requests": limit,
            "streams": 0,
            "upgrades": 0,
            "lease": 2,
        }
        self._answers: Counter[tuple[str, int]] = Counter()
        self._in_flight = 0
        self._heard = asyncio.Event()
        self.mirrors = 0
        self._sockets = Sockets()
        self._access = credentials.current()
        self._sessions = self._make_sessions(self._access)
        self._retired: list[aiohttp.ClientSession] = []

    @property
    def server(self) -> str:
        """URL of the API server, without trailing slash."""
        return self._access.server

    def uses(self, *, server: str, token: str) -> bool:
        """Whether the next call goes to that server with that token."""
        access = self._credentials.current()
        return (access.server, access.authorization) == (server, f"Bearer {token}")

    @property
    def clock_offset(self) -> float:
        """Seconds that the server's clock is ahead of ours."""
        return self._time.offset

    def statistics(self) -> ClientStatistics:
        """Counters so far."""
        return ClientStatistics(requests=dict(self._answers), in_flight=self._in_flight)

    async def hear(self) -> None:
        """Return when the server gives anybody an answer that is no 5xx."""
        await self._heard.wait()

    async def close(self) -> None:
        """Close all connections."""
        await self._credentials.close()
        for session in (*self._sessions.values(), *self._retired):
            await session.close()
        await self._sockets.aclose()

    async def send(
        self,
        method: str,
        path: str,
        *,
        query: Query | None = None,
        headers: Mapping[str, str] | Sequence[tuple[str, str]] = (),
        body: bytes | None = None,
        timeout: aiohttp.ClientTimeout,
        session: SessionName,
        permit: Permit | None = None,
    ) -> aiohttp.ClientResponse:
        """Send one call; return the answer, its body unread, of whatever status.

        Raises Unreachable or Untrusted, and Withheld if `permit` says no. The caller must close or
        read the answer, inside `translated`.
        """
        encoded = f"{path}?{urlencode(query, quote_via=quote)}" if query else path
        for last in (False, True):
            access = await self._current()
            merged = CIMultiDict(headers)
            merged["User-Agent"] = self._user_agent
            if access.authorization:
                merged["Authorization"] = access.authorization
            with (
                self.translated(method, path, access),
                required(permit),
                self._counted(method) as answered,
            ):
                response = await self._sessions[session].request(
                    method,
                    URL(access.server + encoded, encoded=True),
                    data=body,
                    headers=merged,
                    timeout=timeout,
                    allow_redirects=False,
                    proxy=access.proxy,
                    server_hostname=access.tls_server_name,
                )
                answered(response)
            if response.status != 401 or last or not await self._credentials.renew(refused=access):
                return response
            response.close()
        raise AssertionError("unreachable")

    async def check(self, response: aiohttp.ClientResponse) -> None:
        """Raise the ApiError that an answer stands for, if it is not 2xx. Reads its body."""
        if 200 <= response.status <= 299:
            return
        body = await _read_at_most(response, _ERROR_BODY_LIMIT)
        response.close()
        code, retry_after = response.status, _retry_after(response)
        status = _status(body)
        if status is not None or code == 429:
            error = api_error(code, status, retry_after=retry_after)
            error.peer = self.name
            raise error
        if code == 401:
            raise Unauthorized("the API server refused our credentials", code=code)
        what = "a redirect" if 300 <= code <= 399 else "no Kubernetes status"
        raise ServerError(
            f"HTTP {code} with {what} from {self.name}; is it an API server?",
            code=code,
            retry_after=retry_after,
        )

    @contextlib.contextmanager
    def translated(self, method: str, path: str, access: Access | None = None) -> Iterator[None]:
        """Turn whatever aiohttp and the system raise into Unreachable or Untrusted."""
        access = access or self._access
        prefix = f"{self.name}: {method} {path}"
        try:
            yield
        except aiohttp.ClientConnectorCertificateError as error:
            raise Untrusted(_distrust(self.name, access, error)) from None
        except aiohttp.SocketTimeoutError:
            raise Silent(f"{prefix}: silent for too long") from None
        except TimeoutError:
            raise Unreachable(f"{prefix}: no answer in time") from None
        except aiohttp.ClientConnectorError as error:
            reason = error.os_error.strerror or str(error.os_error)
            raise Unreachable(f"{prefix}: cannot connect: {reason}") from error
        except (aiohttp.ClientError, OSError) as error:
            raise Unreachable(f"{prefix}: {type(error).__name__}: connection lost") from error

    async def _current(self) -> Access:
        access = self._credentials.current()
        if access.tls_digest != self._access.tls_digest:
            # Pooled connections would go on with the old certificate. Those of the old sessions
            # that are in use stay until their call ends; idle ones go after `_KEEPALIVE`.
            retired, self._retired = self._retired, list(self._sessions.values())
            self._sessions = self._make_sessions(access)
            self._access = access
            for session in retired:
                await session.close()
        self._access = access
        return access

    def _make_sessions(self, access: Access) -> dict[SessionName, aiohttp.ClientSession]:
        return {
            name: aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(
                    limit=limit,
                    ssl=access.tls or True,
                    # aiohttp repeats a GET when a pooled connection turns out to be dead, which
                    # would run a command twice: upgrades never use pooled connections.
                    force_close=name == "upgrades",
                    keepalive_timeout=None if name == "upgrades" else _KEEPALIVE,
                    ttl_dns_cache=_DNS_TTL,
                    socket_factory=self._sockets.make,
                ),
                request_class=PermittedRequest,
                cookie_jar=aiohttp.DummyCookieJar(),
                read_bufsize=_READ_BUFFER,
                skip_auto_headers=("Accept", "Accept-Encoding", "Content-Type"),
            )
            for name, limit in self._limits.items()
        }

    @contextlib.contextmanager
    def _counted(self, method: str) -> Iterator[Callable[[aiohttp.ClientResponse], None]]:
        code: int | None = 0

        def answered(response: aiohttp.ClientResponse) -> None:
            nonlocal code
            code = response.status
            self._time.note(response.headers.get("Date", ""))
            if code < 500:
                self._heard.set()
                self._heard = asyncio.Event()

        self._in_flight += 1
        try:
            yield answered
        except Withheld:
            code = None  # Nobody was asked.
            raise
        finally:
            self._in_flight -= 1
            if code is not None:
                self._answers[method, code] += 1


async def _read_at_most(response: aiohttp.ClientResponse, limit: int) -> bytes:
    parts: list[bytes] = []
    async for chunk in response.content.iter_any():
        parts.append(chunk)
        limit -= len(chunk)
        if limit <= 0:
            break
    return b"".join(parts)


def _status(body: bytes) -> Status | None:
    """The metav1.Status in an error's body, if it is one."""
    try:
        status = _STATUS.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
    return status if status.status == "Failure" else None


def _retry_after(response: aiohttp.ClientResponse) -> float | None:
    value = response.headers.get("Retry-After", "")
    return float(value) if value.isascii() and value.isdigit() else None


def _distrust(name: str, access: Access, error: aiohttp.ClientConnectorCertificateError) -> str:
    cause = error.certificate_error
    if isinstance(cause, ssl.SSLCertVerificationError):
        if cause.verify_code in _UNTRUSTED_ISSUER:
            return (
                f"{name}: the certificate of {access.server} is not signed by the CA in "
                f"{access.ca_source}; put that cluster's CA there"
            )
        return f"{name}: the certificate of {access.server} is not valid: {cause.verify_message}"
    return f"{name}: the certificate of {access.server} could not be verified"
