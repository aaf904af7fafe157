"""The Kubernetes API of one cluster: verbs on resources, bytes on the wire, structs in the hand.

In: `Resource`, names, bodies (bytes, structs or plain JSON values). Out: structs of the asked-for
type, or an error of the tree in `vnode.kube.errors`. Nothing is retried here but a call that was
refused with 401, once, after the credentials were read again. Owned by whoever called `connect`.
"""

import contextlib
import enum
from collections.abc import AsyncIterator, Iterator, Sequence
from types import TracebackType
from typing import Literal, Self, TypeVar, cast

import aiohttp

from vnode.kube.accept import JSON, METADATA_ONLY
from vnode.kube.config import Connection, load
from vnode.kube.credentials import Credentials
from vnode.kube.decode import decode, detached
from vnode.kube.permit import Permit
from vnode.kube.resources import Resource
from vnode.kube.stream import ByteStream
from vnode.kube.transport import CONNECT_TIMEOUT, ClientStatistics, Query, Transport
from vnode.kube.types import UID, PartialObject, encode
from vnode.kube.upgrade import Upgraded, dial

__all__ = ["KubeClient", "PatchType"]

T = TypeVar("T")


CallSession = Literal["requests", "lease"]


class PatchType(enum.StrEnum):
    """How the API server reads a patch; the value is its content type."""

    MERGE = "application/merge-patch+json"
    STRATEGIC = "application/strategic-merge-patch+json"
    JSON = "application/json-patch+json"
    APPLY = "application/apply-patch+yaml"


