"""A compute cluster as a place where pods run."""

import asyncio
from dataclasses import replace

import pytest

from federation.backends.kubernetes.objects import ANNOTATION_TOKENS_REFRESH
from federation.backends.kubernetes.translate.names import (
    ANNOTATION_CLUSTER_UID,
    ANNOTATION_UID,
    LABEL_TENANT,
    Owner,
    token_secret_name,
)
from federation.backends.kubernetes.translate.policy import TranslationPolicy
from tests.builders import (
    NODE,
    OWNER,
    UID_1,
    UID_2,
    make_compute_pod,
    make_config_map,
    make_error,
    make_key,
    make_pod,
    make_request,
    make_secret,
    running_status,
)
from tests.fakes.client import Body
from tests.unit.federation.compute import BELOW, Compute
from vnode.backend import (
    NameConflict,
    ObjectRef,
    ObservedPod,
    PodEvent,
    ReferenceKind,
    Rejected,
    Sight,
    Token,
    TokenKey,
    UpdatePart,
    Waiting,
)
from vnode.kube.errors import Unreachable
from vnode.kube.resources import CONFIG_MAPS, EVENTS, PODS, SECRETS
from vnode.kube.types import ObjectKey

pytestmark = pytest.mark.looptime

KEY = make_key()
SETTINGS = ObjectRef("team-a", ReferenceKind.CONFIG_MAP, "settings")
LOGIN = ObjectRef("team-a", ReferenceKind.SECRET, "login")
OTHER_CLUSTER = Owner(tenant="red", cluster_uid="another-cluster-of-the-same-tenant-name")
TOKENS = {TokenKey("", 3600): Token("very-secret", refresh_at=1_800_002_880.0)}


@pytest.fixture
async def compute() -> Compute:
    compute = Compute()
    await compute.open()
    return compute


def observed(compute: Compute) -> ObservedPod:
    copy = compute.backend.observed(KEY)
    assert copy is not None
    return copy


