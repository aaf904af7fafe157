"""Containers that are played: what each does is written down, and nothing runs.

In: a `Fate` for each create. Out: exits, answers of probes and lines of logs, at times of the
injected clock.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from tests.eci.containers import Container, Probe
from tests.eci.engine import CannotStart, Timing
from tests.eci.lifecycle import Lifecycle
from tests.eci.modes import LogLine, Session


@dataclass(frozen=True)
class Script:
    """What one container does in a run."""

    runs: float | None = None
    """Seconds; None is until somebody ends it."""
    exit_code: int = 0
    message: str = ""
    """What it leaves in its termination message."""
    output: Sequence[str] = ()
    """Lines that it writes at its start."""
    ready_after: float = 0.0
    """Seconds until its readiness probe succeeds."""
    dies_after: float | None = None
    """Seconds after which its liveness probe fails."""
    stops_in: float = 0.0
    """Seconds after SIGTERM."""
    deaf: bool = False
    """SIGTERM does nothing."""
    cannot_start: str = ""
    """Such as ErrImagePull."""
    then: "Script | None" = None
    """What it does when it is started again; the same if nothing is said."""


@dataclass(frozen=True)
class Fate:
    """What happens to a group, in seconds after each other."""

    scheduling: float = 1.0
    pulling: float = 2.0
    runs: float | None = None
    """Of containers that are neither init nor sidecar nor in `containers`; None: for ever."""
    exit_code: int = 0
    schedule_fails: str = ""
    """Reason, such as NoStock; then it never gets a place."""
    terminating: float = 1.0
    """From the end of its containers until it is gone."""
    containers: Mapping[str, Script] = field(default_factory=dict)

    def script(self, container: Container) -> Script:
        """What a container does in its present run."""
        if (script := self.containers.get(container.name)) is None:
            if container.init:
                return Script(runs=0.0)
            return Script() if container.sidecar else Script(self.runs, self.exit_code)
        for _ in range(container.attempt - 1):
            script = script.then or script
        return script


def with_sleeps(fate: Fate) -> Callable[[dict[str, Any]], Fate]:
    """As `fate` says, but a container whose command is `sleep N` runs for so many seconds."""

    def of(asked: dict[str, Any]) -> Fate:
        naps = {one["Name"]: one.get("Command", ()) for one in asked["Container"]}
        scripts = {
            name: Script(float(command[1]))
            for name, command in naps.items()
            if len(command) == 2 and command[0] == "sleep" and command[1].isdecimal()
        }
        return replace(fate, containers={**fate.containers, **scripts})

    return of


def _echo(command: Sequence[str]) -> bytes:
    return (" ".join(command) + "\n").encode()


class Scripted:
    """The mode for tests at speed."""

    live = False

    def __init__(
        self,
        fate: Callable[[dict[str, Any]], Fate] = lambda _: Fate(),
        *,
        output: Callable[[list[str]], bytes] = _echo,
    ) -> None:
        """`output` is what a command of exec writes."""
        self._fate = fate
        self._output = output

    def engine(self, asked: dict[str, Any], group: str) -> tuple["ScriptedEngine", Timing]:
        fate = self._fate(asked)
        timing = Timing(fate.scheduling, fate.pulling, fate.terminating, fate.schedule_fails)
        return ScriptedEngine(fate, self._output), timing

    async def open(self) -> None:
        pass

    async def close(self) -> None:
        pass


class ScriptedEngine:
    """Plays one group."""

    def __init__(self, fate: Fate, output: Callable[[list[str]], bytes]) -> None:
        self._fate = fate
        self._output = output
        self._logs: dict[str, list[list[LogLine]]] = {}

    def start(self, life: Lifecycle, container: Container) -> None:
        script = self._fate.script(container)
        if script.cannot_start:
            raise CannotStart(script.cannot_start, f"{container.name}: {script.cannot_start}")
        runs = self._logs.setdefault(container.name, [])
        runs.append([LogLine(life.now, line) for line in script.output])
        if script.runs is not None:
            self._end(life, container, script.runs, script.exit_code, script.message)

    def stop(self, life: Lifecycle, container: Container) -> None:
        script = self._fate.script(container)
        if not script.deaf:
            self._end(life, container, script.stops_in, 143)

    def kill(self, life: Lifecycle, container: Container) -> None:
        self._end(life, container, 0.0, 137)

    def probe(
        self,
        life: Lifecycle,
        container: Container,
        probe: Probe,
        done: Callable[[bool, str], None],
    ) -> None:
        assert container.started is not None
        script, age = self._fate.script(container), life.now - container.started
        if probe.kind == "ReadinessProbe":
            done(age >= script.ready_after, "not yet")
        else:
            done(script.dies_after is None or age < script.dies_after, "no more")

    def clean(self, life: Lifecycle) -> None:
        pass

    def write(self, container: str, text: str, now: float) -> None:
        """The container writes a line."""
        self._logs.setdefault(container, [[]])[-1].append(LogLine(now, text))

    def log(self, container: str, *, previous: bool) -> Sequence[LogLine]:
        runs = self._logs.get(container, [])
        which = 2 if previous else 1
        return runs[-which] if len(runs) >= which else ()

    async def execute(
        self, container: str, command: Sequence[str], *, tty: bool, stdin: bool
    ) -> Session:
        code = int(command[1]) if command[:1] == ["exit"] else 0
        return EchoSession(self._output(list(command)), stdin=stdin, exit_code=code)

    def _end(
        self, life: Lifecycle, container: Container, after: float, code: int, message: str = ""
    ) -> None:
        attempt = container.attempt

        def end() -> None:
            if container.attempt == attempt:
                life.exited(container, code, now=life.now, message=message)

        life.at(life.now + after, end)


class EchoSession:
    """Says one thing, then, with stdin, gives back what is typed until it is closed."""

    def __init__(self, said: bytes, *, stdin: bool, exit_code: int = 0) -> None:
        self._exit_code = exit_code
        self._pending: asyncio.Queue[bytes] = asyncio.Queue()
        self._pending.put_nowait(said)
        if not stdin:
            self._pending.put_nowait(b"")

    async def read(self) -> tuple[int, bytes]:
        return 1, await self._pending.get()

    async def write(self, data: bytes) -> None:
        self._pending.put_nowait(data)

    async def resize(self, *, width: int, height: int) -> None:
        self._pending.put_nowait(f"{width}x{height}".encode())

    async def exit_code(self) -> int:
        return self._exit_code

    async def close(self) -> None:
        self._pending.put_nowait(b"")
