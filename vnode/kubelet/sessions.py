"""Counts and limits log and stream sessions, and ends them on shutdown.

One `Sessions` for all virtual nodes of an agent, so that a tenant namespace cannot use up the
agent by spreading over nodes. A session lives as long as its `open` block.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from vnode.kube.types import NodeName

__all__ = ["Session", "SessionStatistics", "Sessions", "TooManySessions"]


class TooManySessions(Exception):
    """A limit is reached. `code` is the HTTP status, the text is for the client."""

    def __init__(self, message: str, *, code: int) -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True, slots=True)
class SessionStatistics:
    """A snapshot."""

    open: int
    namespaces: int
    refused: int


@dataclass(slots=True, eq=False)
class Session:
    """One log or stream request that is being served."""

    node: NodeName
    namespace: str
    close: Callable[[], object] = field(repr=False)
    """Ends it; at first the cancellation of the task that serves it."""


class Sessions:
    """The sessions of all virtual nodes."""

    def __init__(self, *, per_namespace: int, total: int = 2000) -> None:
        """Allow `per_namespace` sessions of one tenant namespace and `total` altogether."""
        self._per_namespace = per_namespace
        self._total = total
        self._open: set[Session] = set()
        self._namespaces: Counter[str] = Counter()
        self._refused = 0
        self._ended = asyncio.Event()

    @contextmanager
    def open(self, *, node: NodeName, namespace: str) -> Iterator[Session]:
        """Count the current task as a session until the block ends.

        Raises:
            TooManySessions: 429 if the namespace has its share, 503 if the agent is full.
        """
        self._check(namespace)
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - a context manager for coroutines
        session = Session(node=node, namespace=namespace, close=task.cancel)
        self._open.add(session)
        self._namespaces[namespace] += 1
        try:
            yield session
        finally:
            self._open.discard(session)
            self._namespaces[namespace] -= 1
            if not self._namespaces[namespace]:
                del self._namespaces[namespace]
            self._ended.set()

    async def wait_ended(self, node: NodeName) -> None:
        """Return when `node` has no session. Unbounded: callers set the time limit."""
        while any(session.node == node for session in self._open):
            self._ended.clear()
            await self._ended.wait()

    def close(self, node: NodeName) -> int:
        """Begin to end all sessions of `node`; returns how many there are."""
        mine = [session for session in self._open if session.node == node]
        for session in mine:
            session.close()
        return len(mine)

    def statistics(self) -> SessionStatistics:
        """Numbers as of now."""
        return SessionStatistics(
            open=len(self._open), namespaces=len(self._namespaces), refused=self._refused
        )

    def _check(self, namespace: str) -> None:
        if self._namespaces[namespace] >= self._per_namespace:
            self._refused += 1
            raise TooManySessions(
                f"namespace {namespace} has {self._per_namespace} log and stream sessions open "
                "on virtual nodes, which is the limit; close some and try again",
                code=429,
            )
        if len(self._open) >= self._total:
            self._refused += 1
            raise TooManySessions(
                "the virtual nodes serve as many log and stream sessions as they can; "
                "try again later",
                code=503,
            )
