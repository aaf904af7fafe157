"""One kubectl that speaks one protocol: run to its end, beside the test, or at a terminal.

In: a cluster, a `Way`. Out: what kubectl says. Nothing waits without an end; whoever starts kubectl
beside a test ends it by leaving its context.
"""

from __future__ import annotations

import fcntl
import os
import pty
import select
import struct
import subprocess
import termios
import time
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

from tests.e2e.kubectl.ways import Protocol, Way
from tests.e2e.user import User

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.clusters import Cluster

_PATIENCE = 30.0
_SWITCHES = ("KUBECTL_REMOTE_COMMAND_WEBSOCKETS", "KUBECTL_PORT_FORWARD_WEBSOCKETS")


class Terminal:
    """The other end of a program's terminal."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self.seen = ""

    def type(self, text: str) -> None:
        """As if somebody typed it."""
        os.write(self._descriptor, text.encode())

    def resize(self, rows: int, columns: int) -> None:
        """The program gets a SIGWINCH."""
        fcntl.ioctl(self._descriptor, termios.TIOCSWINSZ, struct.pack("4H", rows, columns, 0, 0))

    def read_until(self, text: str) -> str:
        """Wait until the program shows `text`; returns what it showed before, since last time."""
        deadline = time.monotonic() + _PATIENCE
        while text not in self.seen:
            left = deadline - time.monotonic()
            ready, _, _ = select.select([self._descriptor], [], [], max(0.0, left))
            assert ready, f"waited in vain for {text!r}; seen: {self.seen!r}"
            try:
                data = os.read(self._descriptor, 1 << 16)
            except OSError:  # so it is told on Linux that nobody has the terminal open any more
                data = b""
            assert data, f"ended without {text!r}; seen: {self.seen!r}"
            self.seen += data.decode(errors="replace")
        between, _, self.seen = self.seen.partition(text)
        return between


class Kubectl:
    """kubectl of one way, in the user's namespace."""

    def __init__(self, cluster: Cluster, way: Way, program: Path) -> None:
        self.way = way
        self.user = User(replace(cluster, kubectl_program=program))
        websockets = "true" if way.client is Protocol.WEBSOCKET else "false"
        self._environment = {**os.environ, **dict.fromkeys(_SWITCHES, websockets)}
        if cluster.kubectl_cache:
            self._environment["KUBECACHEDIR"] = str(cluster.kubectl_cache)

    def run(self, *args: str, stdin: bytes | None = None) -> subprocess.CompletedProcess[bytes]:
        """Run it to its end."""
        return subprocess.run(
            self.user.command(*args),
            input=stdin,
            stdin=subprocess.DEVNULL if stdin is None else None,
            capture_output=True,
            timeout=2 * _PATIENCE,
            check=False,
            env=self._environment,
        )

    def says(self, *args: str) -> str:
        """Its output, if it succeeds."""
        done = self.run(*args)
        assert done.returncode == 0, done.stderr.decode()
        return done.stdout.decode()

    @contextmanager
    def beside(self, *args: str) -> Iterator[subprocess.Popen[bytes]]:
        """Run it beside the test with pipes; it is killed in the end if it still runs."""
        pipe = subprocess.PIPE
        with subprocess.Popen(
            self.user.command(*args),
            stdin=pipe,
            stdout=pipe,
            stderr=subprocess.DEVNULL,
            env=self._environment,
        ) as process:
            try:
                yield process
            finally:
                process.kill()

    @contextmanager
    def at_terminal(self, *args: str) -> Iterator[tuple[Terminal, subprocess.Popen[bytes]]]:
        """Run it at a terminal of 24 x 80; it is killed in the end if it still runs."""
        ours, theirs = pty.openpty()
        try:
            terminal = Terminal(ours)
            terminal.resize(24, 80)
            with subprocess.Popen(
                ["setsid", "--ctty", "--wait", *self.user.command(*args)],
                stdin=theirs,
                stdout=theirs,
                stderr=theirs,
                env=self._environment,
            ) as process:
                os.close(theirs)
                try:
                    yield terminal, process
                finally:
                    process.kill()
        finally:
            os.close(ours)  # whoever still has the other end gets a SIGHUP
