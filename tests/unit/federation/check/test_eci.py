"""Checks of an ECI account, against its emulator."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from federation.check.eci import link, weaker_forms
from federation.check.findings import Finding, Level
from federation.config import EciClusterConfig
from tests.eci.connecting import KEY, KEYS
from tests.eci.server import Emulator
from tests.unit.federation.test_config_eci import cluster


@pytest.fixture
async def emulator() -> AsyncIterator[Emulator]:
    async with Emulator(keys=KEYS) as running:
        yield running


def account(
    folder: Path, emulator: Emulator, *, secret: str = KEY.secret, **more: object
) -> EciClusterConfig:
    (folder / "accessKeyId").write_text(KEY.id)
    (folder / "accessKeySecret").write_text(secret)
    return EciClusterConfig.model_validate(
        cluster(endpoint=emulator.url, credentials=str(folder), **more)
    )


def only(found: object) -> Finding:
    assert isinstance(found, list)
    [finding] = found
    assert isinstance(finding, Finding)
    return finding


async def test_an_account_that_answers_is_well(tmp_path: Path, emulator: Emulator) -> None:
    finding = only(await link(account(tmp_path, emulator)))
    assert finding.level is Level.OK


async def test_a_key_that_is_refused_is_wrong_and_never_shown(
    tmp_path: Path, emulator: Emulator
) -> None:
    finding = only(await link(account(tmp_path, emulator, secret="another-secret")))
    assert finding.level is Level.WRONG
    assert "put a key into" in finding.text
    assert "another-secret" not in finding.text


async def test_an_instance_type_that_nobody_sells_is_a_warning(
    tmp_path: Path, emulator: Emulator
) -> None:
    types = {"ecs.a.typo": {"cpu": 1, "memory": "1Gi"}}
    with capture_logs():
        _, finding = await link(account(tmp_path, emulator, instanceTypes=types))
    assert finding.level is Level.WARN
    assert "ecs.a.typo" in finding.text


async def test_weaker_forms_that_are_allowed_are_warnings(
    tmp_path: Path, emulator: Emulator
) -> None:
    assert only(await weaker_forms(account(tmp_path, emulator))).level is Level.OK
    wide = account(tmp_path, emulator, allowInlineSecrets=True, ramRole="reader")
    assert [each.level for each in await weaker_forms(wide)] == [Level.WARN, Level.WARN]
