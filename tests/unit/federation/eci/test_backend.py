"""ECI as a `PodBackend`, on the emulator with a clock that only tests move."""

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

import pytest
from msgspec import convert, structs

from federation.backends.eci.answers import Event
from federation.backends.eci.backend import EciBackend
from federation.backends.eci.claims import ClaimSource
from federation.backends.eci.observe import SETTLES
from federation.backends.eci.translate.claims import Brought
from federation.backends.eci.translate.policy import Spot
from federation.backends.eci.translate.spec import Resources
from federation.claims.objects import VolumeSpec
from federation.fluid.profiles import Dataset, Thin
from federation.fluid.sidecar import Asked, brought
from tests.builders import NODE, NODE_ADDRESS, UID_1, UID_2, loads
from tests.eci.connecting import KEYS, connected, make_group
from tests.eci.refusal import Refusal
from tests.eci.script import Fate, Script
from tests.eci.server import Emulator
from tests.fakes.clock import SteppedClock
from tests.unit.federation.eci.translate.builders import TRUSTING, config_map, secret
from tests.unit.federation.translate.builders import make_container, make_pod, make_spec
from vnode.backend import (
    SERVICE_VARIABLES,
    ObjectRef,
    ObservedPod,
    PodEvent,
    PodRequest,
    ReferenceKind,
    Rejected,
    Sight,
    Token,
    TokenKey,
    UpdatePart,
    Waiting,
)
from vnode.kube.types import UID, NodeName, ObjectKey, Pod

POLICY = replace(TRUSTING, vswitches=())
KEY = ObjectKey("team-a", "job-0")
SERVICES = ObjectRef("team-a", *SERVICE_VARIABLES)


@dataclass
class Site:
    """One agent's backend and the service behind it."""

    emulator: Emulator
    backend: EciBackend
    clock: SteppedClock
    fate: Fate = field(default_factory=Fate)
    heard: list[ObjectKey] = field(default_factory=list)

    async def look(self, seconds: float = 0.0) -> None:
        """Let time pass, then poll."""
        self.clock.now += seconds
        await self.backend.observer.look()

    def observed(self) -> ObservedPod:
        found = self.backend.observed(KEY)
        assert found is not None
        return found

    def status(self) -> dict[str, Any]:
        found: dict[str, Any] = loads(self.observed().status)
        return found

    def groups(self) -> list[str]:
        """Ids of what is there."""
        return [group.id for group in self.emulator.groups.at(self.clock.now)]

    def somebody_elses(self) -> None:
        """Another of our tenant's groups, so that lists are not empty."""
        tags = {"vnode.dev/tenant": "red", "vnode.dev/cluster-uid": "c-1"}
        named = {"vnode.dev/namespace": "team-b", "vnode.dev/name": "x", "vnode.dev/uid": "u-x"}
        listed = [{"Key": key, "Value": value} for key, value in (tags | named).items()]
        self.emulator.groups.create(make_group("red-team-b-x", Tag=listed), self.clock.now)


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    clock = SteppedClock()
    made: list[Site] = []
    async with (
        Emulator(keys=KEYS, clock=clock, fate=lambda _: made[0].fate) as emulator,
        connected(emulator) as api,
    ):
        made.append(Site(emulator, make_backend(api, clock), clock))
        made[0].backend.subscribe(made[0].heard.append)
        await made[0].backend.put_object(SERVICES, config_map("x", {}))
        await made[0].look()
        yield made[0]


def make_backend(
    api: Any,
    clock: SteppedClock,
    *,
    others: Collection[NodeName] = (),
    forwards: Callable[[str], bool] = lambda _: True,
    served: NodeName = NODE,
    claim_source: ClaimSource | None = None,
    **changes: Any,
) -> EciBackend:
    return EciBackend(
        api,
        claims=claim_source,
        policies={served: replace(POLICY, **changes)},
        account="beijing",
        others=others,
        forwards=forwards,
        clock=clock,
        rng=random.Random(1),
    )


async def restarted(site: Site, api: Any) -> Site:
    """Another life of the agent."""
    backend = make_backend(api, site.clock)
    await backend.put_object(SERVICES, config_map("x", {}))
    return replace(site, backend=backend, heard=[])


def make_request(
    *,
    uid: UID = UID_1,
    digest: str = "d1",
    tokens: Mapping[TokenKey, Token] | None = None,
    **spec: Any,
) -> PodRequest:
    pod = make_pod(make_spec(**spec))
    pod = structs.replace(pod, metadata=structs.replace(pod.metadata, uid=uid))
    return PodRequest(
        pod=pod, node=NODE, digest=digest, host_ip=NODE_ADDRESS, tokens=dict(tokens or {})
    )


async def test_nothing_is_known_before_everything_was_seen(site: Site) -> None:
    async with connected(site.emulator) as api:
        other = await restarted(site, api)
        assert other.backend.sight("team-a") is Sight.UNKNOWN
        await other.look()
        assert other.backend.sight("team-a") is Sight.COMPLETE


