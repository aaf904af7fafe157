"""The access key in files: how it is read, and how a new one is taken up."""

from pathlib import Path

import pytest
from structlog.testing import capture_logs

from federation.backends.eci.access_key import AccessKeyFiles
from federation.backends.eci.signature import AccessKey
from tests.fakes.clock import SteppedClock
from vnode.kube.errors import ConfigError


def write(folder: Path, number: int, *, token: str = "") -> None:
    folder.mkdir(exist_ok=True)
    (folder / "accessKeyId").write_text(f"LTAI{number}\n", encoding="utf-8")
    (folder / "accessKeySecret").write_text(f"secret-{number}", encoding="utf-8")
    if token:
        (folder / "securityToken").write_text(token, encoding="utf-8")


async def load(folder: Path) -> AccessKeyFiles:
    return await AccessKeyFiles.load(folder, name="clusters[0] burst", clock=SteppedClock())


async def test_a_key_is_read_without_its_line_ends(tmp_path: Path) -> None:
    write(tmp_path, 1, token="sts")
    files = await load(tmp_path)
    assert files.current() == AccessKey(id="LTAI1", secret="secret-1", token="sts")


async def test_a_new_key_is_taken_up(tmp_path: Path) -> None:
    write(tmp_path, 1)
    files = await load(tmp_path)
    write(tmp_path, 2)
    with capture_logs() as logs:
        await files.renew()
    assert files.current().secret == "secret-2"
    assert "secret" not in str(logs)


async def test_a_mounted_secret_is_read_behind_its_link(tmp_path: Path) -> None:
    write(tmp_path / "..2026", 1)
    (tmp_path / "..data").symlink_to("..2026")
    files = await load(tmp_path)
    write(tmp_path / "..2027", 2)
    (tmp_path / "..next").symlink_to("..2027")
    (tmp_path / "..next").rename(tmp_path / "..data")
    with capture_logs():
        await files.renew()
    assert files.current() == AccessKey(id="LTAI2", secret="secret-2")


async def test_a_key_that_cannot_be_read_any_more_is_kept_and_said_once(tmp_path: Path) -> None:
    write(tmp_path, 1)
    files = await load(tmp_path)
    (tmp_path / "accessKeySecret").write_text("", encoding="utf-8")
    with capture_logs() as logs:
        await files.renew()
        await files.renew()
    assert files.current().secret == "secret-1"
    assert [line["why"] for line in logs] == ["accessKeySecret is empty"]


async def test_without_a_key_the_agent_does_not_start(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"clusters\[0\] burst: no access key .*accessKeyId: no"):
        await load(tmp_path)


class Interrupted(Exception):
    """Ends what runs for ever."""


class NoTimeClock(SteppedClock):
    async def sleep(self, seconds: float) -> None:
        raise Interrupted


async def test_a_replica_that_begins_to_lead_looks_at_once(tmp_path: Path) -> None:
    write(tmp_path, 1)
    files = await AccessKeyFiles.load(tmp_path, name="burst", clock=NoTimeClock())
    write(tmp_path, 2)
    with capture_logs(), pytest.raises(Interrupted):
        await files.run()
    assert files.current().id == "LTAI2"
