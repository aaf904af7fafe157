"""One agent as a process of its own: start, look at, end, kill.

In: a configuration file. Out: a running `vnode run`. Owned by whoever starts it; `stop` and `kill`
wait until it is gone.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import TracebackType

    from tests.agents.join import Federation

_READY_SECONDS = 90.0
"""On a machine with many control planes more than 40 s were seen."""
_STOP_SECONDS = 30.0
"""As long as a kubelet waits for it (deploy/tenant/deployment.yaml)."""


class AgentError(Exception):
    """The agent ended, or did not get ready in time; holds the end of its log."""


class AgentProcess:
    """`vnode run` against a federation."""

    def __init__(
        self,
        federation: Federation,
        *,
        identity: str = "agent-0",
        program: Sequence[str] = (),
    ) -> None:
        """`program`: what takes the arguments of `vnode`, if not `vnode` itself."""
        self._federation = federation
        self._identity = identity
        self._program = list(program) or [str(Path(sys.executable).with_name("vnode"))]
        self.log = federation.directory / f"{identity}.log"
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> AgentProcess:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    @property
    def identity(self) -> str:
        """Name of this replica in leader election."""
        return self._identity

    @property
    def pid(self) -> int:
        """Process id of the running agent."""
        if self._process is None:
            raise AgentError("the agent is not running")
        return self._process.pid

    @property
    def alive(self) -> bool:
        """Whether it runs."""
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Start it in a session of its own; its log is appended to."""
        config = str(self._federation.config)
        command = [*self._program, "run", "--config", config, "--identity", self._identity]
        environment = {**os.environ, "PYTHONWARNINGS": "default"}
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                env=environment,
            )

    def ensure_running(self) -> None:
        """Start it again if it does not run."""
        if not self.alive:
            self.start()

    def stop(self) -> int:
        """Ask it to end (SIGTERM) and wait; returns the exit code."""
        return self._end(signal.SIGTERM)

    def kill(self) -> int:
        """kill -9."""
        return self._end(signal.SIGKILL)

    def pause(self) -> None:
        """Stop it where it stands (SIGSTOP), as a machine that hangs does."""
        os.kill(self.pid, signal.SIGSTOP)

    def resume(self) -> None:
        """Let it go on as if no time had passed (SIGCONT)."""
        os.kill(self.pid, signal.SIGCONT)

    def wait_ready(self, *, timeout: float = _READY_SECONDS) -> None:
        """Wait until all virtual nodes are Ready with this agent's capacity published."""
        deadline = time.monotonic() + timeout
        while True:
            self._check_alive()
            missing = [n for n in self._federation.nodes if not self._node_ready(n)]
            if not missing:
                return
            if time.monotonic() > deadline:
                raise AgentError(f"not ready after {timeout:g} s: {missing}\n{self.log_tail()}")
            time.sleep(0.3)

    def log_tail(self, lines: int = 30) -> str:
        """The end of its log."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])

    def _node_ready(self, name: str) -> bool:
        node = self._federation.tenant.find(f"/api/v1/nodes/{name}")
        if node is None:
            return False
        status = node["status"]
        ready = any(
            c["type"] == "Ready" and c["status"] == "True" for c in status.get("conditions", [])
        )
        return ready and status.get("allocatable", {}).get("pods", "0") != "0"

    def _check_alive(self) -> None:
        if self._process is None or self._process.poll() is not None:
            code = self._process.returncode if self._process else None
            raise AgentError(f"the agent ended with code {code}\n{self.log_tail()}")

    def _end(self, number: int) -> int:
        if self._process is None:
            return 0
        process, self._process = self._process, None
        if process.poll() is None:
            process.send_signal(number)
        try:
            return process.wait(timeout=_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(timeout=_STOP_SECONDS)
            raise AgentError(f"the agent did not end within {_STOP_SECONDS:g} s") from None
