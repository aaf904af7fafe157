"""One container of a group: what was asked for it, and how it is now."""

from dataclasses import dataclass, field
from typing import Any

SIDECAR, IGNORE = "ECI_CONTAINER_TYPE", "ECI_CONTAINER_IGNORE_EXIT_CODE"
LAUNCH, EXIT = "ECI_CONTAINER_LAUNCH_PRIORITY", "ECI_CONTAINER_EXIT_PRIORITY"


@dataclass(frozen=True)
class Ended:
    """How a run ended."""

    started: float
    finished: float
    exit_code: int
    reason: str
    message: str = ""


@dataclass(frozen=True)
class Probe:
    """A probe with the documented defaults."""

    kind: str
    """`ReadinessProbe` or `LivenessProbe`."""
    asked: dict[str, Any]

    @property
    def delay(self) -> float:
        return float(self.asked.get("InitialDelaySeconds", 0))

    @property
    def period(self) -> float:
        return float(self.asked.get("PeriodSeconds", 10))

    @property
    def timeout(self) -> float:
        return float(self.asked.get("TimeoutSeconds", 1))

    @property
    def failures(self) -> int:
        return int(self.asked.get("FailureThreshold", 3))


@dataclass
class Container:
    """Running since `started`, or ended as `ended` says, or waiting for `waiting`."""

    asked: dict[str, Any]
    init: bool = False
    attempt: int = 0
    """How often it was started."""
    launched: bool = False
    """Its turn has come."""
    started: float | None = None
    ended: Ended | None = None
    previous: Ended | None = None
    waiting: str = "ContainerCreating"
    waiting_message: str = ""
    ready: bool = False
    failures: dict[str, int] = field(default_factory=dict)
    """Failed probes in a row, by kind."""

    @property
    def name(self) -> str:
        return str(self.asked["Name"])

    @property
    def running(self) -> bool:
        return self.started is not None

    @property
    def restarts(self) -> int:
        return max(0, self.attempt - 1)

    @property
    def environment(self) -> dict[str, str]:
        variables = self.asked.get("EnvironmentVar", ())
        return {one["Key"]: one.get("Value", "") for one in variables}

    @property
    def sidecar(self) -> bool:
        return self.environment.get(SIDECAR) == "sidecar"

    @property
    def succeeded(self) -> bool:
        """Its end counts as a success."""
        ignored = self.environment.get(IGNORE, "").lower() == "true"
        return self.ended is not None and (ignored or self.ended.exit_code == 0)

    @property
    def launch_priority(self) -> int:
        return int(self.environment.get(LAUNCH, 0))

    @property
    def exit_priority(self) -> int:
        return int(self.environment.get(EXIT, 0))

    @property
    def probes(self) -> list[Probe]:
        kinds = () if self.init else ("ReadinessProbe", "LivenessProbe")
        return [Probe(kind, self.asked[kind]) for kind in kinds if self.asked.get(kind)]

    @property
    def gated(self) -> bool:
        """Ready only when its readiness probe says so."""
        return any(probe.kind == "ReadinessProbe" for probe in self.probes)
