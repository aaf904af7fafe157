"""An update is sent part by part, and a refused part holds no other up."""

import asyncio
import contextlib
from dataclasses import dataclass, replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from federation.backends.kubernetes.translate.names import ANNOTATION_DIGEST
from tests.builders import (
    make_compute_pod,
    make_error,
    make_key,
    make_pod,
    make_request,
)
from tests.fakes.client import Body
from tests.unit.federation.compute import BELOW, Compute
from vnode.backend import (
    HeldBack,
    LogOptions,
    ObservedPod,
    Rejected,
    StreamError,
    StreamRequest,
    StreamVerb,
    Updated,
    UpdatePart,
    Waiting,
)
from vnode.kube.errors import Conflict, Forbidden, Invalid, KubeError, Unreachable
from vnode.kube.resources import PODS
from vnode.kube.types import ObjectKey, Pod

pytestmark = pytest.mark.looptime

KEY = make_key()
THERE = ObjectKey(BELOW, "job-0")
QUOTA = make_error(403, 'pods "job-0" is forbidden: exceeded quota: vnode, requested: cpu=3')
INVALID = make_error(422, "Pod is invalid: no", fields=["spec"])


@pytest.fixture
async def compute() -> Compute:
    compute = Compute()
    await compute.open()
    await compute.backend.apply(make_request(pod()))
    compute.deliver()
    compute.client.calls.clear()
    return compute


def pod(
    *,
    image: str = "i:1",
    cpu: str = "1",
    debuggers: tuple[str, ...] = (),
    generation: int = 1,
    **metadata: Any,
) -> Pod:
    """A tenant pod with two containers."""
    resources = {"requests": {"cpu": cpu}}
    return make_pod(
        containers=[
            {"name": "main", "image": image, "resources": resources},
            {"name": "aux", "image": image},
        ],
        ephemeral_containers=debuggers,
        generation=generation,
        **metadata,
    )


def copy_of(compute: Compute) -> ObservedPod:
    copy = compute.backend.observed(KEY)
    assert copy is not None
    return copy


async def update(compute: Compute, wanted: Pod) -> Updated:
    return await compute.backend.update(make_request(wanted), copy_of(compute))


def annotations(compute: Compute) -> Any:
    return compute.pod()["metadata"]["annotations"]


def images(compute: Compute) -> list[str]:
    return [container["image"] for container in compute.pod()["spec"]["containers"]]


class TestWhatGoesWell:
    async def test_labels_images_and_deadline_are_one_patch_of_exactly_this_copy(
        self, compute: Compute
    ) -> None:
        wanted = pod(image="i:2", labels={"a": "1"}, generation=2, activeDeadlineSeconds=60)
        result = await update(compute, wanted)
        (patch,) = compute.client.calls
        assert patch.name == "patch pods"
        assert patch.body["metadata"]["uid"] == result.copy.handle
        assert compute.pod()["metadata"]["labels"]["a"] == "1"
        assert images(compute) == ["i:2", "i:2"]
        assert compute.pod()["spec"]["activeDeadlineSeconds"] == 60
        assert result.copy.digest == make_request(wanted).digest
        assert result.copy.generation == 2
        assert not result.held_back

    async def test_a_resize_goes_by_its_subresource_with_the_copy_s_uid(
        self, compute: Compute
    ) -> None:
        wanted = pod(cpu="2", generation=2)
        result = await update(compute, wanted)
        (resize,) = compute.client.named("patch pods/resize")
        assert resize.body["metadata"] == {"uid": result.copy.handle}
        assert compute.pod()["spec"]["containers"][0]["resources"]["requests"] == {"cpu": "2"}
        assert (result.copy.digest, result.copy.generation) == (make_request(wanted).digest, 2)

    async def test_ephemeral_containers_go_by_theirs_at_once(self, compute: Compute) -> None:
        await update(compute, pod(debuggers=("debug-a", "debug-b"), generation=2))
        (added,) = compute.client.named("patch pods/ephemeralcontainers")
        assert added.body["metadata"] == {"uid": copy_of(compute).handle}
        names = [c["name"] for c in compute.pod()["spec"]["ephemeralContainers"]]
        assert names == ["debug-a", "debug-b"]

    async def test_a_second_time_nothing_is_sent(self, compute: Compute) -> None:
        wanted = pod(image="i:2", cpu="2", debuggers=("debug",), generation=2)
        await update(compute, wanted)
        compute.client.calls.clear()
        await update(compute, wanted)
        assert not compute.client.calls

    async def test_a_change_that_is_taken_back_counts_as_a_generation(
        self, compute: Compute
    ) -> None:
        result = await update(compute, pod(generation=3))
        assert result.copy.generation == 3
        assert len(compute.client.calls) == 1

    async def test_a_copy_never_claims_a_change_that_is_on_its_way(self, compute: Compute) -> None:
        """Whatever is interrupted, the next one sees that something is missing."""
        claims: list[str] = []
        compute.client.on_change.append(
            lambda _, body, __: claims.append(body["metadata"]["annotations"][ANNOTATION_DIGEST])
        )
        wanted = pod(cpu="2", debuggers=("debug",), generation=2)
        await update(compute, wanted)
        assert claims == ["", "", "", make_request(wanted).digest]