class TestCreate:
    async def test_a_copy_is_made_with_our_marks_and_known_at_once(self, compute: Compute) -> None:
        copy = await compute.backend.apply(make_request())
        assert compute.client.names() == ["create pods"]
        made = compute.pod()["metadata"]
        assert made["labels"][LABEL_TENANT] == "red"
        assert made["annotations"][ANNOTATION_CLUSTER_UID] == OWNER.cluster_uid
        assert made["annotations"][ANNOTATION_UID] == UID_1
        assert copy == observed(compute)
        assert (copy.uid, copy.handle) == (UID_1, made["uid"])

    async def test_an_older_api_server_may_not_drop_fields_in_silence(
        self, compute: Compute
    ) -> None:
        await compute.backend.apply(make_request())
        assert [call.strict for call in compute.client.named("create pods")] == [True]

    async def test_a_second_call_makes_no_second_copy(self, compute: Compute) -> None:
        first = await compute.backend.apply(make_request())
        assert await compute.backend.apply(make_request()) == first
        assert compute.client.names() == ["create pods"]

    async def test_a_copy_that_the_watch_has_not_shown_yet_is_adopted(
        self, compute: Compute
    ) -> None:
        compute.client.put(PODS, make_compute_pod())
        copy = await compute.backend.apply(make_request())
        assert copy.uid == UID_1
        assert compute.client.names() == ["create pods", "get pods"]
        assert compute.backend.observed(KEY) == copy

    async def test_a_create_whose_answer_was_lost_is_adopted(self, compute: Compute) -> None:
        compute.client.fail(Unreachable("cut"), "create pods", after=True)
        with pytest.raises(Waiting) as caught:
            await compute.backend.apply(make_request())
        assert caught.value.reason == "ComputeUnreachable"
        copy = await compute.backend.apply(make_request())
        assert copy.handle == compute.pod()["metadata"]["uid"]

    @pytest.mark.parametrize(
        "theirs",
        [
            make_compute_pod(owner=OTHER_CLUSTER),
            make_compute_pod(labels={LABEL_TENANT: "blue"}),
            make_compute_pod(annotations={ANNOTATION_CLUSTER_UID: ""}),
        ],
        ids=["another cluster's", "another tenant's", "nobody's"],
    )
    async def test_somebody_else_s_pod_is_never_touched(
        self, compute: Compute, theirs: object
    ) -> None:
        before = compute.client.put(PODS, theirs)
        with pytest.raises(NameConflict):
            await compute.backend.apply(make_request())
        compute.deliver()
        with pytest.raises(NameConflict):
            await compute.backend.apply(make_request())
        assert compute.pod() == before
        assert compute.backend.observed(KEY) is None

    @pytest.mark.parametrize("shown", [True, False], ids=["seen", "not seen yet"])
    async def test_an_older_pod_s_copy_has_to_go_first(self, compute: Compute, shown: bool) -> None:
        compute.client.put(PODS, make_compute_pod(make_pod(uid=UID_2)))
        if shown:
            compute.deliver()
        with pytest.raises(Waiting) as caught:
            await compute.backend.apply(make_request())
        assert caught.value.reason == "PredecessorExists"
        assert not isinstance(caught.value, NameConflict)
        assert compute.pod()["metadata"]["annotations"][ANNOTATION_UID] == UID_2

    async def test_a_name_that_became_free_in_between_is_tried_again(
        self, compute: Compute
    ) -> None:
        compute.client.fail(make_error(409, reason="AlreadyExists"), "create pods")
        with pytest.raises(Waiting):
            await compute.backend.apply(make_request())
        assert (await compute.backend.apply(make_request())).uid == UID_1

    async def test_an_answer_that_comes_after_the_end_of_the_copy_revives_nothing(
        self, compute: Compute
    ) -> None:
        real = compute.client.create

        async def slow(*args: object, **options: object) -> object:
            made: object = await real(*args, **options)  # type: ignore[arg-type]
            compute.client.drop(PODS, ObjectKey(BELOW, "job-0"))
            compute.deliver()
            return made

        compute.client.create = slow  # type: ignore[assignment,method-assign]
        copy = await compute.backend.apply(make_request())
        assert copy.gone
        assert observed(compute).gone

    async def test_a_copy_that_came_and_went_is_not_made_again(self, compute: Compute) -> None:
        await compute.backend.apply(make_request())
        compute.client.drop(PODS, ObjectKey(BELOW, "job-0"))
        compute.deliver()
        assert (await compute.backend.apply(make_request())).gone
        assert len(compute.client.named("create pods")) == 1

    async def test_after_it_was_forgotten_a_successor_is_made(self, compute: Compute) -> None:
        copy = await compute.backend.apply(make_request())
        compute.client.drop(PODS, ObjectKey(BELOW, "job-0"))
        compute.deliver()
        compute.backend.forget(observed(compute))
        assert compute.backend.observed(KEY) is None
        successor = await compute.backend.apply(make_request(make_pod(uid=UID_2)))
        assert successor.handle != copy.handle

    async def test_an_old_copy_s_end_is_not_forgotten_by_its_successor_s_name(
        self, compute: Compute
    ) -> None:
        copy = await compute.backend.apply(make_request())
        compute.client.drop(PODS, ObjectKey(BELOW, "job-0"))
        compute.deliver()
        compute.backend.forget(replace(copy, handle="another"))
        assert observed(compute).gone


