"""Serves container logs.

Log bytes flow from `PodBackend.logs` to the client chunk by chunk, held back when the client reads
slowly, and stop when it leaves (the server cancels this handler, which closes the iterator). What
fails before the first byte is an error answer; what fails later is a last line in the log, and the
connection is cut, so that nobody takes half a log for a whole one: API servers end their own answer
orderly whatever happened to ours (StreamObject), and kubectl returns 0. Nothing is compressed:
chunks must arrive at once.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import AbstractAsyncContextManager, aclosing, nullcontext, suppress

import structlog
from aiohttp import web

from vnode.backend import LogOptions, StreamError
from vnode.kube.types import NodeName, ObjectKey
from vnode.kubelet.access.rights import Caller
from vnode.kubelet.answers import relayed_code, text_answer
from vnode.kubelet.logs.last_words import LastWords
from vnode.kubelet.logs.lines import choose
from vnode.kubelet.logs.options import InvalidLogQuery, parse_log_options
from vnode.kubelet.pods import LocateError, PodLocator, PodNotStarted, locate
from vnode.kubelet.sessions import Sessions, TooManySessions
from vnode.runtime.clock import Clock

__all__ = ["LogHandler"]

_CUT = b"vnode: the log ends here because it could not be read on; there may be more\n"
_LAST_LINE_SECONDS = 5.0
"""For a client that reads slowly to take the line."""

log = structlog.get_logger(__name__)


class LogHandler:
    """Answers `/containerLogs` for one virtual node."""

    def __init__(
        self,
        *,
        node: NodeName,
        pods: PodLocator,
        sessions: Sessions,
        last_words: LastWords | None,
        clock: Clock,
    ) -> None:
        self._node = node
        self._pods = pods
        self._sessions = sessions
        self._last_words = last_words
        self._clock = clock

    async def serve(self, request: web.Request, caller: Caller) -> web.StreamResponse:
        """Stream the log that the path and the query ask for."""
        key = ObjectKey(request.match_info["namespace"], request.match_info["pod"])
        container = request.match_info["container"]
        try:
            options = parse_log_options(list(request.query.items()), container=container)
            located = locate(self._pods, self._node, key, uid=None, container=container)
            with self._sessions.open(node=self._node, namespace=key.namespace):
                chunks = located.backend.logs(located.observed, options)
                async with _closing(chunks):
                    return await self._relay(request, chunks, key=key, caller=caller)
        except PodNotStarted as error:
            return self._kept(key, options) or text_answer(error.code, str(error))
        except StreamError as error:
            return text_answer(relayed_code(error.code), str(error))
        except (InvalidLogQuery, LocateError, TooManySessions) as error:
            return text_answer(error.code, str(error))

    def _kept(self, key: ObjectKey, options: LogOptions) -> web.Response | None:
        """What is left of the log of a copy that others have removed."""
        text = self._last_words.text(key, options.container) if self._last_words else None
        if text is None or options.previous:
            return None
        body = choose(text, options, now=self._clock.time())
        return web.Response(body=body, content_type="text/plain")

    async def _relay(
        self,
        request: web.Request,
        chunks: AsyncIterator[bytes],
        *,
        key: ObjectKey,
        caller: Caller,
    ) -> web.StreamResponse:
        started = self._clock.monotonic()
        first = await anext(chunks, b"")
        response = web.StreamResponse(headers={"Content-Type": "text/plain"})
        await response.prepare(request)
        sent = len(first)
        last = first
        whole = False
        try:
            if first:
                await response.write(first)
            async for chunk in chunks:
                await response.write(chunk)
                sent += len(chunk)
                last = chunk
            await response.write_eof()
            whole = True
        except ConnectionError:
            pass  # The client left.
        except Exception as error:
            log.warning("A log was cut in the middle", pod=str(key), error=str(error))
            with suppress(ConnectionError, TimeoutError):
                async with asyncio.timeout(_LAST_LINE_SECONDS):
                    await response.write(_CUT if last.endswith(b"\n") else b"\n" + _CUT)
            if request.transport is not None:
                request.transport.close()
        finally:
            log.info(
                "Served a log",
                namespace=key.namespace,
                pod=key.name,
                container=request.match_info["container"],
                user=caller.name,
                seconds=round(self._clock.monotonic() - started, 3),
                bytes=sent,
                whole=whole,
            )
        return response


def _closing(chunks: AsyncIterator[bytes]) -> AbstractAsyncContextManager[object]:
    """Close a generator at once when the client leaves, not when it is collected."""
    if isinstance(chunks, AsyncGenerator):
        return aclosing(chunks)
    return nullcontext()