def refusing(compute: Compute, refused: str, error: KubeError = INVALID) -> None:
    """Let the API server refuse every pod patch that contains a text."""
    patch = compute.client.patch

    async def judged(*args: Any, **options: Any) -> Any:
        if refused in str(args[1]):
            raise error
        return await patch(*args, **options)

    compute.client.patch = judged  # type: ignore[method-assign]


class TestWhatIsRefused:
    @pytest.mark.parametrize(
        ("error", "reason", "permanent"),
        [(INVALID, "UpdateRejected", True), (QUOTA, "QuotaExceeded", False)],
    )
    async def test_a_refused_resize_holds_no_label_up(
        self, compute: Compute, error: KubeError, reason: str, permanent: bool
    ) -> None:
        compute.client.fail(error, "patch pods/resize")
        result = await update(compute, pod(cpu="4", labels={"a": "1"}, generation=2))
        (held,) = result.held_back
        assert (held.part, held.reason) == (UpdatePart.RESIZE, reason)
        assert held.permanent is permanent
        assert compute.pod()["metadata"]["labels"]["a"] == "1"
        assert result.copy.digest == ""
        assert result.copy.generation == 2

    async def test_a_node_that_is_too_small_makes_a_resize_infeasible(
        self, compute: Compute
    ) -> None:
        text = 'pods "job-0" is forbidden: node didn\'t have enough allocatable resources: cpu'
        compute.client.fail(make_error(403, text, causes=["NodeCapacity"]), "patch pods/resize")
        (held,) = (await update(compute, pod(cpu="400", generation=2))).held_back
        assert held.permanent

    async def test_a_cluster_that_knows_no_resize_is_said_to_be_too_old(
        self, compute: Compute
    ) -> None:
        compute.client.fail(make_error(404, "the server could not find it"), "patch pods/resize")
        (held,) = (await update(compute, pod(cpu="4", generation=2))).held_back
        assert held.permanent
        assert "too old" in held.message

    async def test_one_refused_image_holds_the_others_up_no_more_than_labels(
        self, compute: Compute
    ) -> None:
        refusing(compute, "bad", QUOTA)
        wanted = make_pod(
            containers=[{"name": "main", "image": "bad"}, {"name": "aux", "image": "i:2"}],
            labels={"a": "1"},
            generation=2,
        )
        result = await update(compute, wanted)
        assert images(compute) == ["i:1", "i:2"]
        assert compute.pod()["metadata"]["labels"]["a"] == "1"
        assert [held.container for held in result.held_back] == ["main"]

    async def test_one_refused_ephemeral_container_holds_no_other_up(
        self, compute: Compute
    ) -> None:
        refusing(compute, "registry.example/bad")
        result = await update(compute, pod(debuggers=("bad", "good"), generation=2))
        assert [c["name"] for c in compute.pod()["spec"]["ephemeralContainers"]] == ["good"]
        (held,) = result.held_back
        assert (held.part, held.container) == (UpdatePart.EPHEMERAL_CONTAINER, "bad")

    async def test_what_is_held_back_is_tried_with_one_call(self, compute: Compute) -> None:
        compute.client.fail(QUOTA, "patch pods/resize", times=2)
        wanted = pod(cpu="4", image="i:2", labels={"a": "1"}, generation=2)
        await update(compute, wanted)
        compute.client.calls.clear()
        await update(compute, wanted)
        assert compute.client.names() == ["patch pods/resize"]

    async def test_what_went_well_in_the_end_is_claimed(self, compute: Compute) -> None:
        compute.client.fail(QUOTA, "patch pods/resize")
        wanted = pod(cpu="4", generation=2)
        await update(compute, wanted)
        result = await update(compute, wanted)
        assert not result.held_back
        assert result.copy.digest == make_request(wanted).digest

    async def test_a_held_back_change_that_is_taken_back_is_as_if_it_had_not_been(
        self, compute: Compute
    ) -> None:
        compute.client.fail(QUOTA, "patch pods/resize")
        await update(compute, pod(cpu="4", labels={"a": "1"}, generation=2))
        result = await update(compute, pod(generation=3))
        assert compute.pod()["spec"]["containers"][0]["resources"]["requests"] == {"cpu": "1"}
        assert "a" not in compute.pod()["metadata"]["labels"]
        assert result.copy.digest == make_request(pod()).digest

    async def test_what_is_refused_for_good_and_taken_back_is_not_sent_again(
        self, compute: Compute
    ) -> None:
        missing = make_error(404, "the server could not find it")
        compute.client.fail(missing, "patch pods/resize", times=9)
        await update(compute, pod(cpu="4", generation=2))
        result = await update(compute, pod(generation=3))
        assert len(compute.client.named("patch pods/resize")) == 1
        assert not result.held_back
        assert result.copy.digest == make_request(pod()).digest

    async def test_our_own_refusal_holds_nothing_else_up(self, compute: Compute) -> None:
        privileged = {"name": "debug", "image": "i", "securityContext": {"privileged": True}}
        wanted = make_pod(
            containers=[{"name": "main", "image": "i:2"}, {"name": "aux", "image": "i:1"}],
            ephemeralContainers=[privileged],
            generation=2,
        )
        result = await update(compute, wanted)
        assert images(compute) == ["i:2", "i:1"]
        assert result.held_back == (
            HeldBack(
                UpdatePart.EPHEMERAL_CONTAINER,
                "UpdateRejected",
                "spec.ephemeralContainers[0].securityContext.privileged: "
                "a privileged container is not allowed by this virtual node's policy",
                permanent=True,
                container="debug",
            ),
        )
        assert not compute.client.named("patch pods/ephemeralcontainers")

    async def test_texts_hold_no_names_of_the_compute_side(self, compute: Compute) -> None:
        text = f'pods "job-0" in namespace "{BELOW}": User "sa:x" cannot patch'
        compute.client.fail(make_error(403, text), "patch pods/resize")
        (held,) = (await update(compute, pod(cpu="4", generation=2))).held_back
        assert BELOW not in held.message
        assert "sa:x" not in held.message


