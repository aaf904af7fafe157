"""Logs and upgraded streams of a copy, by its compute API server.

In: what the kubelet API was asked for. Out: bytes, untouched. Errors come back with the HTTP code
that kubectl should see and without compute names.
"""

from collections.abc import AsyncIterator

from federation.backends.kubernetes.conceal import Names
from federation.backends.kubernetes.failures import stream_failed
from vnode.backend import LogOptions, StreamRequest, StreamVerb, UpgradedConnection
from vnode.kube.client import KubeClient
from vnode.kube.errors import KubeError
from vnode.kube.resources import PODS
from vnode.kube.types import ObjectKey


async def logs(
    client: KubeClient, below: ObjectKey, names: Names, options: LogOptions
) -> AsyncIterator[bytes]:
    """Yield a container's log as it comes.

    Raises:
        StreamError: no log (before the first byte), or the link broke in the middle.
    """
    path = PODS.path(namespace=below.namespace, name=below.name, subresource="log")
    try:
        async with client.stream(path, query=_log_query(options), idle_timeout=None) as stream:
            async for chunk in stream:
                yield chunk
    except KubeError as error:
        raise stream_failed(error, names=names) from error


async def upgrade(
    client: KubeClient, below: ObjectKey, names: Names, request: StreamRequest
) -> UpgradedConnection:
    """Open exec, attach or port-forward below. Raises StreamError."""
    path = PODS.path(namespace=below.namespace, name=below.name, subresource=request.verb)
    try:
        return await client.upgrade(
            request.method, path, query=_stream_query(request), headers=request.headers
        )
    except KubeError as error:
        raise stream_failed(error, names=names) from error


def _log_query(options: LogOptions) -> list[tuple[str, str]]:
    flags = {
        "follow": options.follow,
        "previous": options.previous,
        "timestamps": options.timestamps,
    }
    values = {
        "sinceSeconds": options.since_seconds,
        "sinceTime": options.since_time,
        "tailLines": options.tail_lines,
        "limitBytes": options.limit_bytes,
    }
    query = [("container", options.container)]
    query += [(name, "true") for name, on in flags.items() if on]
    return query + [(name, str(value)) for name, value in values.items() if value is not None]


def _stream_query(request: StreamRequest) -> list[tuple[str, str]]:
    if request.verb is StreamVerb.PORT_FORWARD:
        return [("ports", str(port)) for port in request.ports]
    flags = {
        "stdin": request.stdin,
        "stdout": request.stdout,
        "stderr": request.stderr,
        "tty": request.tty,
    }
    query = [("container", request.container)]
    query += [(name, "true") for name, on in flags.items() if on]
    return query + [("command", part) for part in request.command]
