"""A command in a container that runs: a process, its output, and what is typed.

`run_command` is for probes and hooks, `CommandSession` for exec, with a terminal or pipes.
"""

import asyncio
import contextlib
import fcntl
import json
import os
import pty
import struct
import subprocess
import sys
import termios
from collections.abc import Sequence
from pathlib import Path
from typing import Any

_LAUNCHER = Path(__file__).with_name("launcher.py")
_CHUNK = 1 << 16


def launch(
    what: str,
    spec: dict[str, Any],
    *,
    stdin: int = subprocess.DEVNULL,
    output: int,
    errors: int,
    keeps: Sequence[int] = (),
) -> "subprocess.Popen[bytes]":
    """Start the launcher, which `keeps` these of our open files."""
    return subprocess.Popen(
        [sys.executable, "-I", "-S", str(_LAUNCHER), what],
        stdin=stdin,
        stdout=output,
        stderr=errors,
        pass_fds=keeps,
        env={"ECI_LAUNCH": json.dumps(spec)},
    )


async def closed(handle: int) -> None:
    """Return when nobody holds the other end of a pipe any more, and close ours."""
    os.set_blocking(handle, False)
    await _readable(handle)


async def ended(process: "subprocess.Popen[bytes]") -> int:
    """The exit code, by the kernel's word on the process."""
    if process.poll() is not None:
        return _shell(process.returncode)
    await _readable(os.pidfd_open(process.pid))
    return _shell(process.wait())


async def _readable(handle: int) -> None:
    """Wait until there is something to read, or never will be; close it."""
    loop, done = asyncio.get_running_loop(), asyncio.Event()
    loop.add_reader(handle, done.set)
    try:
        await done.wait()
    finally:
        loop.remove_reader(handle)
        os.close(handle)


def _shell(code: int) -> int:
    """As a shell counts ends by signals."""
    return 128 - code if code < 0 else code


async def run_command(spec: dict[str, Any], *, timeout: float) -> tuple[int, str]:
    """Exit code and output of a command; 124 when it took too long."""
    session = CommandSession({**spec, "tty": False}, stdin=False)
    written = bytearray()
    try:
        async with asyncio.timeout(timeout):
            while data := (await session.read())[1]:
                written += data
            return await ended(session.process), written.decode(errors="replace")
    except TimeoutError:
        return 124, "timed out"
    finally:
        await session.close()


class CommandSession:
    """A terminal has one stream, pipes two."""

    def __init__(self, spec: dict[str, Any], *, stdin: bool) -> None:
        self._tty = spec["tty"]
        if self._tty:
            ours, theirs = pty.openpty()
            os.set_blocking(ours, False)
            self._write = os.dup(ours)
            self._open = {ours: 1}
            self._set_size(height=24, width=80)
            given = [theirs]
            self.process = launch("command", spec, stdin=theirs, output=theirs, errors=theirs)
        else:
            source, self._write = os.pipe()
            read, out = os.pipe()
            read_errors, errors = os.pipe()
            self._open = {read: 1, read_errors: 2}
            given = [out, errors, source]
            if not stdin:
                os.close(self._write)
                self._write = -1
            self.process = launch("command", spec, stdin=source, output=out, errors=errors)
        for handle in given:
            os.close(handle)
        for handle in self._open:
            os.set_blocking(handle, False)

    async def read(self) -> tuple[int, bytes]:
        loop = asyncio.get_running_loop()
        while self._open:
            for handle, stream in list(self._open.items()):
                try:
                    data = os.read(handle, _CHUNK)
                except BlockingIOError:
                    continue
                except OSError:  # a terminal that nobody holds any more
                    data = b""
                if data:
                    return stream, data
                os.close(handle)
                del self._open[handle]
            if self._open:
                ready = asyncio.Event()
                waited_for = list(self._open)
                for handle in waited_for:
                    loop.add_reader(handle, ready.set)
                try:
                    await ready.wait()
                finally:
                    for handle in waited_for:
                        loop.remove_reader(handle)
        return 1, b""

    async def write(self, data: bytes) -> None:
        if self._write >= 0:
            with contextlib.suppress(OSError):
                await asyncio.to_thread(os.write, self._write, data)

    async def resize(self, *, width: int, height: int) -> None:
        if self._tty and self._write >= 0:
            self._set_size(width=width, height=height)

    async def exit_code(self) -> int:
        return await ended(self.process)

    async def close(self) -> None:
        """Close all ends. A command that goes on is ended, as nobody can reach it."""
        for handle in (*self._open, self._write):
            if handle >= 0:
                os.close(handle)
        self._open.clear()
        self._write = -1
        if self.process.poll() is None:
            self.process.kill()
        await ended(self.process)

    def _set_size(self, *, width: int, height: int) -> None:
        fcntl.ioctl(self._write, termios.TIOCSWINSZ, struct.pack("HHHH", height, width, 0, 0))