class TestWhatCannotBeSaid:
    @pytest.mark.parametrize(
        "error", [Unreachable("cut"), make_error(429, "busy"), make_error(409, "changed")]
    )
    async def test_a_server_that_is_away_or_busy_ends_the_whole(
        self, compute: Compute, error: KubeError
    ) -> None:
        compute.client.fail(error, "patch pods/resize")
        with pytest.raises(Waiting):
            await update(compute, pod(cpu="4", debuggers=("debug",), generation=2))
        assert not compute.client.named("patch pods/ephemeralcontainers")
        assert annotations(compute)["vnode.dev/generation"] == "1"

    async def test_another_object_of_that_name_is_never_touched(self, compute: Compute) -> None:
        old = copy_of(compute)
        compute.client.drop(PODS, THERE)
        theirs = compute.client.put(
            PODS, {"metadata": {"name": "job-0", "namespace": BELOW}, "spec": {}}
        )
        with pytest.raises(Waiting):
            await compute.backend.update(make_request(pod(cpu="4", generation=2)), old)
        assert compute.pod() == theirs

    async def test_a_copy_that_is_gone_is_not_told_as_a_missing_namespace(
        self, compute: Compute
    ) -> None:
        compute.client.drop(PODS, THERE)
        with pytest.raises(Waiting) as caught:
            await update(compute, pod(image="i:2", generation=2))
        assert caught.value.reason == "ComputeConflict"

    async def test_a_successor_of_the_copy_is_not_updated_in_its_place(
        self, compute: Compute
    ) -> None:
        with pytest.raises(Waiting):
            await compute.backend.update(
                make_request(pod(image="i:2")), replace(copy_of(compute), handle="another")
            )
        assert not compute.client.calls

    async def test_marks_that_are_refused_are_an_error(self, compute: Compute) -> None:
        compute.client.fail(INVALID, "patch pods", times=9)
        with pytest.raises(Rejected):
            await update(compute, pod(generation=2))