async def test_a_pod_goes_from_waiting_to_its_end(site: Site) -> None:
    site.fate = Fate(runs=5, exit_code=3)
    copy = await site.backend.apply(make_request(restartPolicy="Never"))
    assert (copy.uid, copy.node, copy.digest, copy.scheduled) == (UID_1, NODE, "d1", False)
    await site.look(3)
    assert site.status()["phase"] == "Running"
    assert site.status()["containerStatuses"][0]["state"]["running"]["startedAt"]
    await site.look(10)
    assert site.status()["phase"] == "Failed"
    assert site.status()["containerStatuses"][0]["state"]["terminated"]["exitCode"] == 3
    assert site.heard.count(KEY) == 3


async def test_the_end_is_remembered_after_the_service_has_forgotten_it(site: Site) -> None:
    site.fate = Fate(runs=5)
    await site.backend.apply(make_request(restartPolicy="Never"))
    await site.look(20)
    site.emulator.groups._all.clear()
    site.somebody_elses()
    await site.look(31)
    await site.look(31)
    assert site.observed().gone
    assert site.status()["phase"] == "Succeeded"
    site.backend.forget(site.observed())
    assert site.backend.observed(KEY) is None


async def test_an_agent_that_starts_knows_whose_groups_are_whose(site: Site) -> None:
    made = await site.backend.apply(make_request())
    await site.look(5)
    async with connected(site.emulator) as api:
        other = await restarted(site, api)
        await other.look()
        found = other.observed()
    assert (found.uid, found.handle, found.digest) == (UID_1, made.handle, "d1")
    assert (await other.backend.apply(make_request())).handle == made.handle
    assert site.emulator.groups.made == 1


async def test_groups_of_others_are_not_seen(site: Site) -> None:
    strange = [{"Key": "vnode.dev/tenant", "Value": "red"}]
    site.emulator.groups.create(make_group("job-0", Tag=strange), site.clock.now)
    await site.look(60)
    assert site.backend.observed(KEY) is None
    assert site.backend.copies() == 0


async def test_a_group_that_somebody_gave_our_tags_to_is_not_ours(site: Site) -> None:
    await site.backend.apply(make_request())
    [ours] = site.emulator.groups.at(site.clock.now)
    tags = [{"Key": key, "Value": value} for key, value in ours.tags.items()]
    site.emulator.groups.create(make_group("red-web", Tag=tags), site.clock.now)
    await site.look(60)
    assert site.backend.copies() == 1
    assert site.observed().handle == ours.id


async def test_groups_of_a_virtual_node_that_others_serve_are_theirs(site: Site) -> None:
    async with connected(site.emulator) as api:
        other = make_backend(api, site.clock, others=[NODE], served=NodeName("vnode-spot"))
        await site.backend.apply(make_request())
        for _ in range(3):
            await other.observer.look()
            site.clock.now += 2
        assert other.copies() == 0
        asked = site.emulator.counted["DescribeContainerGroups"]
        await other.observer.look()
        assert site.emulator.counted["DescribeContainerGroups"] == asked


async def test_namespaces_that_are_not_forwarded_are_seen_through_but_get_nothing_new(
    site: Site,
) -> None:
    made = await site.backend.apply(make_request())
    async with connected(site.emulator) as api:
        other = make_backend(api, site.clock, forwards=lambda name: name != KEY.namespace)
        await other.observer.look()
        assert other.sight(KEY.namespace) is Sight.COMPLETE
        assert (await other.apply(make_request())).handle == made.handle
        await site.backend.delete(made, grace_seconds=1)
        site.clock.now += 31
        await other.observer.look()
        with pytest.raises(Waiting, match="is not forwarded") as refused:
            other.admit(make_request(uid=UID_2))
        assert refused.value.not_done
        with pytest.raises(Waiting, match="is not forwarded"):
            await other.apply(make_request(uid=UID_2))
    assert site.emulator.groups.made == 1


async def test_a_create_without_answer_is_looked_for_and_not_made_twice(site: Site) -> None:
    site.emulator.faults.lose_answers = 1
    with pytest.raises(Waiting) as lost:
        await site.backend.apply(make_request())
    assert (lost.value.reason, lost.value.not_done) == ("ComputeUnreachable", False)
    # However long that was: the service may have forgotten the token.
    site.emulator.groups._tokens.clear()
    copy = await site.backend.apply(make_request())
    assert site.groups() == [copy.handle]


async def test_a_repeat_that_differs_finds_the_first_one(site: Site) -> None:
    first = await site.backend.apply(make_request())
    async with connected(site.emulator) as api:
        other = await restarted(site, api)  # Its listing has not come yet.
        copy = await other.backend.apply(make_request(digest="d2"))
    assert (copy.handle, copy.digest) == (first.handle, "d1")


async def test_a_first_one_that_no_list_shows_yet_is_waited_for(site: Site) -> None:
    await site.backend.apply(make_request())
    site.emulator.faults.unseen = 50
    async with connected(site.emulator) as api:
        other = await restarted(site, api)
        with pytest.raises(Waiting) as unseen:
            await other.backend.apply(make_request(digest="d2"))
    assert (unseen.value.reason, unseen.value.not_done) == ("CopyNotSeen", False)
    assert site.emulator.groups.made == 1


