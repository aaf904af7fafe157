"""The only place of `federation` that speaks HTTP: calls to Alibaba Cloud's OpenAPI.

In: a signed call. Out: status and body of the answer, or Unavailable. Nothing is retried, and no
redirect is followed, since both would send what was signed for something else. Owned by the
`EciApi` that it was made for. Errors name the kind of failure only: the URL holds every parameter,
registry passwords and environment included.
"""

from dataclasses import dataclass, field
from typing import Protocol

import aiohttp
import yarl

from federation.backends.eci.errors import Unavailable
from federation.backends.eci.signature import Signed
from vnode.kube.permit import Permit, PermittedRequest, required

__all__ = ["Answer", "HttpTransport", "Transport"]

_LARGEST = 16 << 20
_CONNECT = 10.0
_THIS_MACHINE = ("127.0.0.1", "::1", "localhost")


@dataclass(frozen=True)
class Answer:
    """What came back."""

    status: int
    body: bytes = field(repr=False)


class Transport(Protocol):
    """One endpoint of the API."""

    @property
    def host(self) -> str:
        """What the Host header says."""
        ...

    async def send(self, call: Signed, *, timeout: float, permit: Permit | None = None) -> Answer:
        """Make one call. `permit` is asked when nothing but the sending is left.

        Raises:
            Unavailable: no complete answer after `timeout` seconds.
            Withheld: not sent, as `permit` said no.
        """
        ...

    async def close(self) -> None:
        """Close all connections."""
        ...


class HttpTransport:
    """Connections to `endpoint`, such as https://eci.cn-beijing.aliyuncs.com. Make it in a loop.

    Raises ValueError for an endpoint that is not https, unless it is on this machine: parameters
    hold secrets, and a signature does not hide them.
    """

    def __init__(self, endpoint: str, *, connections: int = 32) -> None:
        self._url = yarl.URL(endpoint).with_path("/")
        if self._url.scheme != "https" and self._url.host not in _THIS_MACHINE:
            raise ValueError(f"the endpoint of ECI must be https://, not {self._url.scheme}://")
        port = self._url.explicit_port
        self._host = (self._url.host or "") + (f":{port}" if port else "")
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=connections),
            auto_decompress=True,
            request_class=PermittedRequest,
            cookie_jar=aiohttp.DummyCookieJar(),
        )

    @property
    def host(self) -> str:
        """Host, with the port where the endpoint names one."""
        return self._host

    async def send(self, call: Signed, *, timeout: float, permit: Permit | None = None) -> Answer:
        """See `Transport.send`."""
        # Encoded already: the service verifies the very characters that were signed.
        url = yarl.URL(f"{self._url}?{call.query}", encoded=True)
        limits = aiohttp.ClientTimeout(total=timeout, connect=min(timeout, _CONNECT))
        try:
            with required(permit):
                async with self._session.post(
                    url, headers=dict(call.headers), timeout=limits, allow_redirects=False
                ) as response:
                    body = bytearray()
                    async for part in response.content.iter_any():
                        body += part
                        if len(body) > _LARGEST:
                            raise Unavailable(f"an answer of more than {_LARGEST} bytes")
                    return Answer(status=response.status, body=bytes(body))
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise Unavailable(f"no answer from {self._host}: {type(error).__name__}") from None

    async def close(self) -> None:
        """Close all connections."""
        await self._session.close()
