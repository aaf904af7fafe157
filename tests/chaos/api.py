"""Users and administrators of a cluster who ask its API server directly, without retries.

In: paths and objects. Out: decoded answers, or `Refused` for whatever went wrong: during chaos that
is to be expected. One client a cluster, with all rights; not for the agent's way.
"""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING, Any

import aiohttp

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import TracebackType

    from tests.clusters import Cluster

_SECONDS = 3.0
_MERGE = "application/merge-patch+json"
_GROUPS = {
    "pods": "/api/v1",
    "configmaps": "/api/v1",
    "secrets": "/api/v1",
    "namespaces": "/api/v1",
    "deployments": "/apis/apps/v1",
    "statefulsets": "/apis/apps/v1",
    "jobs": "/apis/batch/v1",
}


class Refused(Exception):
    """No, or no answer in time."""

    def __init__(self, text: str, code: int = 0) -> None:
        super().__init__(text)
        self.code = code


class Api:
    """One API server as administrator."""

    def __init__(self, cluster: Cluster) -> None:
        assert cluster.control_plane is not None
        pair = cluster.control_plane.certificates.admin
        self._tls = ssl.create_default_context(cafile=str(cluster.ca_file))
        self._tls.load_cert_chain(pair.cert, pair.key)
        self._server = cluster.server
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Api:
        connector = aiohttp.TCPConnector(ssl=self._tls)
        timeout = aiohttp.ClientTimeout(total=_SECONDS)
        self._session = aiohttp.ClientSession(connector=connector, timeout=timeout)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        assert self._session is not None
        await self._session.close()

    async def get(self, kind: str, name: str) -> Any:
        """An object without namespace."""
        return await self._ask("GET", f"{_GROUPS[kind]}/{kind}/{name}")

    async def create(self, kind: str, namespace: str, body: Mapping[str, Any]) -> Any:
        """POST."""
        return await self._ask("POST", _path(kind, namespace), json=body)

    async def patch(self, kind: str, namespace: str, name: str, body: Mapping[str, Any]) -> Any:
        """PATCH, by merging."""
        headers = {"Content-Type": _MERGE}
        return await self._ask("PATCH", _path(kind, namespace, name), json=body, headers=headers)

    async def delete(
        self, kind: str, namespace: str, name: str, *, grace: int | None = None
    ) -> Any:
        """DELETE; a grace of 0 is by force."""
        body: dict[str, Any] = {"propagationPolicy": "Background"}
        if grace is not None:
            body["gracePeriodSeconds"] = grace
        return await self._ask("DELETE", _path(kind, namespace, name), json=body)

    async def _ask(self, method: str, path: str, **options: Any) -> Any:
        assert self._session is not None
        try:
            async with self._session.request(method, self._server + path, **options) as answer:
                text = await answer.json(content_type=None)
                if answer.status >= 300:
                    message = text.get("message", "") if isinstance(text, dict) else ""
                    raise Refused(f"{method} {path}: {answer.status} {message}", answer.status)
                return text
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            raise Refused(f"{method} {path}: {error!r}") from error


def _path(kind: str, namespace: str, name: str = "") -> str:
    path = f"{_GROUPS[kind]}/namespaces/{namespace}/{kind}"
    return f"{path}/{name}" if name else path
