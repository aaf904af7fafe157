"""Leader election: never two leaders, and never none for long."""

import asyncio
import json
import random
import re
from typing import cast

import msgspec
import pytest
from structlog.testing import capture_logs

from tests.fakes.clock import LoopClock
from vnode.kube.client import KubeClient
from vnode.kube.errors import AlreadyExists, Conflict, KubeError, NotFound, Unreachable
from vnode.kube.types import UID, encode
from vnode.runtime.leader import HOLDER_ADDRESS, LeaseElector

pytestmark = pytest.mark.looptime

Spec = dict[str, object]


class LeaseApi:
    """One Lease in memory with the API server's preconditions; shared by several `Link`s."""

    def __init__(self) -> None:
        self.spec: Spec | None = None
        self.version = 0
        self.annotations: dict[str, str] = {}

    def holder(self) -> object:
        return None if self.spec is None else self.spec.get("holderIdentity")

    def remove(self) -> None:
        self.spec = None

    def body(self) -> bytes:
        metadata = {
            "name": "l",
            "uid": "lease-uid",
            "resourceVersion": str(self.version),
            "annotations": self.annotations,
        }
        return encode({"metadata": metadata, "spec": self.spec})


class Link:
    """One candidate's connection: it can be cut, hang, or lose answers."""

    name = "tenant"

    def __init__(self, api: LeaseApi) -> None:
        self.api = api
        self.broken: KubeError | None = None
        self.hangs = False
        self.loses_answers = False
        self.writes = 0

    def client(self) -> KubeClient:
        return cast("KubeClient", self)

    async def get(self, resource: object, kind: type[object], **where: object) -> object:
        await self._travel()
        if self.api.spec is None:
            raise NotFound("no lease", code=404)
        return msgspec.json.decode(self.api.body(), type=kind)

    async def create(
        self, resource: object, body: object, kind: type[object], **where: object
    ) -> object:
        await self._travel()
        if self.api.spec is not None:
            raise AlreadyExists("there is one", code=409)
        return self._store(body, kind)

    async def patch(
        self, resource: object, body: object, kind: type[object], **where: object
    ) -> object:
        await self._travel()
        sent = json.loads(encode(body))
        if self.api.spec is None:
            raise NotFound("no lease", code=404)
        sent["metadata"].pop("annotations", None)
        if sent["metadata"] != {"resourceVersion": str(self.api.version), "uid": UID("lease-uid")}:
            raise Conflict("changed", code=409)
        return self._store(body, kind)

    async def _travel(self) -> None:
        await asyncio.sleep(0.01)
        if self.hangs:
            await asyncio.Event().wait()
        if self.broken is not None:
            raise self.broken

    def _store(self, body: object, kind: type[object]) -> object:
        sent = json.loads(encode(body))
        self.api.spec = {**(self.api.spec or {}), **sent["spec"]}
        notes = {**self.api.annotations, **sent["metadata"].get("annotations", {})}
        self.api.annotations = {key: note for key, note in notes.items() if note is not None}
        self.api.version += 1
        self.writes += 1
        if self.loses_answers:
            raise Unreachable("the answer was lost")
        return msgspec.json.decode(self.api.body(), type=kind)


class Candidate:
    """An elector with its link, and a record of when it led."""

    def __init__(
        self, api: LeaseApi, identity: str, *, duration: float = 15.0, address: str = ""
    ) -> None:
        self.link = Link(api)
        self.elector = LeaseElector(
            self.link.client(),
            namespace="ns",
            name="l",
            identity=identity,
            clock=LoopClock(),
            rng=random.Random(identity),
            duration=duration,
            address=address,
        )
        self.terms: list[tuple[float, float]] = []
        self.task: asyncio.Task[None] | None = None

    async def lead(self) -> None:
        began = asyncio.get_running_loop().time()
        try:
            await asyncio.Event().wait()
        finally:
            self.terms.append((began, asyncio.get_running_loop().time()))

    def start(self) -> None:
        self.task = asyncio.create_task(self.elector.run(self.lead))

    def leads(self) -> bool:
        return self.elector.is_leader

    async def finish(self) -> None:
        assert self.task is not None
        self.task.cancel()
        await asyncio.wait([self.task])


async def test_the_first_candidate_leads_and_renews_and_the_second_waits() -> None:
    api = LeaseApi()
    first, second = Candidate(api, "one"), Candidate(api, "two")
    first.start()
    await asyncio.sleep(1)
    second.start()
    await asyncio.sleep(120)
    assert (first.leads(), second.leads()) == (True, False)
    assert second.elector.holder == "one"
    assert 45 <= first.link.writes <= 62
    await second.finish()
    assert (first.terms, second.terms) == ([], [])
    await first.finish()


