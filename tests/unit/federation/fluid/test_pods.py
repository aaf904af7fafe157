"""Pods whose claims come through Fluid: asked for, looked at, and let start with their sidecar."""

from collections.abc import Iterable
from functools import partial
from typing import Any

import pytest

from federation.backends.kubernetes.translate.policy import FluidDialect
from federation.fluid.judged import Verdict
from tests.builders import NODE, make_error, make_pod, make_request
from tests.unit.federation.fluid.builders import BELOW, make_claim
from tests.unit.federation.fluid.world import CONFIG, CUT, MAIN, MOUNT, World, inject
from vnode.backend import Rejected, Waiting
from vnode.kube.resources import PERSISTENT_VOLUME_CLAIMS, PODS
from vnode.kube.types import ObjectKey, Pod

pytestmark = pytest.mark.looptime
MORE = {"name": "w", "persistentVolumeClaim": {"claimName": "more"}}


def mounting(name: str, volumes: Iterable[str]) -> dict[str, Any]:
    """A container."""
    mounts = [{"name": volume, "mountPath": f"/{volume}"} for volume in volumes]
    return {"name": name, "image": "x", "volumeMounts": mounts}


def make_two(mounted: Iterable[str], *volumes: Any, **spec: Any) -> Pod:
    """A pod with two prepared claims, whose container mounts some of its volumes."""
    return make_pod(
        volumes=[MOUNT, MORE, *volumes],
        nodeName=NODE,
        containers=[mounting("main", mounted)],
        **spec,
    )


async def have_two(world: World) -> None:
    """Claims `data` and `more`, both ready."""
    world.have(make_claim())
    world.want()
    await world.ready()
    more = make_claim("more", uid="c-2")
    world.claims.upsert(more)
    world.fluid._judge(more.metadata.key, Verdict(more.metadata.uid))


async def test_a_pod_is_made_gated_and_starts_when_its_sidecar_is_there(world: World) -> None:
    world.have(make_claim())
    pod = world.want()
    await world.ready()
    world.compute.client.webhook = inject
    copy = await world.compute.backend.apply(make_request(pod))
    assert copy.gated
    assert not copy.unfit
    assert not (await world.compute.backend.ungate(copy)).gated
    (volume,) = world.compute.pod()["spec"]["volumes"]
    assert "hostPath" in volume


async def test_a_pod_without_sidecar_is_taken_back_and_nobody_hears_of_it(world: World) -> None:
    world.have(make_claim())
    pod = world.want()
    await world.ready()
    told: list[ObjectKey] = []
    world.compute.backend.subscribe(told.append)
    with pytest.raises(Waiting, match="not started") as waiting:
        await world.compute.backend.apply(make_request(pod))
    assert (waiting.value.reason, waiting.value.not_done) == ("FluidSidecarMissing", True)
    assert len(world.compute.client.named("delete pods")) == 1
    world.compute.deliver()
    world.compute.client.drop(PODS, ObjectKey(BELOW, "job-0"))
    world.compute.deliver()
    assert told == []
    assert world.compute.backend.observed(pod.metadata.key) is None


async def test_one_that_a_crash_left_without_sidecar_is_seen_as_unfit(world: World) -> None:
    world.have(make_claim())
    pod = world.want()
    await world.ready()
    world.compute.client.fail(CUT, "delete pods")
    with pytest.raises(Waiting):
        await world.compute.backend.apply(make_request(pod))
    world.compute.deliver()
    copy = world.compute.backend.observed(pod.metadata.key)
    assert copy is not None
    assert copy.gated
    assert copy.unfit


@pytest.mark.parametrize("code", [400, 403, 422, 500])
async def test_a_webhook_that_refuses_is_no_reason_to_reject_the_pod(
    world: World, code: int
) -> None:
    world.have(make_claim())
    pod = world.want()
    await world.ready()
    text = f'admission webhook "sidecar.fuse.fluid.io" denied the request: {BELOW} not bound'
    world.compute.client.fail(make_error(code, text), "create pods")
    with pytest.raises(Waiting) as waiting:
        await world.compute.backend.apply(make_request(pod))
    assert waiting.value.reason == "FluidWebhookFailed"
    assert BELOW not in str(waiting.value)


