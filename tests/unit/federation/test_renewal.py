"""The agent's own token: renewed in time, in the Secret, by nobody else, and said when it fails."""

import asyncio
import base64
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import structlog

from federation.credential import AccountToken, kubeconfig, token_in
from federation.renewal import TokenRenewal
from tests.builders import make_error
from tests.fakes.client import RecordingClient
from tests.fakes.clock import LoopClock
from tests.unit.federation.tokens import EPOCH, TokenServer, make_token
from vnode.kube.errors import KubeError, Unreachable
from vnode.kube.resources import SECRETS
from vnode.kube.types import ObjectKey

pytestmark = [pytest.mark.looptime]

KEY = ObjectKey("vnode-system", "vnode-compute-gpu-a")
APPLIED = "kubectl.kubernetes.io/last-applied-configuration"
LIFE = 100_000.0
REPLACE = "replace secrets"
REQUEST = "create serviceaccounts/token"


class World:
    """A tenant with the Secret, a compute cluster, and the renewal."""

    def __init__(self, text: str | None = None) -> None:
        self.clock = LoopClock(epoch=EPOCH)
        self.tenant = RecordingClient(unix_time=self.clock.time)
        self.compute = TokenServer(name="gpu-a", unix_time=self.clock.time)
        self.compute.credential = lambda: self.mounted or ("https://h", self.token.value)
        self.ends: list[float] = []
        self.mounted: tuple[str, str] | None = None
        """Server and token of the file; None: those of the Secret."""
        if text is None:
            text = kubeconfig("gpu-a", server="https://h", ca=None, token=make_token(life=LIFE))
        self.put(text)

    def put(self, text: str) -> None:
        """Somebody writes the Secret."""
        data = {"kubeconfig": base64.b64encode(text.encode()).decode(), "other": "b3RoZXI="}
        notes = {APPLIED: "with the first token", "c": "d"}
        metadata = {
            "name": KEY.name,
            "namespace": KEY.namespace,
            "labels": {"a": "b"},
            "annotations": notes,
        }
        self.tenant.put(SECRETS, {"metadata": metadata, "data": data, "type": "Opaque"})

    @property
    def secret(self) -> Any:
        return self.tenant.get_body(SECRETS, KEY)

    @property
    def token(self) -> AccountToken:
        text = base64.b64decode(self.secret["data"]["kubeconfig"]).decode()
        found = token_in(text, None)
        assert found is not None
        return found

    @asynccontextmanager
    async def renewed(self) -> AsyncIterator[None]:
        renewal = TokenRenewal(
            self.tenant.client,
            self.compute.client,
            cluster="gpu-a",
            namespace=KEY.namespace,
            secret=KEY.name,
            context=None,
            clock=self.clock,
            rng=random.Random(1),
            ends=self.ends.append,
        )
        task = asyncio.create_task(renewal.run())
        yield
        task.cancel()
        await asyncio.wait([task])


async def test_a_token_is_renewed_between_70_and_80_percent_of_its_life() -> None:
    world = World()
    async with world.renewed():
        await asyncio.sleep(LIFE * 0.7 - 1)
        assert world.token.issued_at == EPOCH
        assert world.compute.calls == []
        await asyncio.sleep(LIFE * 0.1 + 2)
        assert EPOCH + LIFE * 0.7 <= world.token.issued_at <= EPOCH + LIFE * 0.8
        assert world.token.life == LIFE
        (call,) = world.compute.named(REQUEST)
        assert str(call.key) == "vnode-system/vnode-red"
    assert world.ends[-1] == world.token.expires_at


async def test_it_goes_on_for_as_many_lives_as_there_are() -> None:
    world = World()
    async with world.renewed():
        await asyncio.sleep(LIFE * 10)
        assert world.token.expires_at > world.clock.time() + LIFE * 0.2 - 1
    assert 12 <= len(world.compute.named(REQUEST)) <= 15


async def test_the_write_is_on_exactly_the_secret_that_was_read_and_keeps_the_rest() -> None:
    world = World()
    before = world.secret["metadata"]
    async with world.renewed():
        await asyncio.sleep(LIFE * 0.8)
    (write,) = world.tenant.named(REPLACE)
    assert write.body["metadata"]["uid"] == before["uid"]
    assert write.body["metadata"]["resourceVersion"] == before["resourceVersion"]
    assert write.body["metadata"]["labels"] == {"a": "b"}
    assert write.body["data"]["other"] == "b3RoZXI="


async def test_what_kubectl_noted_of_the_first_token_goes_with_it() -> None:
    world = World()
    async with world.renewed():
        await asyncio.sleep(LIFE * 0.8)
    assert world.secret["metadata"]["annotations"] == {"c": "d"}


