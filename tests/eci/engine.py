"""What a lifecycle needs of whoever runs its containers."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from tests.eci.containers import Container, Probe

if TYPE_CHECKING:
    from tests.eci.lifecycle import Lifecycle


class CannotStart(Exception):
    """The container did not begin to run; `reason` is what its state waits with."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class Engine(Protocol):
    """Runs containers, or plays them. It reports by `exited`, at any time after `start`."""

    def start(self, life: "Lifecycle", container: Container) -> None:
        """Begin a run. Raises CannotStart."""

    def stop(self, life: "Lifecycle", container: Container) -> None:
        """The preStop handler, then SIGTERM."""

    def kill(self, life: "Lifecycle", container: Container) -> None:
        """SIGKILL."""

    def probe(
        self,
        life: "Lifecycle",
        container: Container,
        probe: Probe,
        done: Callable[[bool, str], None],
    ) -> None:
        """Ask once, and tell `done` the outcome and why."""

    def clean(self, life: "Lifecycle") -> None:
        """Nothing of the group runs any more."""


@dataclass(frozen=True)
class Timing:
    """What ECI takes, in seconds, and whether it finds a place at all."""

    scheduling: float
    pulling: float
    terminating: float
    schedule_fails: str = ""
