"""Keeping credentials fresh."""

import asyncio
from dataclasses import replace

from vnode.kube.config import Access, Connection
from vnode.kube.credentials import Credentials
from vnode.kube.errors import ConfigError

ACCESS = Access(
    server="https://h",
    tls=None,
    authorization="Bearer 0",
    certificate=None,
    ca_source="",
    tls_digest=b"",
    max_age=60.0,
)


class Source:
    """Gives `Bearer 1`, `Bearer 2`, ... or fails."""

    def __init__(self, access: Access = ACCESS) -> None:
        self.now = 0.0
        self.loads = 0
        self.changes = True
        self.fails = False
        self.same = True
        self.looks = 0
        self.credentials = Credentials(
            Connection(name="c"),
            access,
            monotonic=lambda: self.now,
            load=self.load,
            unchanged=self.unchanged,
        )

    async def unchanged(self, _: Connection, __: Access) -> bool:
        self.looks += 1
        await asyncio.sleep(0)
        if self.fails:
            raise ConfigError("no such file")
        return self.same

    async def load(self, _: Connection) -> Access:
        self.loads += 1
        await asyncio.sleep(0)
        if self.fails:
            raise ConfigError("no such file")
        return replace(ACCESS, authorization=f"Bearer {self.loads if self.changes else 0}")

    async def authorization_at(self, now: float) -> str | None:
        """What is used once a renewal that began at that time is over."""
        self.now = now
        self.credentials.current()
        for _ in range(5):
            await asyncio.sleep(0)
        return self.credentials.current().authorization


async def test_an_old_access_is_renewed_without_making_anybody_wait() -> None:
    source = Source()
    assert await source.authorization_at(59) == "Bearer 0"
    source.now = 61
    assert source.credentials.current().authorization == "Bearer 0"
    assert await source.authorization_at(61) == "Bearer 1"
    assert await source.authorization_at(100) == "Bearer 1"
    assert source.loads == 1


async def test_a_renewal_that_fails_keeps_the_old_access_and_is_tried_again_later() -> None:
    source = Source()
    source.fails = True
    assert await source.authorization_at(61) == "Bearer 0"
    assert await source.authorization_at(65) == "Bearer 0"
    assert source.loads == 1
    source.fails = False
    assert await source.authorization_at(72) == "Bearer 2"


async def test_a_refused_access_is_renewed_once_for_everybody() -> None:
    source = Source()
    refused = source.credentials.current()
    renewals = (source.credentials.renew(refused=refused) for _ in range(5))
    assert await asyncio.gather(*renewals) == [True] * 5
    assert source.loads == 1


async def test_a_refused_access_that_did_not_change_is_not_worth_another_try() -> None:
    source = Source()
    source.changes = False
    assert not await source.credentials.renew(refused=source.credentials.current())


async def test_refusals_in_quick_succession_do_not_run_a_plugin_each_time() -> None:
    source = Source()
    assert await source.credentials.renew(refused=source.credentials.current())
    assert not await source.credentials.renew(refused=source.credentials.current())
    assert source.loads == 1
    source.now = 11
    assert await source.credentials.renew(refused=source.credentials.current())


async def test_closing_stops_a_renewal() -> None:
    source = Source()
    source.now = 61
    source.credentials.current()
    await source.credentials.close()
    assert source.credentials.current().authorization == "Bearer 0"


async def test_files_are_looked_at_every_minute_and_loaded_only_when_they_changed() -> None:
    source = Source(replace(ACCESS, max_age=None))
    assert await source.authorization_at(59) == "Bearer 0"
    assert source.looks == 0
    assert await source.authorization_at(60) == "Bearer 0"
    assert await source.authorization_at(119) == "Bearer 0"
    assert (source.looks, source.loads) == (1, 0)
    source.same = False
    assert await source.authorization_at(120) == "Bearer 1"
    assert (source.looks, source.loads) == (2, 1)


async def test_files_that_cannot_be_read_keep_the_old_access_and_are_looked_at_again() -> None:
    source = Source(replace(ACCESS, max_age=None))
    source.fails, source.same = True, False
    assert await source.authorization_at(61) == "Bearer 0"
    source.fails = False
    assert await source.authorization_at(122) == "Bearer 1"


async def test_a_look_at_the_files_does_not_answer_for_a_refusal() -> None:
    source = Source(replace(ACCESS, max_age=None))
    source.now = 60
    refused = source.credentials.current()  # begins a look, which finds nothing new
    assert await source.credentials.renew(refused=refused)
    assert source.credentials.current().authorization == "Bearer 1"