def rewriting(compute: Compute) -> None:
    """A webhook below takes images of ephemeral containers from a mirror."""

    def rewrite(body: Any) -> None:
        for container in body["spec"].get("ephemeralContainers", []):
            container["image"] = "mirror/" + container["image"].removeprefix("mirror/")

    patch = compute.client.patch

    async def admitted(*args: Any, **options: Any) -> Any:
        made = await patch(*args, **options)
        if options.get("subresource") != "ephemeralcontainers":
            return made
        compute.client.edit(PODS, THERE, rewrite)
        return await compute.client.get(PODS, Pod, name=THERE.name, namespace=THERE.namespace)

    compute.client.patch = admitted  # type: ignore[method-assign]


class TestInterruptions:
    @pytest.mark.parametrize("lost", ["the marks", "the answer", "the server"])
    async def test_a_rewritten_debug_container_is_known_as_ours_after_an_interruption(
        self, compute: Compute, lost: str
    ) -> None:
        rewriting(compute)
        patch = compute.client.patch
        added: list[str] = []

        async def interrupted(*args: Any, **options: Any) -> Any:
            if lost == "the marks" and added:
                raise make_error(429, "busy")
            made = await patch(*args, **options)
            if options.get("subresource") == "ephemeralcontainers":
                added.append("debug")
                if lost == "the answer":
                    raise Unreachable("cut")
                if lost == "the server":
                    raise make_error(504, "etcd")
            return made

        compute.client.patch = interrupted  # type: ignore[method-assign]
        wanted = pod(debuggers=("debug",), generation=2)
        with pytest.raises(Waiting) if lost != "the server" else contextlib.nullcontext():
            await update(compute, wanted)
        compute.client.patch = patch  # type: ignore[method-assign]
        compute.deliver()
        result = await update(compute, wanted)
        assert not result.held_back
        assert result.copy.digest == make_request(wanted).digest
        compute.backend.logs(result.copy, LogOptions("debug"))  # it is not refused

    async def test_what_may_have_been_carried_out_is_looked_at_before_anything_else_is_claimed(
        self, compute: Compute
    ) -> None:
        patch = compute.client.patch

        async def cut(*args: Any, **options: Any) -> Any:
            await patch(*args, **options)
            raise Unreachable("cut")

        compute.client.patch = cut  # type: ignore[method-assign]
        with pytest.raises(Waiting):
            await update(compute, pod(image="i:2", generation=2))
        compute.client.patch = patch  # type: ignore[method-assign]
        # The watch is behind, and the image is taken back.
        wanted = pod(labels={"a": "1"}, generation=3)
        result = await update(compute, wanted)
        assert images(compute) == ["i:1", "i:1"]
        assert result.copy.digest == make_request(wanted).digest

    async def test_what_was_refused_is_not_ours_when_somebody_adds_it_later(
        self, compute: Compute
    ) -> None:
        compute.client.fail(INVALID, "patch pods/ephemeralcontainers")
        wanted = pod(debuggers=("debug",), generation=2)
        await update(compute, wanted)
        theirs = {"name": "debug", "image": "admins/tools:1"}
        compute.client.edit(PODS, THERE, lambda b: b["spec"].update(ephemeralContainers=[theirs]))
        compute.deliver()
        result = await update(compute, wanted)
        assert [held.container for held in result.held_back] == ["debug"]
        with pytest.raises(StreamError):
            compute.backend.logs(result.copy, LogOptions("debug"))


class TestContainersOfOthers:
    """Tenants do not get into what administrators run in a copy, whatever they call their own."""

    @pytest.fixture
    async def taken(self, compute: Compute) -> Compute:
        theirs = {"name": "debug", "image": "admins/tools:1"}
        compute.client.edit(PODS, THERE, lambda b: b["spec"].update(ephemeralContainers=[theirs]))
        compute.deliver()
        return compute

    async def test_a_container_of_that_name_is_left_alone(self, taken: Compute) -> None:
        result = await update(taken, pod(debuggers=("debug",), generation=2))
        assert [held.container for held in result.held_back] == ["debug"]
        assert not taken.client.named("patch pods/ephemeralcontainers")

    async def test_its_streams_and_logs_are_not_the_tenant_s(self, taken: Compute) -> None:
        copy = copy_of(taken)
        with pytest.raises(StreamError) as refused:
            taken.backend.logs(copy, LogOptions("debug"))
        assert refused.value.code == 404
        request = StreamRequest(verb=StreamVerb.EXEC, method="GET", container="debug")
        with pytest.raises(StreamError):
            await taken.backend.upgrade(copy, request)

    @pytest.mark.parametrize("now", ["another", "nothing"])
    async def test_a_copy_that_was_replaced_is_not_asked_for_by_its_name(
        self, compute: Compute, now: str
    ) -> None:
        copy = copy_of(compute)
        compute.client.drop(PODS, THERE)
        if now == "another":
            compute.client.put(PODS, make_compute_pod(pod()))
        compute.deliver()
        compute.client.calls.clear()
        with pytest.raises(StreamError) as refused:
            compute.backend.logs(copy, LogOptions("main"))
        assert refused.value.code == 404
        request = StreamRequest(verb=StreamVerb.EXEC, method="GET", container="main")
        with pytest.raises(StreamError):
            await compute.backend.upgrade(copy, request)
        assert not compute.client.calls