class KubeClient:
    """One API server. Make it with `connect`, close it with `close` or `async with`."""

    def __init__(self, transport: Transport, *, may_write: Permit | None = None) -> None:
        self._transport = transport
        self._may_write = may_write

    @classmethod
    async def connect(cls, connection: Connection, *, limit: int = 64) -> "KubeClient":
        """Load the connection's files; no call is made yet. Raises ConfigError.

        `limit` is the number of concurrent requests; streams and leases are not counted.
        """
        credentials = Credentials(connection, await load(connection))
        return cls(Transport(connection, credentials, limit=limit))

    def guarded(self, may_write: Permit) -> "KubeClient":
        """The same connections for somebody who may write only while `may_write()` is true.

        Everything but a GET then raises Withheld instead of being sent.
        """
        return KubeClient(self._transport, may_write=may_write)

    async def close(self) -> None:
        """Close all connections, streams included."""
        await self._transport.close()

    async def __aenter__(self) -> Self:
        """Return the client itself."""
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close the client."""
        await self.close()

    @property
    def name(self) -> str:
        """The connection's name."""
        return self._transport.name

    @property
    def server(self) -> str:
        """URL of the API server."""
        return self._transport.server

    def uses(self, *, server: str, token: str) -> bool:
        """Whether calls go to that server (URL without trailing slash) with that bearer token."""
        return self._transport.uses(server=server, token=token)

    @property
    def clock_offset(self) -> float:
        """Seconds that the server's clock is ahead of ours (+-0.5 s), however ours is set."""
        return self._transport.clock_offset

    async def hear(self) -> None:
        """Return at the next answer to any call on these connections that is no 5xx."""
        await self._transport.hear()

    @contextlib.contextmanager
    def mirroring(self) -> Iterator[None]:
        """Within the block one more collection is mirrored over these connections."""
        self._transport.mirrors += 1
        try:
            yield
        finally:
            self._transport.mirrors -= 1

    @property
    def mirrors(self) -> int:
        """How many collections are mirrored: so many listings the server gets if all want one."""
        return self._transport.mirrors

    def statistics(self) -> ClientStatistics:
        """Calls so far by method and code, and those in flight."""
        return self._transport.statistics()

    async def request(
        self,
        method: str,
        path: str,
        *,
        query: Query | None = None,
        body: bytes | None = None,
        content_type: str = JSON,
        accept: str = JSON,
        timeout: float = 30.0,
        session: CallSession = "requests",
        compress: bool = False,
    ) -> bytes:
        """One call; returns the body of a 2xx answer. `timeout` (seconds) spans all of it.

        `compress` lets the server gzip what it sends, which pays for listings only.

        Raises:
            Unreachable: no complete answer; the call may have been carried out.
            Withheld: not sent, see `guarded`.
            ApiError: an answer of another status.
        """
        headers = {"Accept": accept, "Accept-Encoding": "gzip" if compress else "identity"}
        if body is not None:
            headers["Content-Type"] = content_type
        response = await self._transport.send(
            method,
            path,
            query=query,
            headers=headers,
            body=body,
            timeout=aiohttp.ClientTimeout(total=timeout, sock_connect=CONNECT_TIMEOUT),
            session=session,
            permit=None if method == "GET" else self._may_write,
        )
        async with response:
            with self._transport.translated(method, path):
                await self._transport.check(response)
                return await response.read()

    async def get(
        self,
        resource: Resource,
        kind: type[T],
        *,
        name: str,
        namespace: str | None = None,
        subresource: str = "",
        session: CallSession = "requests",
    ) -> T:
        """Read one object. Raises NotFound and the rest of the tree."""
        path = resource.path(namespace=namespace, name=name, subresource=subresource)
        return await self._call("GET", path, kind, session=session)

    async def create(
        self,
        resource: Resource,
        body: object,
        kind: type[T],
        *,
        namespace: str | None = None,
        name: str | None = None,
        subresource: str = "",
        strict: bool = False,
        dry_run: bool = False,
        session: CallSession = "requests",
    ) -> T:
        """POST an object, or with `name` to one of its subresources. Raises AlreadyExists.

        `strict` lets fields that the server does not know be an error (BadRequest); it would drop
        them and say nothing that we read (KEP-2885, 1.25). With `dry_run` nothing is stored, and
        the answer is what would have been.
        """
        path = resource.path(namespace=namespace, name=name, subresource=subresource)
        query = {"fieldValidation": "Strict"} if strict else {}
        if dry_run:
            query["dryRun"] = "All"
        return await self._call("POST", path, kind, query=query, body=body, session=session)

    async def replace(
        self, resource: Resource, body: object, *, name: str, namespace: str | None = None
    ) -> PartialObject:
        """PUT an object; its resourceVersion, where given, must be the newest (Conflict)."""
        path = resource.path(namespace=namespace, name=name)
        return await self._call("PUT", path, PartialObject, body=body)

    async def patch(
        self,
        resource: Resource,
        body: object,
        kind: type[T],
        *,
        name: str,
        namespace: str | None = None,
        subresource: str = "",
        patch_type: PatchType = PatchType.MERGE,
        session: CallSession = "requests",
    ) -> T:
        """PATCH an object. A `metadata.uid` in the body is a precondition (Conflict)."""
        path = resource.path(namespace=namespace, name=name, subresource=subresource)
        return await self._call(
            "PATCH", path, kind, body=body, content_type=patch_type.value, session=session
        )

    async def apply(
        self,
        resource: Resource,
        body: object,
        kind: type[T],
        *,
        name: str,
        namespace: str | None = None,
        manager: str,
        dry_run: bool = False,
    ) -> T:
        """Server-side apply (KEP-555), never by force: create the object, or change what differs.

        Fields that another manager set to another value are a Conflict whose causes name them, and
        so is a `metadata.uid` in the body that is not the object's. With `dry_run` nothing is
        stored.
        """
        path = resource.path(namespace=namespace, name=name)
        query = {"fieldManager": manager, "fieldValidation": "Strict"}
        if dry_run:
            query["dryRun"] = "All"
        content = PatchType.APPLY.value
        return await self._call("PATCH", path, kind, query=query, body=body, content_type=content)

    async def delete(
        self,
        resource: Resource,
        *,
        name: str,
        uid: UID,
        namespace: str | None = None,
        grace_seconds: int | None = None,
        resource_version: str | None = None,
    ) -> None:
        """Delete exactly the object with that UID. Raises NotFound, and Conflict for another.

        With `resource_version` only if it still is as it was in that version: else Conflict too.
        """
        preconditions = {"uid": str(uid)}
        if resource_version is not None:
            preconditions["resourceVersion"] = resource_version
        options: dict[str, object] = {"preconditions": preconditions}
        if grace_seconds is not None:
            options["gracePeriodSeconds"] = grace_seconds
        path = resource.path(namespace=namespace, name=name)
        # Pods are answered with the pod itself: ask for the short form.
        await self.request("DELETE", path, body=encode(options), accept=METADATA_ONLY)

    @contextlib.asynccontextmanager
    async def stream(
        self,
        path: str,
        *,
        query: Query | None = None,
        accept: str = JSON,
        idle_timeout: float | None,
    ) -> AsyncIterator[ByteStream]:
        """GET an answer that may last: `async with client.stream(...) as stream`.

        `idle_timeout` is the longest silence in seconds, the wait for the answer's head included;
        None: none (a dead peer is still noticed by TCP keep-alive). Raises ApiError or Unreachable
        before the first byte, Unreachable when cut in the middle.
        """
        response = await self._transport.send(
            "GET",
            path,
            query=query,
            headers={"Accept": accept, "Accept-Encoding": "identity"},
            timeout=aiohttp.ClientTimeout(
                total=None, sock_connect=CONNECT_TIMEOUT, sock_read=idle_timeout
            ),
            session="streams",
        )
        try:
            with self._transport.translated("GET", path):
                await self._transport.check(response)
            yield ByteStream(self._transport, response, path)
        finally:
            response.close()

    async def upgrade(
        self,
        method: str,
        path: str,
        *,
        query: Sequence[tuple[str, str]],
        headers: Sequence[tuple[str, str]],
    ) -> Upgraded:
        """Ask the server to switch protocols (exec, attach, portforward); see `Upgraded`.

        Of `headers` only those that negotiate the protocol are sent. Raises ApiError for every
        answer but 101, and Unreachable.
        """
        return await dial(self._transport, method, path, query=query, headers=headers)

    async def _call(
        self,
        method: str,
        path: str,
        kind: type[T],
        *,
        query: Query | None = None,
        body: object = None,
        content_type: str = JSON,
        session: CallSession = "requests",
    ) -> T:
        data = await self.request(
            method,
            path,
            query=query,
            body=body if body is None or isinstance(body, bytes) else encode(body),
            content_type=content_type,
            accept=METADATA_ONLY if cast("object", kind) is PartialObject else JSON,
            session=session,
        )
        return detached(decode(data, kind))