async def test_a_container_with_the_sidecars_name_is_refused(world: World) -> None:
    world.have(make_claim())
    pod = world.want(
        make_pod(
            volumes=[MOUNT], nodeName=NODE, containers=[{"name": "fluid-fuse-0", "image": "x"}]
        )
    )
    await world.ready()
    with pytest.raises(Rejected, match="fluid-fuse-0"):
        await world.compute.backend.apply(make_request(pod))


async def test_a_pod_that_would_share_processes_with_the_sidecar_is_refused(world: World) -> None:
    world.have(make_claim())
    pod = world.want(make_pod(volumes=[MOUNT], nodeName=NODE, shareProcessNamespace=True))
    await world.ready()
    with pytest.raises(Rejected, match="shareProcessNamespace"):
        await world.compute.backend.apply(make_request(pod))


async def test_that_nothing_runs_as_root_is_said_of_the_pods_own_containers(world: World) -> None:
    """A kubelet would not start the sidecar in a pod that says it for all."""
    world.have(make_claim())
    mine = {"name": "mine", "image": "x", "securityContext": {"runAsNonRoot": False}}
    pod = world.want(
        make_pod(
            volumes=[MOUNT],
            nodeName=NODE,
            containers=[MAIN, mine],
            initContainers=[{"name": "first", "image": "x"}],
            securityContext={"runAsNonRoot": True, "runAsUser": 1000},
        )
    )
    await world.ready()
    world.compute.client.webhook = inject
    copy = await world.compute.backend.apply(make_request(pod))
    assert not copy.unfit
    spec = world.compute.pod()["spec"]
    assert spec["securityContext"] == {"runAsUser": 1000}
    said = {
        one["name"]: one.get("securityContext", {}).get("runAsNonRoot")
        for one in (*spec["containers"], *spec["initContainers"])
    }
    assert said == {"main": True, "mine": False, "first": True, "fluid-fuse-0": None}


async def test_a_pod_with_a_sidecar_for_one_of_two_claims_only_is_taken_back(world: World) -> None:
    await have_two(world)
    pod = make_two(("v", "w"))
    world.compute.client.webhook = partial(inject, claims=("data",))
    with pytest.raises(Waiting, match="not started"):
        await world.compute.backend.apply(make_request(pod))
    world.compute.deliver()
    world.compute.client.drop(PODS, ObjectKey(BELOW, "job-0"))
    world.compute.deliver()
    world.compute.client.webhook = partial(inject, claims=("data", "more"))
    assert not (await world.compute.backend.apply(make_request(pod))).unfit


async def test_a_sidecar_of_another_claim_does_not_count(world: World) -> None:
    await have_two(world)
    platforms = {"name": "x", "persistentVolumeClaim": {"claimName": "theirs"}}
    world.claims.upsert(make_claim("theirs", uid="c-3", profile=""))
    theirs = {"name": "theirs", "namespace": BELOW}
    world.compute.client.put(PERSISTENT_VOLUME_CLAIMS, {"metadata": theirs})
    pod = make_two(("v", "w", "x"), platforms)
    world.compute.client.webhook = partial(inject, claims=("data", "theirs"))
    with pytest.raises(Waiting, match="not started"):
        await world.compute.backend.apply(make_request(pod))


async def test_a_claim_that_no_container_mounts_needs_no_sidecar(world: World) -> None:
    await have_two(world)
    world.compute.client.webhook = partial(inject, claims=("data", "more"))
    copy = await world.compute.backend.apply(make_request(make_two(("v",))))
    assert not copy.unfit
    assert world.compute.pod()["metadata"]["annotations"]["vnode.dev/claims"] == "data"


async def test_a_claim_that_only_init_containers_mount_is_refused(world: World) -> None:
    await have_two(world)
    with pytest.raises(Rejected, match='only init containers mount claim "more"'):
        await world.compute.backend.apply(
            make_request(make_two(("v",), initContainers=[mounting("early", ("w",))]))
        )
    world.compute.client.webhook = partial(inject, claims=("data", "more"))
    both = make_two(("v", "w"), initContainers=[mounting("early", ("w",))])
    assert not (await world.compute.backend.apply(make_request(both))).unfit


