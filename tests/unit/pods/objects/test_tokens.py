"""ServiceAccount tokens: asked for the right pod, renewed in time, never shown."""

from typing import Any

import pytest
import structlog.testing
from hypothesis import given
from hypothesis import strategies as st

from tests.builders import UID_1, make_error, make_uid
from tests.fakes.client import RecordingClient
from vnode.backend import Token, TokenKey
from vnode.kube.errors import Forbidden
from vnode.kube.types import UID, ObjectKey
from vnode.pods.objects.tokens import TokenIssuer, hash_share

KEY = ObjectKey("team-a", "job-0")
NOW = 1_800_000_000.0
HOUR = 3600


class Stopped:
    """A clock that stands still."""

    def monotonic(self) -> float:
        return 0.0

    def time(self) -> float:
        return NOW

    async def sleep(self, seconds: float) -> None:
        raise AssertionError("nothing sleeps here")


def make_issuer(offset: float = 0.0) -> tuple[TokenIssuer, RecordingClient]:
    client = RecordingClient(unix_time=lambda: NOW + offset)
    client.clock_offset = offset
    return TokenIssuer(client.client, Stopped()), client


async def issue(issuer: TokenIssuer, *wanted: TokenKey, uid: UID = UID_1) -> dict[TokenKey, Token]:
    return await issuer.issue(KEY, uid, service_account="runner", wanted=wanted)


async def test_one_is_asked_for_each_audience_and_life() -> None:
    issuer, client = make_issuer()
    wanted = [TokenKey("", HOUR), TokenKey("vault", HOUR), TokenKey("vault", 2 * HOUR)]
    issued = await issue(issuer, *wanted)
    assert set(issued) == set(wanted)
    assert [c.body["spec"]["audiences"] for c in client.calls] == [[], ["vault"], ["vault"]]
    assert {c.key for c in client.calls} == {ObjectKey("team-a", "runner")}
    assert all(c.body["spec"]["boundObjectRef"]["uid"] == UID_1 for c in client.calls)


@pytest.mark.parametrize("offset", [0.0, 300.0, -300.0])
async def test_it_is_renewed_at_about_four_fifths_of_its_life_by_our_clock(offset: float) -> None:
    issuer, _ = make_issuer(offset)
    key = TokenKey("", 10 * HOUR)
    share = ((await issue(issuer, key))[key].refresh_at - NOW) / (10 * HOUR)
    assert 0.74 <= share <= 0.86


async def test_pods_that_start_together_do_not_renew_together() -> None:
    issuer, _ = make_issuer()
    key = TokenKey("", 10 * HOUR)
    times = {(await issue(issuer, key, uid=make_uid(n)))[key].refresh_at for n in range(50)}
    assert max(times) - min(times) > HOUR / 2


async def test_a_pod_keeps_its_share() -> None:
    issuer, _ = make_issuer()
    key = TokenKey("", HOUR)
    assert (await issue(issuer, key))[key].refresh_at == (await issue(issuer, key))[key].refresh_at


@given(st.uuids())
def test_shares_are_shares(uid: Any) -> None:
    assert 0 <= hash_share(UID(str(uid))) < 1


@given(st.text(max_size=40))
def test_uids_may_be_any_text(uid: str) -> None:
    assert 0 <= hash_share(UID(uid)) < 1


async def test_a_refusal_is_raised() -> None:
    issuer, client = make_issuer()
    client.fail(make_error(403), "create serviceaccounts/token")
    with pytest.raises(Forbidden):
        await issue(issuer, TokenKey("", HOUR))


async def test_it_is_in_no_repr_and_no_log() -> None:
    issuer, _ = make_issuer()
    key = TokenKey("", HOUR)
    with structlog.testing.capture_logs() as logs:
        issued = await issue(issuer, key)
    value = issued[key].value
    assert value
    assert value not in repr(issued)
    assert value not in repr(issued[key])
    assert value not in repr(logs)


async def test_an_answer_that_is_none_shows_no_token() -> None:
    issuer, client = make_issuer()
    real = client.create

    async def create(*args: Any, **options: Any) -> Any:
        reply = await real(*args, **options)
        assert "token-1" not in repr(reply)
        return reply

    client.create = create  # type: ignore[method-assign]
    await issue(issuer, TokenKey("", HOUR))


@given(st.lists(st.builds(TokenKey, st.text(), st.integers(600, 10**6)), unique=True, max_size=5))
def test_different_tokens_lie_under_different_keys(keys: list[TokenKey]) -> None:
    assert len({key.data_key for key in keys}) == len(keys)
