"""A certificate from the tenant's signer, as time goes by and with every mishap."""

import asyncio
import random
from typing import TYPE_CHECKING

import pytest
import structlog.testing
from cryptography import x509
from cryptography.x509.oid import ExtensionOID

from tests.builders import make_error
from tests.unit.node.serving.signer import DAY, CertificatesApi
from vnode.kube.errors import KubeError, Unreachable
from vnode.kube.resources import CERTIFICATE_SIGNING_REQUESTS
from vnode.kube.types import JSONObject, NodeName
from vnode.node.serving.key_pair import self_signed
from vnode.node.serving.request import SigningRequest, covers, new_request
from vnode.node.serving.requested import MOST_UNANSWERED, RequestedCertificate
from vnode.node.serving.tls import ServingCertificate

if TYPE_CHECKING:
    from collections.abc import Callable

NODE = NodeName("vnode-gpu-a")
START = 1_800_000_000.0
MINUTE, HOUR = 60.0, 3600.0
FOREIGN: JSONObject = {
    "metadata": {"name": "x", "uid": "u", "labels": {}},
    "spec": new_request(NodeName("stranger"), ["10.0.0.9"]).body()["spec"],
    "status": {},
}


class Scene:
    """One virtual node, its certificate and the tenant's API; it is its own clock."""

    def __init__(self, *, offset: float = 0.0) -> None:
        self.api = CertificatesApi()
        self.api.clock_offset = offset
        self.now = START
        self.addresses: tuple[str, ...] = ("10.0.0.1",)
        own = self_signed(node=NODE, addresses=self.addresses, now=self.server_time)
        self.serving = ServingCertificate(own)
        self.own = own.certificate
        self.meanwhile: Callable[[], None] = lambda: None
        """What others do after every pause."""
        self._end = START
        self.restart()

    def restart(self) -> None:
        """As when the agent starts: keys are lost, requests are not."""
        self._requested = RequestedCertificate(
            self.api.client,
            self.serving,
            node=NODE,
            addresses=lambda: self.addresses,
            clock=self,
            rng=random.Random(7),
        )

    async def until(self, elapsed: float) -> None:
        """Let the task run until so many seconds after the start, and cancel it."""
        self._end = START + elapsed
        with pytest.raises(asyncio.CancelledError):
            await self._requested.run()

    @property
    def server_time(self) -> float:
        return self.now + self.api.clock_offset

    @property
    def shown(self) -> bytes:
        """The certificate that is served."""
        return self.serving.pair.certificate

    @property
    def made(self) -> int:
        """How many requests were ever made."""
        return self.api.calls.count("create")

    def approve(self, *, life: float = 365 * DAY) -> bytes:
        """Approve and sign the newest request; returns the certificate."""
        return self.api.approve(self.api.newest, now=self.server_time, life=life)

    def always_approve(self, *, life: float) -> None:
        """From now on every request, at once."""

        def approve() -> None:
            if not self.api.requests[self.api.newest]["status"]:
                self.approve(life=life)

        self.meanwhile = approve

    # The clock.

    def monotonic(self) -> float:
        return self.now - START

    def time(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        assert seconds > 0
        self.now += seconds
        if self.now > self._end:
            raise asyncio.CancelledError
        self.meanwhile()


@pytest.fixture
def scene() -> Scene:
    return Scene()


async def test_a_certificate_is_asked_for_at_once_and_shown_as_soon_as_it_is_approved(
    scene: Scene,
) -> None:
    await scene.until(5 * MINUTE)
    assert (scene.made, scene.shown) == (1, scene.own)
    signed = scene.approve()
    await scene.until(5 * MINUTE + 25)
    assert scene.shown == signed


async def test_one_request_waits_until_it_is_pruned_and_then_another_is_made(scene: Scene) -> None:
    await scene.until(DAY)
    assert scene.made == 1
    assert scene.api.calls.count("get") < DAY / 7
    scene.api.prune(scene.api.newest)
    await scene.until(DAY + 3 * MINUTE)
    assert (scene.made, len(scene.api.requests)) == (2, 1)


async def test_the_command_that_approves_is_told_once_for_each_request(scene: Scene) -> None:
    with structlog.testing.capture_logs() as lines:
        await scene.until(HOUR)
    told = [line["approve"] for line in lines if "approve" in line]
    assert told == [f"kubectl certificate approve {scene.api.newest}"]


@pytest.mark.parametrize("kind", ["Denied", "Failed"])
async def test_a_refused_request_is_made_again_ever_more_seldom_and_for_ever(
    scene: Scene, kind: str
) -> None:
    def refuse() -> None:
        scene.api.decide(scene.api.newest, kind, message="not you")

    scene.meanwhile = refuse
    with structlog.testing.capture_logs() as lines:
        await scene.until(DAY)
    made_on_the_first_day = scene.made
    assert 24 <= made_on_the_first_day <= 36
    assert any(kind in line.get("why", "") and "not you" in line["why"] for line in lines)
    await scene.until(2 * DAY)
    assert scene.made - made_on_the_first_day >= 23
    assert scene.shown == scene.own


async def test_after_an_approval_a_later_refusal_is_met_quickly_again(scene: Scene) -> None:
    await scene.until(MINUTE)
    for minutes in (1, 2, 4):
        scene.api.decide(scene.api.newest, "Denied")
        await scene.until(scene.monotonic() + minutes * 90)
    scene.approve(life=HOUR)
    await scene.until(scene.monotonic() + MINUTE)
    made = scene.made
    await scene.until(scene.monotonic() + HOUR)
    assert scene.made == made + 1
    scene.api.decide(scene.api.newest, "Denied")
    await scene.until(scene.monotonic() + 2 * MINUTE)
    assert scene.made == made + 2


async def test_a_certificate_is_renewed_after_seventy_to_ninety_percent_of_its_life(
    scene: Scene,
) -> None:
    await scene.until(MINUTE)
    first = scene.approve(life=10 * DAY)
    await scene.until(6.9 * DAY)
    assert (scene.made, scene.shown) == (1, first)
    await scene.until(9.1 * DAY)
    assert (scene.made, scene.shown) == (2, first)
    second = scene.approve(life=10 * DAY)
    await scene.until(9.2 * DAY)
    assert scene.shown == second


async def test_certificates_of_minutes_are_not_due_at_once_for_being_backdated(
    scene: Scene,
) -> None:
    scene.always_approve(life=10 * MINUTE)
    await scene.until(7 * MINUTE)
    assert scene.made == 1
    await scene.until(HOUR)
    assert 6 <= scene.made <= 9


async def test_certificates_of_seconds_do_not_make_a_flood_of_requests(scene: Scene) -> None:
    scene.always_approve(life=1)
    await scene.until(HOUR)
    assert 60 <= scene.made <= 125


async def test_a_certificate_that_ends_unrenewed_gives_way_to_a_self_signed_one(
    scene: Scene,
) -> None:
    await scene.until(MINUTE)
    issued = scene.approve(life=DAY)
    await scene.until(DAY)
    assert scene.shown == issued
    await scene.until(DAY + 3 * MINUTE)
    assert scene.shown not in {issued, scene.own}
    assert scene.serving.pair.lifetime()[1] > scene.server_time + DAY
    assert scene.made == 2
    again = scene.approve()
    await scene.until(DAY + 4 * MINUTE)
    assert scene.shown == again


async def test_a_self_signed_certificate_is_renewed_while_nobody_approves(scene: Scene) -> None:
    scene.meanwhile = lambda: scene.api.decide(scene.api.newest, "Denied")
    scene.now += 0.81 * 365 * DAY
    await scene.until(0.81 * 365 * DAY + MINUTE)
    assert scene.shown != scene.own
    assert scene.serving.pair.lifetime()[0] > START + 0.8 * 365 * DAY


async def test_time_is_the_api_servers(scene: Scene) -> None:
    scene = Scene(offset=-2 * HOUR)
    await scene.until(MINUTE)
    signed = scene.approve(life=HOUR)
    await scene.until(2 * MINUTE)
    assert scene.shown == signed


class TestWrongCertificates:
    async def refused(self, scene: Scene, certificate: bytes) -> None:
        """See that it is not shown, and that another request follows."""
        scene.api.decide(scene.api.newest, "Approved")
        scene.api.sign(scene.api.newest, certificate)
        await scene.until(scene.monotonic() + 20)
        assert (scene.made, scene.shown) == (1, scene.own)
        await scene.until(scene.monotonic() + 2 * MINUTE)
        assert scene.made == 2
        good = scene.approve()
        await scene.until(scene.monotonic() + MINUTE)
        assert scene.shown == good

    def issue(self, scene: Scene, request: bytes, *, begin: float, end: float) -> bytes:
        now = scene.server_time
        return scene.api.authority.issue(request, begin=now + begin, end=now + end)

    async def test_one_of_another_key_is_not_shown(self, scene: Scene) -> None:
        await scene.until(MINUTE)
        other = new_request(NODE, scene.addresses).request
        await self.refused(scene, self.issue(scene, other, begin=0, end=DAY))

    async def test_one_that_is_over_is_not_shown(self, scene: Scene) -> None:
        await scene.until(MINUTE)
        own = scene.api.requested(scene.api.newest)
        await self.refused(scene, self.issue(scene, own, begin=-DAY, end=-HOUR))

    async def test_one_that_cannot_be_read_is_not_shown(self, scene: Scene) -> None:
        await scene.until(MINUTE)
        now = scene.server_time
        junk = x509.UnrecognizedExtension(ExtensionOID.SUBJECT_ALTERNATIVE_NAME, b"junk")
        own = scene.api.requested(scene.api.newest)
        await self.refused(
            scene, scene.api.authority.issue(own, begin=now, end=now + DAY, names=junk)
        )

    async def test_text_that_is_no_certificate_is_not_shown(self, scene: Scene) -> None:
        await scene.until(MINUTE)
        await self.refused(scene, b"-----BEGIN CERTIFICATE-----\nx\n")


class TestAddresses:
    async def test_new_addresses_need_a_new_request_and_the_old_one_is_left(
        self, scene: Scene
    ) -> None:
        await scene.until(MINUTE)
        old = scene.api.newest
        scene.addresses = ("10.0.0.2",)
        await scene.until(2 * MINUTE)
        assert next(iter(scene.api.requests)) == old
        assert (scene.made, len(scene.api.requests)) == (2, 2)
        assert covers(scene.serving.pair, scene.addresses)  # self-signed, at once
        scene.api.approve(old, now=scene.server_time)
        signed = scene.approve()
        await scene.until(3 * MINUTE)
        assert scene.shown == signed
        assert covers(scene.serving.pair, scene.addresses)

    async def test_an_issued_certificate_is_shown_until_the_one_for_new_addresses_is_there(
        self, scene: Scene
    ) -> None:
        await scene.until(MINUTE)
        first = scene.approve()
        await scene.until(HOUR)
        scene.addresses = ("10.0.0.2",)
        await scene.until(HOUR + 2 * MINUTE)
        assert (scene.made, scene.shown) == (2, first)
        second = scene.approve()
        await scene.until(HOUR + 3 * MINUTE)
        assert scene.shown == second


class TestTrouble:
    @pytest.mark.parametrize("verb", ["list", "create", "get"])
    @pytest.mark.parametrize(
        "error", [Unreachable("away"), make_error(403), make_error(500)], ids=lambda e: str(e)
    )
    async def test_a_call_that_fails_is_tried_again_until_it_works(
        self, scene: Scene, verb: str, error: KubeError
    ) -> None:
        scene.api.faults[verb] = [error] * 20
        with structlog.testing.capture_logs() as lines:
            await scene.until(2 * HOUR)
        assert scene.api.faults[verb] == []
        assert len(scene.api.requests) == 1
        warned = [line for line in lines if line["log_level"] == "warning"]
        assert len(warned) == 1
        signed = scene.approve()
        await scene.until(2 * HOUR + MINUTE)
        assert scene.shown == signed

    async def test_without_the_right_to_ask_calls_are_few(self, scene: Scene) -> None:
        scene.api.faults["create"] = [make_error(403)] * 1000
        await scene.until(DAY)
        assert scene.made < 320
        assert scene.shown == scene.own

    async def test_a_create_whose_answer_is_lost_is_no_second_request(self, scene: Scene) -> None:
        scene.api.lost["create"] = [Unreachable("cut")]
        await scene.until(MINUTE)
        assert len(scene.api.requests) == 1
        signed = scene.approve()
        await scene.until(2 * MINUTE)
        assert scene.shown == signed

    async def test_a_request_of_somebody_else_with_the_same_name_is_not_taken_for_ours(
        self, scene: Scene
    ) -> None:
        def replace() -> None:
            scene.api.requests[scene.api.newest] = FOREIGN

        scene.api.lost["create"] = [Unreachable("cut")]
        scene.meanwhile = replace
        await scene.until(30)
        scene.meanwhile = lambda: None
        await scene.until(3 * MINUTE)
        assert len(scene.api.requests) == 2
        signed = scene.approve()
        await scene.until(4 * MINUTE)
        assert scene.shown == signed

    async def test_a_request_that_somebody_replaced_is_not_trusted(self, scene: Scene) -> None:
        await scene.until(MINUTE)
        name = scene.api.newest
        scene.approve()
        replaced = scene.api.requests[name]["metadata"]
        assert isinstance(replaced, dict)
        replaced["uid"] = "another"
        await scene.until(2 * MINUTE)
        assert scene.shown == scene.own
        await scene.until(4 * MINUTE)
        assert scene.api.newest != name


class TestRestart:
    async def test_a_request_of_an_earlier_life_is_no_use_and_another_is_made(
        self, scene: Scene
    ) -> None:
        await scene.until(MINUTE)
        lost = scene.api.newest
        scene.restart()
        scene.api.approve(lost, now=scene.server_time)
        await scene.until(2 * MINUTE)
        assert (scene.made, scene.shown) == (2, scene.own)
        signed = scene.approve()
        await scene.until(3 * MINUTE)
        assert scene.shown == signed

    async def test_restarts_without_end_do_not_pile_up_requests(self, scene: Scene) -> None:
        with structlog.testing.capture_logs() as lines:
            for number in range(20):
                scene.restart()
                await scene.until((number + 1) * MINUTE)
        assert len(scene.api.requests) == MOST_UNANSWERED
        told = [line["error"] for line in lines if "kubectl get csr" in line.get("error", "")]
        assert "to approve them gives no certificate" in told[0]

    @pytest.mark.parametrize("decision", ["Approved", "Denied"])
    async def test_once_one_of_many_that_waited_is_decided_another_is_made_in_a_minute(
        self, scene: Scene, decision: str
    ) -> None:
        for number in range(MOST_UNANSWERED + 1):
            scene.restart()
            await scene.until((number + 1) * MINUTE)
        await scene.until(5 * HOUR)
        assert scene.made == MOST_UNANSWERED
        scene.api.decide(scene.api.newest, decision)
        await scene.until(5 * HOUR + MINUTE)
        assert scene.made == MOST_UNANSWERED + 1
        signed = scene.approve()
        await scene.until(5 * HOUR + 2 * MINUTE)
        assert scene.shown == signed

    async def test_while_many_wait_the_log_says_so_once(self, scene: Scene) -> None:
        for number in range(MOST_UNANSWERED):
            scene.restart()
            await scene.until((number + 1) * MINUTE)
        scene.restart()
        with structlog.testing.capture_logs() as lines:
            await scene.until(5 * HOUR)
        assert [line["log_level"] for line in lines].count("warning") == 1

    async def test_requests_that_others_made_with_our_names_are_not_in_the_way(
        self, scene: Scene
    ) -> None:
        own, scene.api.user = scene.api.user, "mallory"
        for _ in range(2 * MOST_UNANSWERED):
            await scene.api.create(
                CERTIFICATE_SIGNING_REQUESTS,
                new_request(NODE, scene.addresses).body(),
                SigningRequest,
            )
        scene.api.user = own
        await scene.until(MINUTE)
        signed = scene.approve()
        await scene.until(2 * MINUTE)
        assert scene.shown == signed

    async def test_a_pause_in_between_costs_no_approval(self, scene: Scene) -> None:
        await scene.until(MINUTE)
        signed = scene.approve()
        scene.now += HOUR  # Another replica led.
        await scene.until(HOUR + 2 * MINUTE)
        assert (scene.made, scene.shown) == (1, signed)
        scene.now += HOUR
        await scene.until(3 * HOUR)
        assert (scene.made, scene.shown) == (1, signed)


async def test_a_node_whose_name_fits_into_no_certificate_stays_self_signed() -> None:
    scene = Scene()
    long = NodeName("n" * 60)
    requested = RequestedCertificate(
        scene.api.client,
        scene.serving,
        node=long,
        addresses=lambda: scene.addresses,
        clock=scene,
        rng=random.Random(1),
    )
    scene._end = START + HOUR
    with structlog.testing.capture_logs() as lines, pytest.raises(asyncio.CancelledError):
        await requested.run()
    assert scene.made == 0
    assert [line["log_level"] for line in lines].count("warning") == 1
    assert scene.shown == scene.own