async def test_a_claim_that_is_taken_for_reading_only_is_mounted_so(world: World) -> None:
    await have_two(world)
    read_only = {**MOUNT["persistentVolumeClaim"], "readOnly": True}
    pod = make_pod(
        volumes=[{"name": "v", "persistentVolumeClaim": read_only}, MORE],
        nodeName=NODE,
        containers=[mounting("main", ("v", "w"))],
        initContainers=[mounting("early", ("v",))],
    )
    world.compute.client.webhook = partial(inject, claims=("data", "more"))
    await world.compute.backend.apply(make_request(pod))
    (sent,) = world.compute.client.named("create pods")
    main, early = (sent.body["spec"][part][-1] for part in ("containers", "initContainers"))
    assert [m.get("readOnly", False) for m in main["volumeMounts"]] == [True, False]
    assert [m.get("readOnly", False) for m in early["volumeMounts"]] == [True]


@pytest.mark.parametrize(
    ("spec", "field"),
    [
        ({"hostAliases": [{"ip": "10.0.0.9", "hostnames": ["star-1"]}]}, "spec.hostAliases"),
        ({"dnsConfig": {"nameservers": ["10.0.0.9"]}}, "spec.dnsConfig.nameservers"),
        ({"dnsConfig": {"searches": ["evil.example"]}}, "spec.dnsConfig.searches"),
        ({"dnsConfig": {"searches": ["a.svc.evil.example"]}}, "spec.dnsConfig.searches"),
        ({"dnsPolicy": "None"}, "spec.dnsPolicy"),
        ({"hostnameOverride": "nas.example.com"}, "spec.hostnameOverride"),
    ],
)
async def test_a_pod_does_not_tell_its_sidecar_where_names_lead(
    world: World, spec: Any, field: str
) -> None:
    world.have(make_claim())
    pod = world.want(make_pod(volumes=[MOUNT], containers=[MAIN], nodeName=NODE, **spec))
    await world.ready()
    with pytest.raises(Rejected) as rejected:
        await world.compute.backend.apply(make_request(pod))
    assert rejected.value.field == field


async def test_a_pod_may_look_for_the_names_of_its_job(world: World) -> None:
    world.have(make_claim())
    search = {"searches": ["job.team-a.svc.cluster.local"]}  # As mpi-operator has it.
    pod = make_pod(volumes=[MOUNT], containers=[MAIN], nodeName=NODE, dnsConfig=search)
    world.want(pod)
    await world.ready()
    world.compute.client.webhook = inject
    await world.compute.backend.apply(make_request(pod))
    assert world.compute.pod()


async def test_a_pod_asks_for_a_mount_of_its_own_and_says_which_claims_it_has(
    world: World,
) -> None:
    world.have(make_claim())
    pod = world.want()
    await world.ready()
    world.compute.client.webhook = inject
    await world.compute.backend.apply(make_request(pod))
    metadata = world.compute.pod()["metadata"]
    assert metadata["labels"]["serverless.fluid.io/inject"] == "true"
    mode = "default.fuse-sidecar.fluid.io/host-mount-path-mode"
    assert metadata["annotations"][mode] == "random-suffix"
    assert metadata["annotations"]["vnode.dev/claims"] == "data"


async def test_where_pods_cannot_be_made_without_starting_none_is_made(world: World) -> None:
    world.have(make_claim())
    pod = world.want()
    await world.ready()
    world.compute.backend._reachability.start_gates = False
    with pytest.raises(Waiting) as waiting:
        await world.compute.backend.apply(make_request(pod))
    assert waiting.value.reason == "StartGatesMissing"
    assert world.compute.client.named("create pods") == []


async def test_with_ack_a_pod_asks_by_its_labels() -> None:
    world = World(CONFIG.model_copy(update={"dialect": FluidDialect.ACK}))
    await world.open()
    world.have(make_claim())
    pod = world.want()
    await world.settle()
    world.bind()
    await world.settle()
    with pytest.raises(Waiting, match="not started"):
        await world.compute.backend.apply(make_request(pod))
    (create,) = world.compute.client.named("create pods")
    assert create.body is not None
    labels = create.body["metadata"]["labels"]
    assert labels["alibabacloud.com/fluid-sidecar-target"] == "eci"
    assert labels["alibabacloud.com/eci"] == "true"


async def test_a_pod_without_such_claims_asks_for_nothing(world: World) -> None:
    pod = world.want(make_pod(nodeName=NODE))
    copy = await world.compute.backend.apply(make_request(pod))
    assert not copy.gated
    assert "serverless.fluid.io/inject" not in world.compute.pod()["metadata"]["labels"]