async def test_a_token_that_is_late_already_is_renewed_at_once() -> None:
    late = make_token(issued=EPOCH - LIFE * 0.9, life=LIFE)
    world = World(kubeconfig("gpu-a", server="https://h", ca=None, token=late))
    async with world.renewed():
        await asyncio.sleep(1)
        assert world.token.issued_at == EPOCH


async def test_the_clock_of_the_server_that_judges_the_token_counts() -> None:
    world = World()
    world.compute.clock_offset = LIFE  # ours is behind
    async with world.renewed():
        await asyncio.sleep(1)
        assert len(world.compute.named(REQUEST)) == 1


async def test_who_joins_again_is_noticed_within_the_hour() -> None:
    world = World()
    async with world.renewed():
        await asyncio.sleep(10)
        late = make_token(issued=EPOCH - 90_000, life=LIFE)
        world.put(kubeconfig("gpu-a", server="https://h", ca=None, token=late))
        await asyncio.sleep(3601)
        assert world.token.issued_at > EPOCH


@pytest.mark.parametrize(
    ("call", "error"),
    [
        (REQUEST, make_error(403, "cannot create serviceaccounts/token", reason="Forbidden")),
        (REQUEST, make_error(401, "Unauthorized")),
        (REQUEST, Unreachable("no answer in time")),
        (REPLACE, make_error(409, "the object has been modified", reason="Conflict")),
        ("get secrets", make_error(403, "cannot get secrets", reason="Forbidden")),
    ],
    ids=["no right", "expired", "away", "conflict", "no secret"],
)
async def test_what_fails_is_said_and_tried_again(call: str, error: KubeError) -> None:
    world = World()
    (world.compute if call == REQUEST else world.tenant).fail(error, call, times=3)
    with structlog.testing.capture_logs() as said:
        async with world.renewed():
            await asyncio.sleep(LIFE * 0.8 + 600)
            assert world.token.issued_at > EPOCH
    failures = [each for each in said if each["event"] == "token not renewed"]
    assert len(failures) == 3
    assert "vnode join" in failures[0]["mend"]
    assert str(error) in failures[0]["why"]


async def test_a_token_that_ended_is_an_error_with_the_way_out() -> None:
    over = make_token(issued=EPOCH - 2 * LIFE, life=LIFE)
    world = World(kubeconfig("gpu-a", server="https://h", ca=None, token=over))
    world.compute.fail(make_error(401, "Unauthorized"), REQUEST, times=100)
    with structlog.testing.capture_logs() as said:
        async with world.renewed():
            await asyncio.sleep(1)
    (failure,) = said
    assert failure["log_level"] == "error"
    assert failure["seconds_left"] == -LIFE
    assert "--cluster gpu-a" in failure["mend"]


@pytest.mark.parametrize("text", ["", "users: []", "\x00"])
async def test_a_secret_without_a_token_of_an_account_is_left_alone_and_said_once(
    text: str,
) -> None:
    world = World(text)
    with structlog.testing.capture_logs() as said:
        async with world.renewed():
            await asyncio.sleep(10_000)
    assert [each["event"] for each in said] == ["nothing to renew"]
    assert world.tenant.named(REPLACE) == world.compute.calls == []


async def test_no_token_is_in_what_is_logged() -> None:
    world = World()
    with structlog.testing.capture_logs() as said:
        async with world.renewed():
            await asyncio.sleep(LIFE * 0.8)
    assert [each["event"] for each in said] == ["token renewed"]
    assert world.token.value not in str(said)


async def test_the_secret_of_another_cluster_is_never_written() -> None:
    world = World()
    before = world.secret
    for mounted in (("https://other", world.token.value), ("https://h", make_token(issued=1))):
        world.mounted = mounted
        with structlog.testing.capture_logs() as said:
            async with world.renewed():
                await asyncio.sleep(LIFE)
        assert [each["event"] for each in said] == ["renewal waits"]
    assert world.compute.calls == []
    assert world.secret == before


async def test_a_token_is_renewed_once_the_kubelet_brought_the_file() -> None:
    late = make_token(issued=EPOCH - LIFE * 0.9, life=LIFE)
    world = World(kubeconfig("gpu-a", server="https://h/", ca=None, token=late))
    world.mounted = ("https://h", make_token(issued=EPOCH - LIFE))
    async with world.renewed():
        await asyncio.sleep(100)
        assert world.compute.calls == []
        world.mounted = None
        await asyncio.sleep(61)
        assert world.token.issued_at > EPOCH
