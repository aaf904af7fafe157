"""Runs the containers of one group: the `Engine` of its lifecycle.

In: calls of the lifecycle, which do not wait; they become tasks of the mode. Out: `exited` when a
container has ended, logs, answers of probes. What cannot start ends with 128 and says why in its
termination message, as kubelets do.
"""

import asyncio
import contextlib
import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from typing import Any

from tests.eci.containers import Container, Probe
from tests.eci.engine import CannotStart
from tests.eci.lifecycle import Lifecycle
from tests.eci.modes import LogLine, Session
from tests.eci.process import probes
from tests.eci.process.images import Image, Images
from tests.eci.process.session import CommandSession, closed, ended, launch, run_command
from tests.eci.process.spec import (
    Places,
    container_spec,
    identity,
    make_volumes,
    write_network_files,
)

_KEPT_LINES = 20_000
_MESSAGE, _FROM_LOG = 4096, 2048
"""Bytes of a termination message; from the end of the log."""
_HOOK = 30.0


@dataclass
class _Run:
    container: Container
    image: Image
    log: list[LogLine] = field(default_factory=list)
    process: "subprocess.Popen[bytes] | None" = None
    stopping: bool = False
    up: asyncio.Event = field(default_factory=asyncio.Event)
    """Its own program runs, or has run."""