class TestRefusals:
    @pytest.mark.parametrize("code", [400, 422])
    async def test_what_the_server_calls_invalid_is_rejected(
        self, compute: Compute, code: int
    ) -> None:
        error = make_error(code, "spec.x: in red--team-a", fields=["spec.x"])
        compute.client.fail(error, "create pods")
        with pytest.raises(Rejected) as caught:
            await compute.backend.apply(make_request())
        assert caught.value.field == "spec.x"
        assert "red--team-a" not in str(caught.value)

    @pytest.mark.parametrize("code", [401, 403, 404, 429, 500, 503])
    async def test_everything_else_may_pass(self, compute: Compute, code: int) -> None:
        compute.client.fail(make_error(code), "create pods")
        with pytest.raises(Waiting):
            await compute.backend.apply(make_request())
        assert (await compute.backend.apply(make_request())).uid == UID_1

    async def test_our_own_rules_reject_before_anything_is_sent(self, compute: Compute) -> None:
        with pytest.raises(Rejected) as caught:
            await compute.backend.apply(make_request(make_pod(hostNetwork=True)))
        assert "hostNetwork" in caught.value.field
        assert not compute.client.calls

    async def test_a_namespace_that_is_not_prepared_is_waited_for(self) -> None:
        compute = Compute()
        with pytest.raises(Waiting) as caught:
            await compute.backend.apply(make_request())
        assert caught.value.reason == "NamespaceNotReady"
        assert not caught.value.passing
        assert "ask the platform team" in str(caught.value)
        assert "red--" not in str(caught.value)
        assert not compute.client.calls

    async def test_a_namespace_that_is_being_looked_at_is_a_matter_of_moments(self) -> None:
        compute = Compute()
        await compute.open()
        compute.backend.pods.drop_scope("red--team-a")
        with pytest.raises(Waiting, match="is being looked at") as caught:
            await compute.backend.apply(make_request())
        assert caught.value.passing
        assert "ask the platform team" not in str(caught.value)

    async def test_a_namespace_of_somebody_else_is_never_used(self) -> None:
        compute = Compute()
        await compute.open(tenant="blue")
        assert compute.backend.sight("team-a") is Sight.BARRED
        with pytest.raises(Waiting):
            await compute.backend.apply(make_request())
        with pytest.raises(Waiting):
            await compute.backend.put_object(SETTINGS, make_config_map())
        assert not compute.client.calls


class TestDelete:
    async def test_it_takes_exactly_this_copy(self, compute: Compute) -> None:
        copy = await compute.backend.apply(make_request())
        await compute.backend.delete(copy, grace_seconds=7)
        (call,) = compute.client.named("delete pods")
        assert (call.uid, call.grace_seconds) == (copy.handle, 7)

    async def test_what_has_its_name_now_stays(self, compute: Compute) -> None:
        copy = await compute.backend.apply(make_request())
        compute.client.drop(PODS, ObjectKey(BELOW, "job-0"))
        await compute.backend.delete(copy, grace_seconds=7)
        theirs = compute.client.put(PODS, make_compute_pod(make_pod(uid=UID_2)))
        await compute.backend.delete(copy, grace_seconds=7)
        assert compute.pod() == theirs

    async def test_a_failure_is_raised_without_names(self, compute: Compute) -> None:
        copy = await compute.backend.apply(make_request())
        error = make_error(403, f"pod {copy.handle} in red--team-a: no")
        compute.client.fail(error, "delete pods")
        with pytest.raises(Waiting) as caught:
            await compute.backend.delete(copy, grace_seconds=None)
        assert copy.handle not in str(caught.value)
        assert "red--team-a" not in str(caught.value)

    async def test_the_end_is_kept_until_it_is_forgotten(self, compute: Compute) -> None:
        await compute.backend.apply(make_request())
        compute.client.edit(
            PODS, ObjectKey(BELOW, "job-0"), lambda b: b.update(status=running_status())
        )
        compute.client.drop(PODS, ObjectKey(BELOW, "job-0"))
        compute.deliver()
        copy = observed(compute)
        assert copy.gone
        assert b"Running" in bytes(copy.status)
        compute.backend.forget(copy)
        assert compute.backend.observed(KEY) is None

    async def test_a_first_request_is_when_the_removal_was_asked_for(
        self, compute: Compute
    ) -> None:
        """The last step of a deletion sets grace 0 and the time anew."""
        await compute.backend.apply(make_request())
        compute.deliver()
        for deleted, grace in (("2027-01-15T08:00:30Z", 30), ("2027-01-15T08:00:20Z", 0)):

            def change(body: Body, at: str = deleted, seconds: int = grace) -> None:
                body["metadata"].update(deletionTimestamp=at, finalizers=["x"])
                body["metadata"]["deletionGracePeriodSeconds"] = seconds

            compute.client.edit(PODS, ObjectKey(BELOW, "job-0"), change)
            compute.deliver()
            assert observed(compute).removal_requested == "2027-01-15T08:00:00Z"