async def test_a_candidate_says_once_who_leads_instead() -> None:
    api = LeaseApi()
    first, second = Candidate(api, "a"), Candidate(api, "b")
    first.start()
    await asyncio.sleep(1)
    with capture_logs() as logs:
        second.start()
        await asyncio.sleep(30)
        await first.finish()
        await asyncio.sleep(10)
    said = [(line["event"], line["identity"], line.get("leader")) for line in logs]
    assert said.count(("standing by", "b", "a")) == 1
    assert ("leading", "b", None) in said
    await second.finish()


async def test_the_record_is_what_kubectl_and_other_clients_expect() -> None:
    api = LeaseApi()
    candidate = Candidate(api, "one")
    candidate.start()
    await asyncio.sleep(10)
    assert api.spec is not None
    assert api.spec["leaseDurationSeconds"] == 15
    assert api.spec["leaseTransitions"] == 0
    times = [str(api.spec["acquireTime"]), str(api.spec["renewTime"])]
    assert all(re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", time) for time in times)
    assert times[0] < times[1]
    await candidate.finish()


async def test_others_are_told_no_shorter_duration_than_the_holder_reckons_with() -> None:
    api = LeaseApi()
    candidate = Candidate(api, "one", duration=10.4)
    candidate.start()
    await asyncio.sleep(10)
    assert api.spec is not None
    assert api.spec["leaseDurationSeconds"] == 11
    await candidate.finish()


async def test_a_clean_exit_ends_the_work_first_and_hands_over_at_once() -> None:
    api = LeaseApi()
    first, second = Candidate(api, "one"), Candidate(api, "two")
    first.start()
    await asyncio.sleep(1)
    second.start()
    await asyncio.sleep(30)
    await first.finish()
    assert first.terms[0][1] == pytest.approx(31, abs=0.1)
    assert api.holder() == ""
    await asyncio.sleep(3)
    assert second.leads()
    assert api.spec is not None
    assert api.spec["leaseTransitions"] == 1
    await second.finish()


@pytest.mark.parametrize("fault", ["hangs", "broken", "loses_answers"])
async def test_a_leader_that_is_cut_off_stops_before_the_other_begins(fault: str) -> None:
    api = LeaseApi()
    first, second = Candidate(api, "one"), Candidate(api, "two")
    first.start()
    await asyncio.sleep(1)
    second.start()
    await asyncio.sleep(30)
    if fault == "loses_answers":
        # Renewals arrive, but it cannot know: it must stop.
        first.link.loses_answers = True
    elif fault == "hangs":
        first.link.hangs = True
    else:
        first.link.broken = Unreachable("cut")
    await asyncio.sleep(15)
    assert first.terms
    assert first.terms[0][1] <= 31 + 10.1
    assert not first.leads()
    if fault != "loses_answers":
        await asyncio.sleep(10)
        assert second.leads()
    await second.finish()
    if second.terms:
        assert second.terms[0][0] > first.terms[0][1]
    await first.finish()


async def test_an_outage_shorter_than_the_deadline_changes_nothing() -> None:
    api = LeaseApi()
    candidate = Candidate(api, "one")
    candidate.start()
    await asyncio.sleep(30)
    candidate.link.broken = Unreachable("cut")
    await asyncio.sleep(6)
    candidate.link.broken = None
    await asyncio.sleep(30)
    assert candidate.terms == []
    assert candidate.leads()
    await candidate.finish()


async def test_one_lost_answer_does_not_cost_the_lead() -> None:
    api = LeaseApi()
    candidate = Candidate(api, "one")
    candidate.start()
    await asyncio.sleep(10)
    candidate.link.loses_answers = True
    await asyncio.sleep(2.5)
    candidate.link.loses_answers = False
    await asyncio.sleep(30)
    assert candidate.terms == []
    await candidate.finish()
    assert api.holder() == ""


async def test_the_same_identity_takes_its_lease_back_at_once() -> None:
    api = LeaseApi()
    api.spec = {"holderIdentity": "one", "leaseDurationSeconds": 15, "leaseTransitions": 4}
    candidate = Candidate(api, "one")
    candidate.start()
    await asyncio.sleep(0.1)
    assert candidate.leads()
    assert api.spec["leaseTransitions"] == 4
    await candidate.finish()


async def test_a_lease_is_judged_by_how_long_it_was_seen_unchanged_not_by_its_times() -> None:
    api = LeaseApi()
    long_ago = "2001-01-01T00:00:00.000000Z"
    api.spec = {"holderIdentity": "other", "leaseDurationSeconds": 15, "renewTime": long_ago}
    candidate = Candidate(api, "one")
    candidate.start()
    await asyncio.sleep(14)
    assert not candidate.leads()
    await asyncio.sleep(5)
    assert candidate.leads()
    assert api.spec["leaseTransitions"] == 1
    await candidate.finish()


async def test_a_lease_taken_by_another_ends_the_work_at_the_next_look() -> None:
    api = LeaseApi()
    candidate = Candidate(api, "one")
    candidate.start()
    await asyncio.sleep(10)
    assert api.spec is not None
    api.spec["holderIdentity"] = "thief"
    api.version += 1
    await asyncio.sleep(3)
    assert candidate.terms
    assert api.holder() == "thief"
    await candidate.finish()


async def test_a_deleted_lease_is_made_again() -> None:
    api = LeaseApi()
    candidate = Candidate(api, "one")
    candidate.start()
    await asyncio.sleep(10)
    api.remove()
    await asyncio.sleep(5)
    assert api.holder() == "one"
    assert candidate.terms == []
    await candidate.finish()


async def test_an_error_of_the_work_releases_the_lease_and_reaches_the_caller() -> None:
    api = LeaseApi()
    candidate = Candidate(api, "one")

    async def fail() -> None:
        raise LookupError("bug")

    with pytest.raises(LookupError):
        await candidate.elector.run(fail)
    assert api.holder() == ""


async def test_the_lease_is_kept_while_the_work_takes_long_to_end() -> None:
    api = LeaseApi()
    candidate = Candidate(api, "one")
    ended = asyncio.Event()

    async def stubborn() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(8)  # longer than the time between the deadline and the duration
            assert api.holder() == "one"
            ended.set()

    task = asyncio.create_task(candidate.elector.run(stubborn))
    await asyncio.sleep(1)
    task.cancel()
    await asyncio.wait([task])
    assert ended.is_set()
    assert api.holder() == ""


async def test_a_failure_while_the_work_is_ended_still_releases_the_lease() -> None:
    api = LeaseApi()
    candidate = Candidate(api, "one")

    async def untidy() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            raise LookupError("in clean-up")

    task = asyncio.create_task(candidate.elector.run(untidy))
    await asyncio.sleep(1)
    task.cancel()
    await asyncio.wait([task])
    assert task.cancelled()
    assert api.holder() == ""


async def test_a_campaign_outlives_an_api_server_that_is_away() -> None:
    api = LeaseApi()
    candidate = Candidate(api, "one")
    candidate.link.broken = Unreachable("away")
    candidate.start()
    await asyncio.sleep(60)
    candidate.link.broken = None
    await asyncio.sleep(3)
    assert candidate.leads()
    await candidate.finish()


async def test_times_that_could_make_two_leaders_are_refused() -> None:
    with pytest.raises(ValueError, match="renew_deadline < duration"):
        LeaseElector(
            Link(LeaseApi()).client(),
            namespace="ns",
            name="l",
            identity="one",
            clock=LoopClock(),
            rng=random.Random(1),
            duration=10,
            renew_deadline=10,
        )


async def test_the_others_see_where_the_holder_is_until_it_gives_the_lease_back() -> None:
    api = LeaseApi()
    first = Candidate(api, "one", address="10.0.0.1")
    second = Candidate(api, "two", address="10.0.0.2")
    first.start()
    await asyncio.sleep(1)
    second.start()
    await asyncio.sleep(5)
    assert (first.elector.holder_address(), second.elector.holder_address()) == ("", "10.0.0.1")
    await first.finish()
    assert api.annotations == {}
    await asyncio.sleep(5)
    assert second.elector.holder_address() == ""
    assert api.annotations == {HOLDER_ADDRESS: "two 10.0.0.2"}
    await second.finish()


async def test_the_address_of_a_holder_before_is_nobodys() -> None:
    api = LeaseApi()
    api.annotations = {HOLDER_ADDRESS: "zero 10.0.0.9"}
    old = Candidate(api, "one")  # Of a version that knows nothing of addresses.
    second = Candidate(api, "two", address="10.0.0.2")
    old.start()
    await asyncio.sleep(1)
    second.start()
    await asyncio.sleep(5)
    assert old.leads()
    assert second.elector.holder_address() == ""
    await old.finish()
    await second.finish()