class ProcessEngine:
    """One group."""

    def __init__(
        self,
        asked: dict[str, Any],
        places: Places,
        *,
        images: Images,
        network: bool,
        background: Callable[[Coroutine[Any, Any, None]], None],
    ) -> None:
        self._asked = asked
        self._places = places
        self._images = images
        self._network = network
        self._background = background
        self._runs: dict[str, list[_Run]] = {}
        self._holder: subprocess.Popen[bytes] | None = None
        self._init = 0
        self._making = asyncio.Lock()
        self._over = False

    def start(self, life: Lifecycle, container: Container) -> None:
        image = self._images.find(container.asked["Image"])
        for volume in self._asked.get("Volume", ()):
            self._places.check(volume)
        run = _Run(container, image)
        self._runs.setdefault(container.name, []).append(run)
        del self._runs[container.name][:-2]
        self._background(self._run(life, run, container.attempt))

    def stop(self, life: Lifecycle, container: Container) -> None:
        self._background(self._stop(self._present(container)))

    def kill(self, life: Lifecycle, container: Container) -> None:
        run = self._present(container)
        run.stopping = True
        if run.process is not None and run.process.poll() is None:
            run.process.kill()

    def probe(
        self,
        life: Lifecycle,
        container: Container,
        probe: Probe,
        done: Callable[[bool, str], None],
    ) -> None:
        self._background(self._probe(life, container, probe, done))

    def clean(self, life: Lifecycle) -> None:
        self.end()

    def end(self) -> None:
        """Kill all there is, and remove it. Again is no matter."""
        if self._over:
            return
        self._over = True
        if self._holder is not None and self._holder.poll() is None:
            self._holder.kill()
        self._background(self._remove())

    def log(self, container: str, *, previous: bool) -> Sequence[LogLine]:
        runs = self._runs.get(container, [])
        which = 2 if previous else 1
        return list(runs[-which].log) if len(runs) >= which else ()

    async def execute(
        self, container: str, command: Sequence[str], *, tty: bool, stdin: bool
    ) -> Session:
        run = self._runs[container][-1]
        await run.up.wait()
        return CommandSession(self._inside(run, command) | {"tty": tty}, stdin=stdin)

    def _present(self, container: Container) -> _Run:
        return self._runs[container.name][-1]

    async def _run(self, life: Lifecycle, run: _Run, attempt: int) -> None:
        container = run.container
        try:
            async with self._making:
                root = await asyncio.to_thread(self._images.unpacked, run.image)
                if not self._init:
                    await self._make_sandbox()
            if run.stopping or self._over:
                code = 137
            else:
                code = await self._until_end(life, run, root)
        except (OSError, CannotStart) as error:
            run.log.append(LogLine(time.time(), f"failed to start: {error}"))
            code = 128
        run.up.set()
        if container.attempt == attempt:
            life.exited(container, code, now=time.time(), message=self._message(run, code))

    async def _until_end(self, life: Lifecycle, run: _Run, root: Any) -> int:
        container = run.container
        spec = container_spec(
            self._asked,
            container,
            image=run.image,
            root=root,
            init=self._init,
            places=self._places,
        )
        ours, theirs = os.pipe()
        waiting, up = os.pipe()
        try:
            run.process = launch(
                "container", spec | {"up": up}, output=theirs, errors=theirs, keeps=[up]
            )
        finally:
            os.close(theirs)
            os.close(up)
        await closed(waiting)
        run.up.set()
        reading = asyncio.create_task(_lines(ours, run.log))
        hook = container.asked.get("LifecyclePostStartHandlerExec")
        if hook:
            self._background(self._hook(run, hook))
        code = await ended(run.process)
        with contextlib.suppress(TimeoutError):
            # A process that outlived the container's own may hold the pipe for a moment.
            async with asyncio.timeout(1):
                await reading
        reading.cancel()
        return code

    async def _make_sandbox(self) -> None:
        self._places.folder.mkdir(parents=True)
        write_network_files(self._asked, self._places)
        spec = {
            "network": self._network,
            "hostname": self._places.hostname,
            "volumes": make_volumes(self._asked, self._places),
        }
        self._holder = launch("sandbox", spec, output=subprocess.PIPE, errors=subprocess.STDOUT)
        assert self._holder.stdout is not None
        with self._holder.stdout as said:
            number = await asyncio.to_thread(said.readline)
            ready = await asyncio.to_thread(said.readline)
            words = {number.strip(), ready.strip()}
            if b"ready" not in words:
                raise OSError(f"no sandbox: {(number + ready).decode(errors='replace')}")
        self._init = int(next(word for word in words if word.isdigit()))

    async def _hook(self, run: _Run, command: Sequence[str]) -> None:
        code, said = await self._command(run, command, timeout=_HOOK)
        if code and run.process is not None:
            run.log.append(LogLine(time.time(), f"postStart failed: {said.strip()}"))
            run.process.kill()

    async def _stop(self, run: _Run) -> None:
        run.stopping = True
        await run.up.wait()
        hook = run.container.asked.get("LifecyclePreStopHandlerExec")
        if hook:
            with contextlib.suppress(OSError, CannotStart):
                await self._command(run, hook, timeout=_HOOK)
        if run.process is not None and run.process.poll() is None:
            run.process.send_signal(signal.SIGTERM)

    async def _probe(
        self,
        life: Lifecycle,
        container: Container,
        probe: Probe,
        done: Callable[[bool, str], None],
    ) -> None:
        run = self._present(container)
        command = probe.asked.get("Exec", {}).get("Command")
        try:
            if command:
                code, said = await self._command(run, command, timeout=probe.timeout)
                good, why = code == 0, said.strip()
            else:
                good, why = await probes.ask(self._init, probe.asked, timeout=probe.timeout)
        except (OSError, CannotStart) as error:
            good, why = False, str(error)
        life.advance(time.time())
        done(good, why[:200])

    async def _command(
        self, run: _Run, command: Sequence[str], *, timeout: float
    ) -> tuple[int, str]:
        await run.up.wait()
        return await run_command(self._inside(run, command), timeout=timeout)

    def _inside(self, run: _Run, command: Sequence[str]) -> dict[str, Any]:
        """What the launcher is told to run a command in a container."""
        if run.process is None or run.process.poll() is not None:
            raise CannotStart("NotRunning", "the container does not run")
        pid = _child(_child(run.process.pid))
        who = identity(run.container, run.image, self._places)
        return {"pid": pid, "command": list(command), **who}

    def _message(self, run: _Run, code: int) -> str:
        with contextlib.suppress(OSError):
            message = self._places.termination(run.container).read_bytes()[:_MESSAGE]
            if message:
                return message.decode(errors="replace")
        policy = run.container.asked.get("TerminationMessagePolicy", "")
        if code == 128 or (code and policy == "FallbackToLogsOnError"):
            return "".join(f"{line.text}\n" for line in run.log)[-_FROM_LOG:]
        return ""

    async def _remove(self) -> None:
        if self._holder is not None:
            await ended(self._holder)
        for runs in self._runs.values():
            for one in runs:
                if one.process is not None:
                    await ended(one.process)
        await asyncio.to_thread(shutil.rmtree, self._places.folder, ignore_errors=True)


async def _lines(handle: int, log: list[LogLine]) -> None:
    """Read a pipe to its end into lines with times."""
    reader = asyncio.StreamReader(limit=1 << 20)
    pipe = os.fdopen(handle, "rb", buffering=0)
    transport, _ = await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), pipe
    )
    try:
        rest = b""
        while data := await reader.read(1 << 16):
            *whole, rest = (rest + data).split(b"\n")
            now = time.time()
            log += [LogLine(now, line.decode(errors="replace")) for line in whole]
            del log[:-_KEPT_LINES]
        if rest:
            log.append(LogLine(time.time(), rest.decode(errors="replace")))
    finally:
        transport.close()


def _child(pid: int) -> int:
    """The only child of a process. Raises CannotStart while there is none."""
    for name in os.listdir("/proc"):
        if name.isdigit():
            with contextlib.suppress(OSError), open(f"/proc/{name}/stat") as stat:
                if re.sub(r".*\) ", "", stat.read()).split()[1] == str(pid):
                    return int(name)
    raise CannotStart("NotRunning", "the container is not up yet")