class TestConfirmGone:
    async def test_a_copy_that_is_there_is_not(self, compute: Compute) -> None:
        compute.client.put(PODS, make_compute_pod())
        assert not await compute.backend.confirm_gone(KEY, UID_1)

    async def test_a_name_that_is_free_or_another_s_is(self, compute: Compute) -> None:
        assert await compute.backend.confirm_gone(KEY, UID_1)
        compute.client.put(PODS, make_compute_pod(make_pod(uid=UID_2)))
        assert await compute.backend.confirm_gone(KEY, UID_1)

    async def test_a_copy_that_lost_its_marks_is_not(self, compute: Compute) -> None:
        await compute.backend.apply(make_request())

        def unmark(body: Body) -> None:
            body["metadata"]["labels"] = {}

        compute.client.edit(PODS, ObjectKey(BELOW, "job-0"), unmark)
        body = compute.pod()
        compute.backend.pods.remove(ObjectKey(BELOW, "job-0"))
        assert observed(compute).gone
        assert body["metadata"]["uid"] == observed(compute).handle
        assert not await compute.backend.confirm_gone(KEY, UID_1)

    async def test_silence_confirms_nothing(self, compute: Compute) -> None:
        compute.client.fail(Unreachable("cut"), "get pods")
        with pytest.raises(Waiting):
            await compute.backend.confirm_gone(KEY, UID_1)


class TestWatching:
    async def test_listeners_hear_of_copies_by_their_tenant_names(self, compute: Compute) -> None:
        heard: list[ObjectKey] = []
        compute.backend.subscribe(heard.append)
        compute.client.put(PODS, make_compute_pod())
        compute.deliver()
        compute.client.drop(PODS, ObjectKey(BELOW, "job-0"))
        compute.deliver()
        assert heard == [KEY, KEY]

    async def test_listeners_hear_of_places_that_open(self) -> None:
        compute, heard = Compute(), list[str]()
        compute.backend.subscribe_places(heard.append)
        await compute.open("team-a")
        assert heard == ["team-a"]

    async def test_pods_that_imitate_our_label_are_nobody_s(self, compute: Compute) -> None:
        heard: list[ObjectKey] = []
        compute.backend.subscribe(heard.append)
        compute.client.put(PODS, make_compute_pod(owner=OTHER_CLUSTER))
        compute.deliver()
        assert heard == []
        assert compute.backend.observed(KEY) is None

    async def test_nothing_is_complete_before_all_was_listed(self) -> None:
        compute = Compute()
        assert compute.backend.sight("team-a") is Sight.BARRED
        compute.backend.namespaces.add("team-a")
        assert compute.backend.sight("team-a") is Sight.UNKNOWN
        await compute.open()
        assert compute.backend.sight("team-a") is Sight.COMPLETE
        assert compute.backend.sight("another") is Sight.BARRED

    async def test_of_namespaces_that_are_never_forwarded_there_is_nothing_to_see(self) -> None:
        compute = Compute(forwards=lambda namespace: namespace != "kube-system")
        assert compute.backend.sight("kube-system") is Sight.NOWHERE
        assert compute.backend.sight("team-a") is Sight.BARRED  # its watch has not told of it
        # Something of ours that was found below all the same is seen through.
        compute.backend.namespaces.revisit("kube-system")
        assert compute.backend.sight("kube-system") is Sight.UNKNOWN

    async def test_memory_of_copies_goes_with_them(self, compute: Compute) -> None:
        for number in range(20):
            pod = make_pod(f"job-{number}")
            copy = await compute.backend.apply(make_request(pod))
            compute.client.drop(PODS, ObjectKey(BELOW, copy.key.name))
            compute.deliver()
            gone = compute.backend.observed(copy.key)
            assert gone is not None
            compute.backend.forget(gone)
        assert not compute.backend._copies._read
        assert not compute.backend._copies._gone


