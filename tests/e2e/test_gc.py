"""`vnode gc` with the agent's own rights: it lists what nobody has any more, and lets it go."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.e2e.user import BELOW, User
from tests.e2e.workloads import pod

if TYPE_CHECKING:
    from tests.agents import AgentProcess, Federation

KWOK = "kwok-a"


def _gc(federation: Federation, *arguments: str) -> str:
    vnode = Path(sys.executable).with_name("vnode")
    command = [str(vnode), "gc", "--config", str(federation.config), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def _held(federation: Federation) -> dict[str, Any]:
    return {each["name"]: each for each in json.loads(_gc(federation, "-o", "json"))}


def test_a_copy_without_pod_is_listed_and_goes_when_it_is_released(
    user: User, agent: AgentProcess, federation: Federation
) -> None:
    below = User(federation.computes[KWOK], BELOW)
    user.apply(pod("kept", cluster=KWOK), pod("left", cluster=KWOK), pod("other", cluster=KWOK))
    for name in ("kept", "left", "other"):
        user.wait_phase(name, "Running")
    agent.stop()
    user.kubectl("delete", "pod", "left", "other", "--force", "--grace-period=0")

    held = _held(federation)
    assert set(held) == {"left", "other"}
    assert (held["left"]["cluster"], held["left"]["node"]) == (KWOK, f"vnode-{KWOK}")
    assert "team-a/left" in _gc(federation), "as a table too"
    _gc(federation, "--release", "team-a/left", "--yes")
    below.wait_gone("pod", "left")
    assert set(_held(federation)) == {"other"}
    assert below.get("pod", "kept")["status"]["phase"] == "Running"

    agent.ensure_running()
    agent.wait_ready()
    below.wait_gone("pod", "other")
    assert user.get("pod", "kept")["status"]["phase"] == "Running"
