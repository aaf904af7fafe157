"""What stands between the two clusters: our agent, or any other virtual kubelet.

In: a federation. Out: a process that can be started, ended and looked at. Any other program is a
command line with the places `{tenant}` and `{compute}` for kubeconfigs, of administrators since we
do not know what rights it needs.
"""

from __future__ import annotations

import json
import shlex
import signal
import subprocess
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from tests.measuring.waiting import MeasurementError

if TYPE_CHECKING:
    from pathlib import Path

    from tests.clusters import Cluster

_END_SECONDS = 20.0
_READY_SECONDS = 60.0


@dataclass(frozen=True)
class Other:
    """Another virtual kubelet."""

    command: str
    node: str
    """Name of its virtual node."""
    user_agent: str
    """How its user agent begins."""
    namespace: str
    """Compute namespace of its pods."""


class Bridge(Protocol):
    """A program that forwards pods."""

    @property
    def pid(self) -> int:
        """Process id; raises when it does not run."""

    def start(self) -> None:
        """Start it."""

    def stop(self) -> int:
        """Ask it to end and wait; returns the exit code."""

    def wait_ready(self) -> None:
        """Wait until its virtual node is Ready."""


class OtherBridge:
    """Runs another virtual kubelet in a session of its own."""

    def __init__(self, other: Other, tenant: Cluster, compute: Cluster, *, log: Path) -> None:
        filled = other.command.format(tenant=tenant.kubeconfig, compute=compute.kubeconfig)
        self._command = shlex.split(filled)
        self._node = other.node
        self._tenant = tenant
        self._log = log
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """Process id."""
        if self._process is None:
            raise MeasurementError(f"{self._command[0]} is not running")
        return self._process.pid

    def start(self) -> None:
        """Its log is appended to."""
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def stop(self) -> int:
        """SIGTERM, and SIGKILL if that is not enough."""
        process, self._process = self._process, None
        if process is None:
            return 0
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
        try:
            return process.wait(timeout=_END_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            return process.wait(timeout=_END_SECONDS)

    def wait_ready(self) -> None:
        """Raises MeasurementError with the end of its log."""
        deadline = time.monotonic() + _READY_SECONDS
        while not self._is_ready():
            ended = self._process is None or self._process.poll() is not None
            if ended or time.monotonic() > deadline:
                tail = "\n".join(self._log.read_text(errors="replace").splitlines()[-30:])
                raise MeasurementError(f"node {self._node} is not Ready\n{tail}")
            time.sleep(0.3)

    def _is_ready(self) -> bool:
        shown = ("get", "node", self._node, "--ignore-not-found", "-o", "json")
        text = self._tenant.kubectl(*shown)
        conditions = json.loads(text)["status"].get("conditions", []) if text.strip() else []
        return any(c["type"] == "Ready" and c["status"] == "True" for c in conditions)
