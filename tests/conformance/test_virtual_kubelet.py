"""virtual-kubelet's own end-to-end suite, unchanged, against a node with real containers."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest

from tests.clusters import Harness, can_run_containers
from tests.conformance import site as sites
from tests.conformance.virtual_kubelet import suite

if TYPE_CHECKING:
    from pathlib import Path


def _progress(text: str) -> None:
    print(text, file=sys.__stderr__, flush=True)


@pytest.mark.timeout(600)
def test_all_of_virtual_kubelets_suite_passes(tmp_path: Path) -> None:
    possible, reason = can_run_containers()
    if not possible:
        pytest.skip(f"no real containers here: {reason}")
    program = suite.ensure(_progress)
    with Harness(progress=_progress) as harness:
        site = sites.build(harness, tmp_path / "agent", conformance=False)
        verdicts = sites.judge_by_virtual_kubelet(site, program)
    assert [v for v in verdicts if not v.passed] == []