@pytest.mark.parametrize(
    ("code", "status", "reason", "not_done"),
    [
        ("OperationDenied.NoStock", 403, "NoStock", True),
        ("QuotaExceeded", 403, "QuotaExceeded", True),
        ("InvalidVSwitchId.NotFound", 404, "ComputeMisconfigured", True),
        ("Forbidden.RAM", 403, "ComputeForbidden", True),
        ("Throttling.User", 400, "ComputeBusy", True),
        ("InternalError", 500, "ComputeUnreachable", False),
        ("SomethingNew", 400, "ComputeError", False),
    ],
)
async def test_what_may_pass_is_waited_for(
    site: Site, code: str, status: int, reason: str, not_done: bool
) -> None:
    site.emulator.faults.fail("CreateContainerGroup", code=code, status=status, message="vsw-123")
    with pytest.raises(Waiting) as refused:
        await site.backend.apply(make_request())
    assert (refused.value.reason, refused.value.not_done) == (reason, not_done)
    assert refused.value.passing is (reason == "ComputeBusy")
    assert "vsw-123" not in str(refused.value)


async def test_pods_that_found_no_stock_are_known_until_they_are_made(site: Site) -> None:
    heard: list[set[UID]] = []
    site.backend.subscribe_stock(lambda: heard.append(set(site.backend.out_of_stock)))
    site.emulator.faults.no_stock = {"*"}
    for _ in range(2):
        with pytest.raises(Waiting):
            await site.backend.apply(make_request())
    site.emulator.faults.no_stock = set()
    await site.backend.apply(make_request())
    assert heard == [{UID_1}, set()]


async def test_only_what_is_wrong_with_the_pod_rejects_it(site: Site) -> None:
    site.emulator.faults.fail("CreateContainerGroup", code="InvalidParameter.Name", status=400)
    with pytest.raises(Rejected):
        await site.backend.apply(make_request())


async def test_what_the_spot_market_has_not_is_bought_otherwise(site: Site) -> None:
    site.emulator.faults.fail(
        "CreateContainerGroup", times=1, code="OperationDenied.NoStock", status=403
    )
    async with connected(site.emulator) as api:
        backend = make_backend(api, site.clock, spot=Spot(fallback=True))
        await backend.put_object(SERVICES, config_map("x", {}))
        await backend.apply(make_request())
    [group] = site.emulator.groups.at(site.clock.now)
    assert "SpotStrategy" not in group.asked


async def test_a_predecessor_is_gone_before_its_namesake_is_made(site: Site) -> None:
    await site.backend.apply(make_request())
    with pytest.raises(Waiting) as waits:
        await site.backend.apply(make_request(uid=UID_2))
    assert waits.value.reason == "PredecessorExists"
    assert site.emulator.groups.made == 1


async def test_a_group_without_a_place_waits_and_says_why(site: Site) -> None:
    site.fate = Fate(schedule_fails="NoStock")
    await site.backend.apply(make_request(restartPolicy="Never"))
    await site.look(3)
    assert site.status()["phase"] == "Pending"
    waiting = site.observed().waiting
    assert waiting is not None
    assert waiting.reason == "NoStock"


async def test_a_spot_instance_that_goes_evicts_its_pod(site: Site) -> None:
    copy = await site.backend.apply(make_request())
    await site.look(5)
    group = site.emulator.groups.get(copy.handle, site.clock.now)
    assert group is not None
    group.life.reclaim(site.clock.now)
    await site.look(181)
    status = site.status()
    assert (status["phase"], status["reason"]) == ("Failed", "Evicted")
    assert {c["type"] for c in status["conditions"] if c["status"] == "True"} == {
        "DisruptionTarget"
    }
    assert status["containerStatuses"][0]["state"]["terminated"]["exitCode"] == 137


async def test_a_deletion_is_followed_to_its_end(site: Site) -> None:
    copy = await site.backend.apply(make_request())
    site.somebody_elses()
    await site.look(5)
    await site.backend.delete(copy, grace_seconds=5)
    assert (site.observed().deleting, site.observed().gone) == (True, False)
    await site.look(0.1)
    assert not site.observed().gone
    await site.look(3)
    assert (site.observed().gone, site.observed().grace_seconds) == (True, 0)


async def test_a_deletion_after_its_end_does_not_undo_it(site: Site) -> None:
    site.fate = Fate(runs=5, terminating=60)
    copy = await site.backend.apply(make_request(restartPolicy="Never"))
    await site.look(20)
    await site.backend.delete(copy, grace_seconds=5)
    await site.look(3)
    assert (site.status()["phase"], site.observed().deleting) == ("Succeeded", True)


async def test_the_last_one_is_asked_for_by_its_id(site: Site) -> None:
    copy = await site.backend.apply(make_request())
    await site.look(5)
    await site.backend.delete(copy, grace_seconds=5)
    await site.look(3)
    assert (site.observed().gone, site.observed().grace_seconds) == (True, 0)


