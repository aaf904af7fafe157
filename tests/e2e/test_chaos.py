"""The short form of `make chaos`: it keeps working, finds nothing, and would find something."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests.agents import rights
from tests.clusters.existing import requested

pytestmark = pytest.mark.apart

SEED = 5
"""Of whose first rounds the faults are many: see `python -m tests.chaos --seed 5`."""
_MOST_SECONDS = 230


def _chaos(*arguments: str) -> subprocess.CompletedProcess[str]:
    if requested():
        pytest.skip("API servers of given clusters are not killed")
    command = [sys.executable, "-m", "tests.chaos", f"--seed={SEED}", *arguments]
    # What API servers refuse while they are being killed says nothing about rights.
    environment = {key: value for key, value in os.environ.items() if key != rights.FOLDER}
    done = subprocess.run(
        command,
        stdout=subprocess.PIPE,
        text=True,
        timeout=_MOST_SECONDS,
        check=False,
        env=environment,
    )
    print(done.stdout)
    return done


def test_a_few_rounds_of_chaos_break_no_rule() -> None:
    assert _chaos("--rounds=4").returncode == 0


def test_an_agent_that_names_no_uids_is_found() -> None:
    done = _chaos("--rounds=4", "--stop", "--broken=no-uid-precondition")
    assert done.returncode == 1
    assert "UID preconditions: delete of" in done.stdout
