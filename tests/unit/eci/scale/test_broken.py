"""The rules that are taken out are where the switches look for them."""

import subprocess
import sys

import pytest

from tests.eci.scale.broken import RULES


@pytest.mark.parametrize("rule", sorted(RULES))
def test_each_switch_finds_its_rule_and_leaves_vnode_working(rule: str) -> None:
    command = [sys.executable, "-m", "tests.eci.scale.broken", rule, "run", "--help"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert "--config" in done.stdout
