"""Work on a thread of its own, with an event loop, for as long as a block lasts.

In: a coroutine function, which says when it has begun. Out: nothing but what it does; whatever ends
it early is told by `check`.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from typing import TYPE_CHECKING, Any

from tests.measuring.waiting import MeasurementError

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from types import TracebackType

_END_SECONDS = 10.0


class Background:
    """`with Background(look) as background:`; `look` gets what it calls when it has begun."""

    def __init__(self, work: Callable[[Callable[[], None]], Coroutine[Any, Any, None]]) -> None:
        self._work = work
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._began = threading.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._task: asyncio.Task[None] | None = None
        self._error: Exception | None = None

    def __enter__(self) -> Background:
        self._thread.start()
        self._began.wait()
        self.check()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        assert self._loop is not None
        assert self._task is not None
        with contextlib.suppress(RuntimeError):  # Its loop has ended by an error.
            self._loop.call_soon_threadsafe(self._task.cancel)
        self._thread.join(_END_SECONDS)

    def check(self) -> None:
        """Raises MeasurementError if it works no more."""
        if self._error is not None:
            raise MeasurementError(f"nobody looks on any more: {self._error!r}")

    def _run(self) -> None:
        try:
            asyncio.run(self._until_cancelled())
        except Exception as error:  # Whatever it is: without eyes there is no verdict.
            self._error = error
        finally:
            self._began.set()

    async def _until_cancelled(self) -> None:
        self._loop, self._task = asyncio.get_running_loop(), asyncio.current_task()
        with contextlib.suppress(asyncio.CancelledError):
            await self._work(self._began.set)