class TestEvents:
    @staticmethod
    def event(uid: str, **fields: object) -> dict[str, object]:
        return {
            "metadata": {"name": "e", "namespace": BELOW},
            "involvedObject": {"kind": "Pod", "namespace": BELOW, "name": "job-0", "uid": uid},
            "reason": "FailedMount",
            "message": "volume in red--team-a is missing",
            "type": "Warning",
            **fields,
        }

    @pytest.fixture
    async def said(self, compute: Compute) -> list[PodEvent]:
        said: list[PodEvent] = []
        compute.backend.subscribe_events(said.append)
        await compute.backend.apply(make_request())
        return said

    async def test_they_are_told_with_tenant_names(
        self, compute: Compute, said: list[PodEvent]
    ) -> None:
        compute.client.put(EVENTS, self.event(observed(compute).handle))
        compute.deliver()
        (event,) = said
        assert (event.key, event.uid, event.node) == (KEY, UID_1, NODE)
        assert (event.type, event.reason) == ("Warning", "FailedMount")
        assert event.message == "volume in team-a is missing"
        assert not event.by_kubelet

    async def test_those_of_kubelets_are_known_as_such(
        self, compute: Compute, said: list[PodEvent]
    ) -> None:
        body = {**self.event(observed(compute).handle), "source": {"component": "kubelet"}}
        compute.client.put(EVENTS, body)
        compute.deliver()
        assert [event.by_kubelet for event in said] == [True]

    async def test_those_of_an_older_pod_of_that_name_are_not(
        self, compute: Compute, said: list[PodEvent]
    ) -> None:
        compute.client.put(EVENTS, self.event("somebody-else"))
        compute.deliver()
        assert said == []

    async def test_those_of_yesterday_are_not(self, compute: Compute, said: list[PodEvent]) -> None:
        compute.client.put(EVENTS, self.event(observed(compute).handle))
        compute.deliver(initial=True)
        assert said == []

    async def test_where_it_was_scheduled_is_not(
        self, compute: Compute, said: list[PodEvent]
    ) -> None:
        compute.client.put(EVENTS, self.event(observed(compute).handle, reason="Scheduled"))
        compute.deliver()
        assert said == []


class TestObjects:
    async def test_an_object_is_held_in_the_version_that_it_was_made_from(
        self, compute: Compute
    ) -> None:
        body = make_config_map(version=4)
        assert compute.backend.held_version(SETTINGS) is None
        await compute.backend.put_object(SETTINGS, body)
        assert compute.backend.held_version(SETTINGS) == f"{body.metadata.uid}/4"

    async def test_listeners_hear_of_objects_by_their_tenant_names(self, compute: Compute) -> None:
        heard: list[ObjectRef] = []
        compute.backend.subscribe_objects(heard.append)
        await compute.backend.put_object(SETTINGS, make_config_map())
        compute.client.drop(CONFIG_MAPS, ObjectKey(BELOW, "settings"))
        compute.deliver()
        assert set(heard) == {SETTINGS}
        assert compute.backend.held_version(SETTINGS) is None

    async def test_a_dropped_object_is_gone(self, compute: Compute) -> None:
        await compute.backend.put_object(LOGIN, make_secret())
        await compute.backend.drop_object(LOGIN)
        assert compute.client.get_body(SECRETS, ObjectKey(BELOW, "login")) is None

    async def test_objects_of_another_cluster_of_this_name_are_not_ours(
        self, compute: Compute
    ) -> None:
        labels, annotations = OTHER_CLUSTER.marks(namespace="team-a", name="settings", uid="x")
        theirs = compute.client.put(
            CONFIG_MAPS,
            {
                "metadata": {
                    "name": "settings",
                    "namespace": BELOW,
                    "labels": labels,
                    "annotations": {**annotations, "vnode.dev/source-version": "x/1"},
                },
                "data": {"theirs": "1"},
            },
        )
        compute.deliver()
        assert compute.backend.held_version(SETTINGS) is None
        with pytest.raises(NameConflict):
            await compute.backend.put_object(SETTINGS, make_config_map())
        await compute.backend.drop_object(SETTINGS)
        assert compute.client.get_body(CONFIG_MAPS, ObjectKey(BELOW, "settings")) == theirs