# --- whatever is refused or interrupted, a copy is what it claims to be ---------------------------


@dataclass(frozen=True)
class Wish:
    """What a tenant pod may ask for anew."""

    image: str
    cpu: str
    labels: frozenset[str]
    debuggers: frozenset[str]

    def pod(self, generation: int) -> Pod:
        return pod(
            image=self.image,
            cpu=self.cpu,
            labels=dict.fromkeys(sorted(self.labels), "1"),
            debuggers=tuple(sorted(self.debuggers)),
            generation=generation,
        )

    def is_met_by(self, below: Any) -> bool:
        spec = below["spec"]
        (main, aux) = spec["containers"]
        added = {c["name"] for c in spec.get("ephemeralContainers", [])}
        return (
            main["image"] == aux["image"] == self.image
            and main["resources"]["requests"] == {"cpu": self.cpu}
            and {"a", "b"} & below["metadata"]["labels"].keys() == self.labels
            and added >= self.debuggers
        )


names = st.sampled_from(["a", "b"])
wishes = st.builds(
    Wish,
    image=st.sampled_from(["i:1", "i:2"]),
    cpu=st.sampled_from(["1", "2"]),
    labels=st.frozensets(names),
    debuggers=st.frozensets(st.sampled_from(["x", "y"])),
)
ERRORS = (None, None, INVALID, QUOTA, make_error(500, "broken"), make_error(409, "changed"))
outcomes = st.tuples(st.sampled_from([*ERRORS, Unreachable("cut")]), st.booleans())


Outcome = tuple[KubeError | None, bool]
Step = tuple[Wish, list[Outcome], bool]
"""What is wished, what becomes of the patches, and whether the watch tells of it in time."""


class Lottery:
    """An API server that answers patches as drawn: well, with an error, or with one afterwards."""

    def __init__(self, compute: Compute) -> None:
        self.drawn: list[Outcome] = []
        self._patch = compute.client.patch
        compute.client.patch = self.patch  # type: ignore[method-assign]

    async def patch(self, *args: Any, **options: Any) -> Any:
        error, after = self.drawn.pop() if self.drawn else (None, False)
        carried_out = after and not isinstance(error, Invalid | Forbidden | Conflict)
        answer = await self._patch(*args, **options) if carried_out or error is None else None
        if error is not None:
            raise error
        return answer


async def history(steps: list[Step]) -> None:
    compute = Compute()
    await compute.open()
    await compute.backend.apply(make_request(pod()))
    compute.deliver()
    lottery = Lottery(compute)
    wished: dict[str, Wish] = {}

    def check(_plural: str, body: Body, _exists: bool) -> None:
        claim = wished.get(body["metadata"]["annotations"][ANNOTATION_DIGEST])
        assert claim is None or claim.is_met_by(body)

    compute.client.on_change.append(check)
    debuggers: frozenset[str] = frozenset()
    for generation, (wish, drawn, watched) in enumerate(steps, start=2):
        debuggers |= wish.debuggers  # they are never taken away again
        wanted = replace(wish, debuggers=debuggers).pod(generation)
        request = make_request(wanted)
        wished[request.digest] = replace(wish, debuggers=debuggers)
        lottery.drawn = list(drawn)
        with contextlib.suppress(Waiting, Rejected):
            await compute.backend.update(request, copy_of(compute))
        if watched:
            compute.deliver()
    compute.deliver()
    lottery.drawn = []
    result = await compute.backend.update(request, copy_of(compute))
    assert not result.held_back
    assert (result.copy.digest, result.copy.generation) == (request.digest, generation)
    assert wished[request.digest].is_met_by(compute.pod())


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(wishes, st.lists(outcomes, max_size=8), st.booleans()), min_size=1, max_size=5
    )
)
def test_a_copy_is_what_it_claims_to_be_and_becomes_what_is_asked_for(steps: list[Step]) -> None:
    asyncio.run(history(steps))
