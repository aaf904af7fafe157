"""The emulator as a process, held by a test: start, switches, what it has seen, end.

In: options of `python -m tests.eci serve`. Out: its address. Blocking, for tests that are.
"""

import json
import select
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import Any, Self

_ROOT = Path(__file__).parents[2]
_STARTS = 30.0
"""Seconds to the line that says it is ready."""


class EciService:
    """One emulator in a process of its own; `with EciService("--port", "8088") as eci:`."""

    def __init__(self, *options: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.eci", "serve", *options],
            cwd=_ROOT,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        assert self._process.stdout is not None
        readable, _, _ = select.select([self._process.stdout], [], [], _STARTS)
        line = self._process.stdout.readline() if readable else ""
        if not line:
            self.kill()
            raise RuntimeError("the emulator of ECI did not start")
        ready = json.loads(line)
        self.url: str = ready["url"]
        self.control: str = ready["control"]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def pid(self) -> int:
        return self._process.pid

    def state(self) -> dict[str, Any]:
        """Groups and calls, as `report.state` has them."""
        found: dict[str, Any] = json.loads(self._ask("/state"))
        return found

    def journal(self) -> list[dict[str, Any]]:
        """Every group that was ever made, as `report.journal` has it."""
        found: list[dict[str, Any]] = json.loads(self._ask("/journal"))
        return found

    def table(self) -> str:
        """The same, to read."""
        return self._ask("/table").decode()

    def faults(self, **switches: Any) -> None:
        """Set switches of `faults.Faults`, such as slow=2 or fail=[{"action": …, "times": 1}]."""
        self._ask("/faults", switches)

    def refuse_connections(self, seconds: float) -> None:
        """Close the API's port for so long."""
        self._ask("/refuse", {"for": seconds})

    def reclaim(self, group: str) -> None:
        """The spot market takes the group's instance back."""
        self._ask(f"/reclaim/{group}", {})

    def stop(self) -> None:
        """End it in order; then by force."""
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(timeout=30)
        except subprocess.TimeoutExpired:
            self.kill()
        self._close()

    def kill(self) -> None:
        """kill -9."""
        self._process.kill()
        self._process.wait()
        self._close()

    def _close(self) -> None:
        if self._process.stdout is not None:
            self._process.stdout.close()

    def _ask(self, path: str, body: object = None) -> bytes:
        data = None if body is None else json.dumps(body).encode()
        with urllib.request.urlopen(f"{self.control}{path}", data=data, timeout=30) as answer:
            text: bytes = answer.read()
            return text
