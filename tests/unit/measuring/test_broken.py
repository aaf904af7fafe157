"""The rules that are taken out are where the switches look for them."""

import subprocess

import pytest

from tests.chaos.broken import RULES as OF_CHAOS
from tests.eci.scale.broken import RULES as OF_SCALE
from tests.measuring.broken import program

SWITCHES = [
    *(("tests.chaos.broken", rule) for rule in sorted(OF_CHAOS)),
    *(("tests.eci.scale.broken", rule) for rule in sorted(OF_SCALE)),
]


@pytest.mark.parametrize(("module", "rule"), SWITCHES)
def test_each_switch_finds_its_rule_and_leaves_vnode_working(module: str, rule: str) -> None:
    command = [*program(module, rule), "run", "--help"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert "--config" in done.stdout


def test_a_whole_agent_needs_no_program() -> None:
    assert program("tests.chaos.broken", None) == []
