"""How groups are run: the strategy that an emulator is made with.

`script.Scripted` plays containers by a script, thousands at speed, on any clock;
`process.Processes` runs them on this machine.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from tests.eci.engine import Engine, Timing


@dataclass(frozen=True)
class LogLine:
    at: float
    """Unix seconds."""
    text: str


class Session(Protocol):
    """A command that runs in a container."""

    async def read(self) -> tuple[int, bytes]:
        """What it writes, and where: 1 is standard output, 2 errors. Empty at its end."""

    async def write(self, data: bytes) -> None:
        """What is typed."""

    async def resize(self, *, width: int, height: int) -> None:
        """The terminal has another size, in characters."""

    async def exit_code(self) -> int:
        """Asked at the end of what it writes."""

    async def close(self) -> None:
        """Nobody reads or types any more; a `read` that waits has been cancelled before."""


class GroupEngine(Engine, Protocol):
    """What runs one group."""

    def log(self, container: str, *, previous: bool) -> Sequence[LogLine]:
        """Lines of the present run, or of the one before."""

    async def execute(
        self, container: str, command: Sequence[str], *, tty: bool, stdin: bool
    ) -> Session:
        """Start a command in a running container."""


class Mode(Protocol):
    """Makes engines."""

    live: bool
    """Containers end by themselves, so that groups are looked at all the time."""

    def engine(self, asked: dict[str, Any], group: str) -> tuple[GroupEngine, Timing]:
        """An engine for a new group, and the times that ECI takes for it."""

    async def open(self) -> None:
        """Called when the emulator starts."""

    async def close(self) -> None:
        """End everything that runs. Called when the emulator ends."""