async def test_deleting_what_is_gone_is_success(site: Site) -> None:
    copy = await site.backend.apply(make_request())
    await site.look()
    site.emulator.groups._all.clear()
    await site.backend.delete(copy, grace_seconds=5)
    assert site.observed().gone


async def test_what_was_just_made_is_not_gone_because_nobody_knows_it_yet(site: Site) -> None:
    site.somebody_elses()
    site.clock.now += 60
    copy = await site.backend.apply(make_request())
    site.emulator.faults.unseen = 30
    hidden = dict(site.emulator.groups._all)
    site.emulator.groups._all.pop(copy.handle)
    await site.backend.delete(copy, grace_seconds=5)
    await site.look(3)
    assert not site.observed().gone
    assert not await site.backend.confirm_gone(KEY, UID_1)
    site.emulator.groups._all.update(hidden)
    for _ in range(12):
        await site.look(10)
    assert site.observed().gone
    assert copy.handle not in site.groups()


async def test_a_deletion_without_effect_is_asked_for_again(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = await site.backend.apply(make_request())
    await site.look(5)
    answer, calls = site.emulator._answer, 0

    def idle(action: str, *more: Any) -> Any:
        nonlocal calls
        calls += action == "DeleteContainerGroup"
        return {} if action == "DeleteContainerGroup" and calls < 3 else answer(action, *more)

    monkeypatch.setattr(site.emulator, "_answer", idle)
    await site.backend.delete(copy, grace_seconds=5)
    for _ in range(5):
        await site.look(10)
    assert calls == 1
    for _ in range(20):
        await site.look(10)
    assert calls >= 3
    assert site.observed().gone
    assert site.groups() == []


class TestABlindKey:
    """The service says nothing to a key without the right to list."""

    async def test_it_loses_nothing(self, site: Site) -> None:
        copy = await site.backend.apply(make_request())
        await site.look(5)
        site.emulator.faults.blind = True
        for _ in range(5):
            await site.look(40)
        assert not site.observed().gone
        assert not await site.backend.confirm_gone(copy.key, UID_1)

    async def test_after_a_restart_it_proves_nothing(self, site: Site) -> None:
        await site.backend.apply(make_request())
        site.emulator.faults.blind = True
        async with connected(site.emulator) as api:
            other = await restarted(site, api)
            await other.look()
            site.clock.now += SETTLES
            with pytest.raises(Waiting) as unsure:
                await other.backend.confirm_gone(KEY, UID_1)
        assert unsure.value.reason == "ComputeNotSeen"


async def test_what_runs_is_not_gone_whoever_made_it(site: Site) -> None:
    await site.backend.apply(make_request())
    site.somebody_elses()
    async with connected(site.emulator) as api:
        other = await restarted(site, api)  # It has not looked yet.
        assert not await other.backend.confirm_gone(KEY, UID_1)


async def test_one_that_was_never_listed_is_not_taken_for_deleted(site: Site) -> None:
    site.somebody_elses()
    site.clock.now += 60
    site.emulator.faults.unseen = 50
    site.fate = Fate(terminating=30)
    copy = await site.backend.apply(make_request())
    await site.backend.delete(copy, grace_seconds=1)
    await site.look(3)
    assert not site.observed().gone
    await site.look(30)
    assert site.observed().gone


async def test_a_pod_whose_group_went_is_not_made_again(site: Site) -> None:
    copy = await site.backend.apply(make_request())
    await site.backend.delete(copy, grace_seconds=1)
    await site.look(3)
    with pytest.raises(Waiting):
        await site.backend.apply(make_request())
    assert site.emulator.groups.made == 1


async def test_what_others_deleted_is_gone_by_its_id(site: Site) -> None:
    await site.backend.apply(make_request())
    await site.look(5)
    site.emulator.groups._all.clear()
    await site.look(40)
    assert site.observed().gone
    assert site.observed().grace_seconds is None
    assert await site.backend.confirm_gone(KEY, UID_1)


async def test_a_list_with_others_proves_what_it_has_not(site: Site) -> None:
    site.somebody_elses()
    site.clock.now += SETTLES
    assert await site.backend.confirm_gone(KEY, UID_1)


async def test_a_list_proves_nothing_after_a_create_that_nobody_answered(site: Site) -> None:
    site.somebody_elses()
    site.clock.now += SETTLES
    site.emulator.faults.unseen, site.emulator.faults.lose_answers = 50, 1
    with pytest.raises(Waiting):
        await site.backend.apply(make_request())
    with pytest.raises(Waiting) as unsure:
        await site.backend.confirm_gone(KEY, UID_1)
    assert unsure.value.reason == "CopyNotSeen"


@pytest.mark.parametrize("seen", [True, False])
async def test_nothing_is_remembered_of_a_create_whose_end_is_known(site: Site, seen: bool) -> None:
    site.somebody_elses()
    site.clock.now += SETTLES
    site.emulator.faults.lose_answers = 1
    with pytest.raises(Waiting):
        await site.backend.apply(make_request())
    assert site.backend._creation._unanswered
    if seen:
        await site.look(5)
        assert await site.backend.apply(make_request()) == site.observed()
    else:
        site.emulator.groups._all.pop(site.groups()[-1])
        site.clock.now += SETTLES
        assert await site.backend.confirm_gone(KEY, UID_1)
    assert not site.backend._creation._unanswered


async def test_nothing_is_remembered_of_a_create_whose_group_came_and_went(site: Site) -> None:
    """Its pod was deleted before anybody heard of the group."""
    site.somebody_elses()
    site.emulator.faults.lose_answers = 1
    with pytest.raises(Waiting):
        await site.backend.apply(make_request())
    await site.look(5)
    await site.backend.delete(site.observed(), grace_seconds=1)
    await site.look(60)
    gone = site.observed()
    assert gone.gone
    site.backend.forget(gone)
    assert not site.backend._creation._unanswered


@pytest.mark.parametrize("code", ["OperationDenied.NoStock", "InvalidParameter.Name"])
async def test_a_refusal_says_nothing_of_the_create_before_it(site: Site, code: str) -> None:
    site.somebody_elses()
    site.emulator.faults.unseen, site.emulator.faults.lose_answers = 50, 1
    with pytest.raises(Waiting):
        await site.backend.apply(make_request())
    site.emulator.faults.fail("CreateContainerGroup", code=code, status=403)
    with pytest.raises(Waiting) as refused:
        await site.backend.apply(make_request())
    assert (refused.value.reason, refused.value.not_done) == ("CopyNotSeen", False)
    site.emulator.faults.failing.clear()
    site.clock.now += 61
    copy = await site.backend.apply(make_request())
    assert copy.handle in site.groups()
    assert site.emulator.groups.made == 2


async def test_a_create_that_was_lost_on_the_way_is_given_up_in_time(site: Site) -> None:
    site.emulator.faults.down = True
    with pytest.raises(Waiting):
        await site.backend.apply(make_request())
    site.emulator.faults.down = False
    site.somebody_elses()
    await site.look(SETTLES)
    site.emulator.faults.fail(
        "CreateContainerGroup", code="InvalidParameter.Name", status=400, times=1
    )
    with pytest.raises(Rejected):
        await site.backend.apply(make_request())


async def test_a_page_that_shifts_hides_nobody(site: Site) -> None:
    copy = await site.backend.apply(make_request())
    site.somebody_elses()
    await site.look(5)
    await site.backend.delete(copy, grace_seconds=30)
    site.fate = Fate(terminating=3600)
    statuses = site.emulator._actions._actions["DescribeContainerGroupStatus"]

    def shifted(asked: Any, now: float) -> Any:
        answer = statuses(asked, now)
        if "ContainerGroupIds" not in asked:
            answer["Data"] = [one for one in answer["Data"] if one["Name"] == "other"]
        return answer

    site.emulator._actions._actions["DescribeContainerGroupStatus"] = shifted
    await site.look(0.1)
    assert (site.observed().deleting, site.observed().gone) == (True, False)


async def test_an_odd_word_about_one_missing_group_is_no_lost_link(site: Site) -> None:
    await site.backend.apply(make_request())
    await site.look(5)
    site.emulator.faults.blind = True
    for code in ("IncorrectStatus", "Forbidden.RAM"):
        site.emulator.faults.refuse = {"DescribeContainerLog": Refusal(code, "")}
        for _ in range(3):
            await site.look(40)
        assert site.backend.observer.error is None
        assert not site.observed().gone


async def test_where_nothing_at_all_is_used_nothing_runs(site: Site) -> None:
    site.clock.now += SETTLES
    assert await site.backend.confirm_gone(KEY, UID_1)


async def test_what_an_agent_made_last_is_not_lost_to_the_next_one(site: Site) -> None:
    site.somebody_elses()
    site.emulator.faults.unseen = 20
    site.clock.now += 21
    made = await site.backend.apply(make_request())
    async with connected(site.emulator) as api:
        other = await restarted(site, api)
        await other.look()
        with pytest.raises(Waiting) as unseen:
            await other.backend.confirm_gone(KEY, UID_1)
        assert unseen.value.reason == "ComputeNotSeen"
        await other.look(20)
        assert other.observed().handle == made.handle


async def test_a_group_that_no_list_shows_yet_is_not_lost(site: Site) -> None:
    site.emulator.faults.unseen = 90
    site.somebody_elses()
    site.clock.now += 91
    await site.backend.apply(make_request())
    await site.look(31)
    await site.look(31)
    assert not site.observed().gone


async def test_nothing_of_a_group_changes(site: Site) -> None:
    copy = await site.backend.apply(make_request())
    changed = make_request(digest="d2", ephemeralContainers=[{"name": "debug", "image": "x"}])
    updated = await site.backend.update(changed, copy)
    assert [(held.part, held.container, held.permanent) for held in updated.held_back] == [
        (UpdatePart.POD, "", True),
        (UpdatePart.EPHEMERAL_CONTAINER, "debug", True),
    ]
    assert updated.copy.digest == "d1"
    assert site.backend.refused(make_request(), copy) == ()


async def test_what_a_pod_refers_to_is_in_its_group(site: Site) -> None:
    ref = ObjectRef("team-a", ReferenceKind.SECRET, "s")
    await site.backend.put_object(ref, secret("s", {"k": "hush"}))
    source = {"secretKeyRef": {"name": "s", "key": "k"}}
    container = make_container(env=[{"name": "A", "valueFrom": source}])
    await site.backend.apply(make_request(containers=[container]))
    [group] = site.emulator.groups.at(site.clock.now)
    assert {"Key": "A", "Value": "hush"} in group.asked["Container"][0]["EnvironmentVar"]
    assert site.backend.held_version(ref) is not None
    await site.backend.drop_object(ref)
    assert site.backend.held_version(ref) is None


async def test_no_secret_is_kept_that_may_not_be_written(site: Site) -> None:
    async with connected(site.emulator) as api:
        strict = make_backend(api, site.clock, allow_inline_secrets=False)
        with pytest.raises(Waiting):
            await strict.put_object(
                ObjectRef("team-a", ReferenceKind.SECRET, "s"), secret("s", {"k": "hush"})
            )


async def test_pods_that_wait_for_something_else_hold_up_no_others(site: Site) -> None:
    for number in range(500):
        site.backend.admit(make_request(uid=UID(f"u-{number}")))

    site.backend.admit(make_request())
    assert (await site.backend.apply(make_request())).uid == UID_1


async def test_of_pods_that_want_the_same_one_asks_while_it_is_sold_out(site: Site) -> None:
    site.emulator.faults.no_stock = {"*"}
    requests = [make_request(uid=UID(f"u-{number}")) for number in range(20)]

    for request in requests * 2:
        with pytest.raises(Waiting) as waiting:
            await site.backend.apply(request)
        assert (waiting.value.reason, waiting.value.not_done) == ("NoStock", True)
    assert site.emulator.calls.count("CreateContainerGroup") == 2

    site.emulator.faults.no_stock = set()
    await site.backend.apply(requests[0])
    assert len(site.backend._creation._shortages) == 0


async def test_of_events_only_those_are_remembered_that_may_come_again(site: Site) -> None:
    site.backend.subscribe_events(lambda _: None)
    await site.backend.apply(make_request())
    await site.look(4)
    [(group, told)] = site.backend.observer.news._told.items()
    assert told
    site.backend.observer.news._told[group] = {Event(reason="Old", message="which nobody lists")}

    site.backend.observer.news.changed(group)
    await site.look(4)

    assert site.backend.observer.news._told[group] == told


async def test_events_are_told_once_and_old_ones_not(site: Site) -> None:
    said: list[PodEvent] = []
    site.backend.subscribe_events(said.append)
    site.fate = Fate(runs=5)
    await site.backend.apply(make_request(restartPolicy="Never"))
    await site.look(4)
    await site.look(5)
    assert [event.reason for event in said].count("Started") == 1
    seen = len(said)
    async with connected(site.emulator) as api:
        other = await restarted(site, api)
        other.backend.subscribe_events(said.append)
        await other.look()
    assert len(said) == seen


class Claims:
    """The tenant's claims, each of which is read by a client of a profile."""

    RESOURCES: ClassVar = {"requests": {"cpu": "500m"}, "limits": {"memory": "1Gi"}}

    def __init__(self) -> None:
        fuse = {"image": "starfs", "command": ["mount-starfs"], "resources": self.RESOURCES}
        self.thin = convert({"fuse": fuse}, Thin)
        self.why = ""
        self.asked = 0
        self.open = asyncio.Event()
        self.open.set()

    def beside(self, pod: Pod) -> Sequence[Resources]:
        return [self.thin.fuse.resources] if b"persistentVolumeClaim" in bytes(pod.spec) else []

    async def of(self, pod: Pod) -> Mapping[str, Brought]:
        if b"persistentVolumeClaim" not in bytes(pod.spec):
            return {}
        self.asked += 1
        await self.open.wait()
        if self.why:
            raise Waiting(self.why, reason="DatasetNotReady", not_done=True)
        dataset = convert({"mounts": [{"mountPoint": "pvc://data"}]}, Dataset)
        asked = Asked(pod.metadata.namespace, "data", "v", VolumeSpec(), dataset, self.thin)
        return {"v": brought(asked)}


WITH_CLAIM: dict[str, Any] = {
    "restartPolicy": "Never",
    "volumes": [{"name": "v", "persistentVolumeClaim": {"claimName": "data"}}],
    "containers": [make_container(volumeMounts=[{"name": "v", "mountPath": "/data"}])],
}


async def test_a_pod_with_a_claim_ends_without_its_sidecar_which_nobody_sees(site: Site) -> None:
    said: list[PodEvent] = []
    async with connected(site.emulator) as api:
        backend = make_backend(api, site.clock, claim_source=Claims(), claims=True)
        await backend.put_object(SERVICES, config_map("x", {}))
        backend.subscribe_events(said.append)
        site.backend = backend
        await site.look()
        site.fate = Fate(runs=20, containers={"fluid-fuse-0": Script(ready_after=10)})
        await backend.apply(make_request(**WITH_CLAIM))
        [group] = backend._copies.there()
        assert (group.containers, group.hidden) == ((), {"fluid-fuse", "starfs"})
        await site.look(5)
        began = site.status()
        await site.look(20)
        running = site.status()
        await site.look(30)
        ended = site.status()
    phases = [status["phase"] for status in (began, running, ended)]
    assert phases == ["Pending", "Running", "Succeeded"]
    assert "fluid-fuse" not in str([began, running, ended])
    assert {event.reason for event in said} >= {"Started"}
    assert not [event for event in said if "fuse" in event.message or "starfs" in event.message]


async def test_a_pod_whose_claim_is_not_ready_waits_and_nothing_is_asked_for(site: Site) -> None:
    claims = Claims()
    claims.why = "it is not bound to a volume yet"
    opened: list[str] = []
    async with connected(site.emulator) as api:
        backend = make_backend(api, site.clock, claim_source=claims, claims=True)
        backend.subscribe_places(opened.append)
        await backend.put_object(SERVICES, config_map("x", {}))
        with pytest.raises(Waiting, match="not bound") as waiting:
            await backend.apply(make_request(**WITH_CLAIM))
        assert (waiting.value.reason, waiting.value.not_done) == ("DatasetNotReady", True)
        assert site.emulator.counted["CreateContainerGroup"] == 0
        claims.why = ""
        backend.opened("team-a")
        assert opened == ["team-a"]
        await backend.apply(make_request(**WITH_CLAIM))
    assert site.emulator.groups.made == 1


@pytest.mark.parametrize(
    ("restarts", "code", "phase"),
    [("Never", 1, "Failed"), ("OnFailure", 0, "Failed"), ("OnFailure", 1, "Pending")],
)
@pytest.mark.parametrize("again", [False, True])
async def test_a_pod_whose_sidecar_ended_before_it_began_fails_and_costs_nothing_more(
    site: Site, restarts: str, code: int, phase: str, again: bool
) -> None:
    sidecar = Script(runs=10, exit_code=code, ready_after=999)
    main = Script(cannot_start="ErrImagePull")
    site.fate = Fate(containers={"fluid-fuse-0": sidecar, "main": main})
    async with connected(site.emulator) as api:
        site.backend = make_backend(api, site.clock, claim_source=Claims(), claims=True)
        await site.backend.put_object(SERVICES, config_map("x", {}))
        await site.look()
        await site.backend.apply(make_request(**{**WITH_CLAIM, "restartPolicy": restarts}))
        if again:
            site.backend = (await restarted(site, api)).backend
        await site.look(10)
        assert site.status()["phase"] == "Pending"
        for _ in range(4):
            await site.look(31)
        status = site.status()
        assert status["phase"] == phase
        await site.look(2)
        await site.look(2)
        assert bool(site.groups()) is (phase != "Failed")
        assert site.status()["phase"] == phase
    if phase == "Failed":
        assert status["reason"] == "AddedContainerFailed"
        assert f"exit code {code}" in status["message"]
        assert [one["name"] for one in status["containerStatuses"]] == ["main"]


async def test_a_helper_that_begins_after_a_sidecars_end_costs_no_training(site: Site) -> None:
    sidecar, helper = Script(runs=40), Script(runs=20, exit_code=1)
    site.fate = Fate(containers={"fluid-fuse-0": sidecar, "helper": helper})
    two = {**WITH_CLAIM, "restartPolicy": "OnFailure"}
    two["containers"] = [*two["containers"], {"name": "helper", "image": "helper:1"}]
    async with connected(site.emulator) as api:
        site.backend = make_backend(api, site.clock, claim_source=Claims(), claims=True)
        await site.backend.put_object(SERVICES, config_map("x", {}))
        await site.backend.apply(make_request(**two))
        for _ in range(30):
            await site.look(10)
            assert site.groups()
            assert site.status()["phase"] in ("Pending", "Running")
    assert site.status()["phase"] == "Running"


async def test_a_pod_that_is_deleted_before_its_sidecar_was_ready_has_not_failed(
    site: Site,
) -> None:
    site.fate = Fate(containers={"fluid-fuse-0": Script(ready_after=999)}, terminating=5)
    async with connected(site.emulator) as api:
        site.backend = make_backend(api, site.clock, claim_source=Claims(), claims=True)
        await site.backend.put_object(SERVICES, config_map("x", {}))
        await site.backend.apply(make_request(**WITH_CLAIM))
        await site.look(10)
        await site.backend.delete(site.observed(), grace_seconds=1)
        for _ in range(4):
            await site.look(1)
            assert site.status()["phase"] == "Pending"


async def test_what_a_sidecar_is_to_have_is_bought_besides_what_its_pod_asks_for(
    site: Site,
) -> None:
    asked = {"requests": {"cpu": "1", "memory": "2Gi"}}
    container = {**WITH_CLAIM["containers"][0], "resources": asked}
    async with connected(site.emulator) as api:
        site.backend = make_backend(api, site.clock, claim_source=Claims(), claims=True)
        await site.backend.put_object(SERVICES, config_map("x", {}))
        await site.backend.apply(make_request(**{**WITH_CLAIM, "containers": [container]}))
    [group] = site.emulator.groups.at(site.clock.now)
    assert (group.asked["Cpu"], group.asked["Memory"]) == ("2", "4")


async def test_pods_that_wait_for_stock_do_not_look_at_their_claims(site: Site) -> None:
    claims = Claims()
    site.emulator.faults.no_stock = {"*"}
    requests = [make_request(uid=UID(f"u-{number}"), **WITH_CLAIM) for number in range(20)]
    async with connected(site.emulator) as api:
        backend = make_backend(api, site.clock, claim_source=claims, claims=True)
        await backend.put_object(SERVICES, config_map("x", {}))
        for request in requests * 3:
            with pytest.raises(Waiting, match="sold out"):
                await backend.apply(request)
    assert claims.asked == site.emulator.calls.count("CreateContainerGroup") == 3


async def test_what_is_refused_while_a_pod_looks_at_its_claims_is_not_asked_for(site: Site) -> None:
    claims = Claims()
    site.emulator.faults.no_stock = {"*"}
    async with connected(site.emulator) as api:
        backend = make_backend(api, site.clock, claim_source=claims, claims=True)
        await backend.put_object(SERVICES, config_map("x", {}))
        claims.open.clear()
        late = asyncio.create_task(backend.apply(make_request(uid=UID_2, **WITH_CLAIM)))
        await asyncio.sleep(0)
        with pytest.raises(Waiting, match="sold out"):
            await backend.apply(make_request())
        claims.open.set()
        with pytest.raises(Waiting, match="sold out"):
            await late
    assert (claims.asked, site.emulator.calls.count("CreateContainerGroup")) == (1, 1)


async def test_a_service_that_is_down_loses_nothing(site: Site) -> None:
    await site.backend.apply(make_request())
    await site.look(5)
    site.emulator.faults.down = True
    for _ in range(60):
        await site.look(10)
    assert site.backend.silent_for is not None
    links = [site.backend.reachable]
    assert not site.observed().gone
    site.emulator.faults.down = False
    for _ in range(30):
        await site.look(2)
    links.append(site.backend.reachable)
    assert links == [False, True]
    assert site.status()["phase"] == "Running"


async def test_polls_cost_calls_by_page_and_not_by_pod(site: Site) -> None:
    for number in range(450):
        tags = {
            "vnode.dev/tenant": "red",
            "vnode.dev/cluster-uid": "c-1",
            "vnode.dev/namespace": "team-a",
            "vnode.dev/name": f"p-{number}",
            "vnode.dev/uid": f"u-{number}",
        }
        listed = [{"Key": key, "Value": value} for key, value in tags.items()]
        group = make_group(f"red-team-a-p-{number}", Tag=listed)
        site.emulator.groups.create(group, site.clock.now)
    await site.look(31)
    assert site.backend.copies() == 450
    site.emulator.calls.clear()
    await site.look(31)
    assert site.emulator.calls == ["DescribeContainerGroupStatus"] * 3
    await site.look(2)
    assert site.emulator.calls == ["DescribeContainerGroupStatus"] * 4


async def test_whoever_listens_hears_of_the_link_and_of_its_return(site: Site) -> None:
    lost, back = asyncio.Event(), asyncio.Event()
    site.backend.subscribe_link(lost.set)
    site.backend.sight("team-a")
    places: list[str] = []
    site.backend.subscribe_places(places.append)
    site.backend.subscribe_places(lambda _: back.set())
    site.emulator.faults.down = True
    following = asyncio.create_task(site.backend.run())
    await asyncio.wait_for(lost.wait(), 10)
    assert places == []
    site.emulator.faults.down = False
    await asyncio.wait_for(back.wait(), 10)
    following.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await following
    assert places[:1] == ["team-a"]


async def test_throttled_polls_are_no_lost_link(site: Site) -> None:
    site.emulator.faults.fail("DescribeContainerGroupStatus", code="Throttling.User", status=400)
    for _ in range(12):
        await site.look(10)
    assert site.backend.reachable
    assert site.backend.silent_for is None


async def test_groups_that_are_met_late_are_never_shown_without_their_state(site: Site) -> None:
    await site.backend.apply(make_request())
    for _ in range(25):  # More than one call names.
        site.somebody_elses()
    site.emulator.faults.unseen = 20
    async with connected(site.emulator) as api:
        other = await restarted(site, api)
        await other.look()
        phases: set[str] = set()

        def look_up() -> None:
            if other.backend.observed(KEY) is not None:
                phases.add(other.status()["phase"])

        def hear(_: ObjectKey) -> None:
            asyncio.get_running_loop().call_soon(look_up)

        other.backend.subscribe(hear)
        await other.look(31)
    assert phases == {"Running"}
