"""Tasks that must not end, and the end of tasks that are no longer wanted.

Every task has one owner: the TaskGroup of `supervise`, or the coroutine that calls `stop`.
"""

import asyncio
from collections.abc import Coroutine
from typing import Never, TypeVar

import structlog

__all__ = ["UnexpectedEnd", "stop", "supervise"]

T = TypeVar("T")

_log = structlog.get_logger(__name__)


class UnexpectedEnd(Exception):
    """A task that was meant to run for ever returned."""


def supervise(
    group: asyncio.TaskGroup, coroutine: Coroutine[object, object, object], *, name: str
) -> asyncio.Task[Never]:
    """Run a coroutine that must not end; if it does, or fails, the group's other tasks end too.

    The failure is logged with the task's name, which an ExceptionGroup does not tell.
    """
    return group.create_task(_forever(coroutine, name), name=name)


async def _forever(coroutine: Coroutine[object, object, object], name: str) -> Never:
    try:
        await coroutine
    except Exception as error:
        _log.exception("task failed", task=name, kind=type(error).__name__)
        raise
    _log.error("task ended", task=name)
    raise UnexpectedEnd(name)


async def stop(task: asyncio.Task[T], *, patience: float = 30.0) -> None:
    """Cancel a task and wait until it is over; its failure, if any, is logged.

    A task that needs more than `patience` seconds to end is reported and still waited for: its
    owner must not go on while it runs.
    """
    task.cancel()
    done, _ = await asyncio.wait([task], timeout=patience)
    if not done:
        _log.error("task does not end", task=task.get_name(), waited=patience)
        await asyncio.wait([task])
    if not task.cancelled() and (error := task.exception()) is not None:
        _log.error("task failed while it was stopped", task=task.get_name(), error=repr(error))