class TestTokens:
    NAME = ObjectKey(BELOW, token_secret_name(UID_1))

    async def test_they_lie_in_a_secret_that_goes_with_the_copy(self, compute: Compute) -> None:
        copy = await compute.backend.apply(make_request())
        await compute.backend.put_tokens(copy, TOKENS)
        made = compute.client.get_body(SECRETS, self.NAME)
        assert made is not None
        (holder,) = made["metadata"]["ownerReferences"]
        assert (holder["kind"], holder["uid"]) == ("Pod", copy.handle)
        assert observed(compute).tokens_refresh_at == 1_800_002_880

    async def test_they_are_renewed_in_place(self, compute: Compute) -> None:
        copy = await compute.backend.apply(make_request())
        await compute.backend.put_tokens(copy, TOKENS)
        later = {TokenKey("", 3600): Token("newer", refresh_at=1_800_009_000.0)}
        await compute.backend.put_tokens(copy, later)
        assert observed(compute).tokens_refresh_at == 1_800_009_000

    @pytest.mark.parametrize("mark", ["soon", "", "nan", "inf", "1e999"])
    async def test_a_spoilt_time_means_now(self, compute: Compute, mark: str) -> None:
        copy = await compute.backend.apply(make_request())
        await compute.backend.put_tokens(copy, TOKENS)

        def spoil(body: Body) -> None:
            body["metadata"]["annotations"][ANNOTATION_TOKENS_REFRESH] = mark

        compute.client.edit(SECRETS, self.NAME, spoil)
        compute.deliver()
        assert observed(compute).tokens_refresh_at is None

    async def test_tokens_that_somebody_removed_are_noticed(self, compute: Compute) -> None:
        copy = await compute.backend.apply(make_request())
        await compute.backend.put_tokens(copy, TOKENS)
        compute.deliver()
        heard: list[ObjectKey] = []
        compute.backend.subscribe(heard.append)
        compute.client.drop(SECRETS, self.NAME)
        compute.deliver()
        assert heard == [KEY]
        assert observed(compute).tokens_refresh_at is None

    async def test_a_secret_of_that_name_of_somebody_else_says_nothing(
        self, compute: Compute
    ) -> None:
        await compute.backend.apply(make_request())
        labels, annotations = OTHER_CLUSTER.marks(namespace="team-a", name="job-0", uid=UID_1)
        annotations[ANNOTATION_TOKENS_REFRESH] = "9999999999"
        metadata = {"name": self.NAME.name, "namespace": BELOW}
        compute.client.put(
            SECRETS, {"metadata": {**metadata, "labels": labels, "annotations": annotations}}
        )
        compute.deliver()
        assert observed(compute).tokens_refresh_at is None


class TestAdmission:
    async def test_a_pod_that_may_run_is_admitted_without_a_call(self, compute: Compute) -> None:
        compute.backend.admit(make_request())
        assert not compute.client.calls

    async def test_our_own_policy_refuses_before_anything_else(self, compute: Compute) -> None:
        with pytest.raises(Rejected, match="hostNetwork"):
            compute.backend.admit(make_request(make_pod(hostNetwork=True)))

    async def test_a_volume_that_cannot_be_had_is_waited_for(self, compute: Compute) -> None:
        volumes = [{"name": "v", "csi": {"driver": "d"}}]
        with pytest.raises(Waiting) as waiting:
            compute.backend.admit(make_request(make_pod(volumes=volumes)))
        assert waiting.value.reason == "VolumeNotSupported"

    async def test_what_an_update_would_hold_back_is_told_without_a_call(
        self, compute: Compute
    ) -> None:
        copy = await compute.backend.apply(make_request())
        compute.client.calls.clear()
        privileged = {"name": "bad", "image": "i", "securityContext": {"privileged": True}}
        wanted = make_pod(ephemeralContainers=[privileged, {"name": "good", "image": "i"}])
        (held,) = compute.backend.refused(make_request(wanted), copy)
        assert (held.part, held.container) == (UpdatePart.EPHEMERAL_CONTAINER, "bad")
        assert not compute.client.calls


async def test_policies_are_those_of_the_node_s_pool() -> None:
    compute = Compute(policy=TranslationPolicy(node_selector={"pool": "a"}))
    await compute.open()
    await compute.backend.apply(make_request())
    assert compute.pod()["spec"]["nodeSelector"] == {"pool": "a"}


async def test_two_pods_of_one_name_race_for_one_copy(compute: Compute) -> None:
    results = await asyncio.gather(
        compute.backend.apply(make_request()),
        compute.backend.apply(make_request(make_pod(uid=UID_2))),
        return_exceptions=True,
    )
    assert sum(isinstance(result, ObservedPod) for result in results) == 1
    assert sum(isinstance(result, Waiting) for result in results) == 1
