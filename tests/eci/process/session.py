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
    loop, done = asyncio.get_running_loop(), asyncio.Event()
    loop.add_reader(handle, done.set)
    try:
        await done.wait()
    finally:
        loop.remove_reader(handle)
        os.close(handle)


async def ended(process: "subprocess.Popen[bytes]") -> int:
    """The exit code, by the kernel's word on the process."""
    if process.poll() is not None:
        return _shell(process.returncode)
    handle = os.pidfd_open(process.pid)
    loop, done = asyncio.get_running_loop(), asyncio.Event()
    loop.add_reader(handle, done.set)
    try:
        await done.wait()
    finally:
        loop.remove_reader(handle)
        os.close(handle)
    return _shell(process.wait())


def _shell(code: int) -> int:
    """As a shell counts ends by signals."""
    return 128 - code if code < 0 else code


async def run_command(spec: dict[str, Any], *, timeout: float) -> tuple[int, str]:
    """Exit code and output of a command; 124 when it took too long."""
    session = CommandSession({**spec, "tty": False}, stdin=False)
    written = bytearray()
    try:
        async with asyncio.timeout(timeout):
            while data := await session.read():
                written += data
            return await ended(session.process), written.decode(errors="replace")
    except TimeoutError:
        return 124, "timed out"
    finally:
        await session.close()


class CommandSession:
    """Reads both streams as one, as the wire has them."""

    def __init__(self, spec: dict[str, Any], *, stdin: bool) -> None:
        if spec["tty"]:
            ours, theirs = pty.openpty()
            fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
            self._read, self._write = ours, os.dup(ours)
            given = [theirs]
            self.process = launch("command", spec, stdin=theirs, output=theirs, errors=theirs)
        else:
            self._read, out = os.pipe()
            source, self._write = os.pipe()
            given = [out, source]
            if not stdin:
                os.close(self._write)
                self._write = -1
            self.process = launch("command", spec, stdin=source, output=out, errors=out)
        for handle in given:
            os.close(handle)
        os.set_blocking(self._read, False)

    async def read(self) -> bytes:
        loop = asyncio.get_running_loop()
        while self._read >= 0:
            try:
                return os.read(self._read, _CHUNK)
            except BlockingIOError:
                ready = asyncio.Event()
                loop.add_reader(self._read, ready.set)
                try:
                    await ready.wait()
                finally:
                    loop.remove_reader(self._read)
            except OSError:  # a terminal that nobody holds any more
                return b""
        return b""

    async def write(self, data: bytes) -> None:
        if self._write >= 0:
            with contextlib.suppress(OSError):
                await asyncio.to_thread(os.write, self._write, data)

    async def close(self) -> None:
        """Close all ends. A command that goes on is ended, as nobody can reach it."""
        for handle in (self._read, self._write):
            if handle >= 0:
                os.close(handle)
        self._read = self._write = -1
        if self.process.poll() is None:
            self.process.kill()
        await ended(self.process)
