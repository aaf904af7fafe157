"""Logs, exec, attach and port-forward: what clients ask for, and the two forms of an open stream.

Whatever an open stream has between its two ends is bounded.
"""

import enum
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class LogOptions:
    """v1.PodLogOptions; None: not asked for."""

    container: str
    follow: bool = False
    previous: bool = False
    timestamps: bool = False
    since_seconds: int | None = None
    since_time: str | None = None
    tail_lines: int | None = None
    limit_bytes: int | None = None


class StreamVerb(enum.StrEnum):
    """Streaming subresources of a pod."""

    EXEC = "exec"
    ATTACH = "attach"
    PORT_FORWARD = "portforward"


@dataclass(frozen=True, slots=True)
class StreamRequest:
    """An exec, attach or port-forward that a client of the tenant asked for."""

    verb: StreamVerb
    method: str
    """GET (WebSocket) or POST (SPDY), sent on as received."""
    container: str = ""
    command: Sequence[str] = ()
    stdin: bool = False
    stdout: bool = False
    stderr: bool = False
    tty: bool = False
    ports: Sequence[int] = ()
    headers: Sequence[tuple[str, str]] = ()
    """Upgrade, Sec-WebSocket-* and X-Stream-Protocol-Version as received; no credentials."""


class UpgradedConnection(Protocol):
    """A connection below that switched protocols. The bytes are opaque to us."""

    status: int
    headers: Sequence[tuple[str, str]]
    """Headers of the 101 answer, to be relayed."""

    def splice(self, transport: object, *, early: bytes) -> "SplicedConnection":
        """Copy bytes both ways between `transport` (asyncio) and the peer until one side ends."""
        ...

    def abort(self) -> None:
        """Close without splicing."""
        ...


class SplicedConnection(Protocol):
    """Two connections glued together."""

    async def wait_closed(self) -> None:
        """Return when both sides are closed."""
        ...

    def close(self) -> None:
        """Flush and close both sides."""
        ...


class ExecSession(Protocol):
    """The Session form of exec and attach, for backends without an upgradeable endpoint.

    The kubelet server speaks WebSocket with the client and calls this. It has three callers at
    once: one for input and sizes, one for output and the exit code, one that closes.
    """

    async def write_stdin(self, data: bytes) -> None:
        """Hand bytes to the process, and return when it, or a pipe of bounded size, has taken them.

        Raises:
            StreamError: the process takes no input any more; it may go on all the same.
        """
        ...

    async def close_stdin(self) -> None:
        """End of input. Never called where the client cannot tell (`v4.channel.k8s.io`)."""
        ...

    def output(self) -> AsyncIterator[tuple[int, bytes]]:
        """Yield (1, stdout bytes) and (2, stderr bytes) until the process ends.

        Called once. While nobody asks for the next piece the process has to wait: what is between
        is bounded. Raises StreamError if the connection to the process breaks; its text is shown.
        """
        ...

    async def resize(self, *, width: int, height: int) -> None:
        """Terminal size in characters, 0 to 65535."""
        ...

    async def exit_code(self) -> int:
        """Wait for the process and return its exit code; asked after `output` ended, for exec.

        Raises:
            StreamError: it cannot be known.
        """
        ...

    async def close(self) -> None:
        """Give the session up, whatever goes on in it. Called once, always, has 5 s."""
        ...
