"""The part of `make demo BURST=1` that is about an account of ECI."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from rich.console import Console

from demo.account import AccountStory
from tests.clusters import Harness, can_run_containers
from tests.e2e import twins
from tests.eci.account_site import account_site

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [
    pytest.mark.apart,
    pytest.mark.containers,
    pytest.mark.skipif(not can_run_containers()[0], reason="containers cannot run here"),
]


def test_the_same_job_says_the_same_at_home_and_on_eci_and_its_price_is_known(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with (
        Harness(progress=lambda _: None) as harness,
        account_site(harness, tmp_path, others=twins.specs()) as site,
        twins.beside(harness, site.federation, tmp_path),
    ):
        AccountStory(Console(highlight=False, soft_wrap=True), site).tell()
    said = capfd.readouterr().out
    assert said.count("together 32") == 2
    assert " on ecs.c6.large at 0.4 an hour: 0.000" in said
