"""What a tenant's user sees when a claim does not come through Fluid: acted out, and written down.

In: `STORIES`, each of which spoils one thing for a pod with a claim. Out: rows of a table, made
from what the backend says of the pod then; that becomes its reason, message and event. The table is
in docs/data.md; `python -m tests.unit.federation.fluid.what_users_see` writes it there anew.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

import looptime
import msgspec

from federation.claims.placeholder import placeholder, placeholder_name
from federation.fluid.objects import DATASETS
from tests.builders import NODE, OWNER, make_error, make_pod, make_request
from tests.seen import Table
from tests.unit.federation.fluid.builders import BELOW, make_claim, make_volume
from tests.unit.federation.fluid.world import DS, MAIN, MOUNT, World
from vnode.backend import Rejected, Waiting
from vnode.kube.types import ObjectKey

PAGE = Path(__file__).parents[4] / "docs" / "data.md"
TABLE = Table(PAGE, "## Claims through Fluid", head="| what happens | what the pod says |")
Story = Callable[[World], Awaitable[None]]


async def _nothing_labelled(world: World) -> None:
    world.have(make_claim(profile="other"))
    await world.settle()


async def _unbound(world: World) -> None:
    claim = make_claim()
    world.claims.upsert(
        msgspec.structs.replace(claim, spec=msgspec.structs.replace(claim.spec, volume_name=""))
    )
    await world.settle()


async def _deleted(world: World) -> None:
    world.have(make_claim(deletionTimestamp="2026-01-01T00:00:00Z"))
    await world.settle()


async def _no_claim(_: World) -> None:
    return


async def _not_prepared(world: World) -> None:
    claim = make_claim()
    name = placeholder_name(claim.metadata.uid)
    claim = msgspec.structs.replace(
        claim, spec=msgspec.structs.replace(claim.spec, volume_name=name)
    )
    world.have(claim, placeholder(claim, owner=OWNER))
    await world.settle()


def _volume(**csi: Any) -> Story:
    async def act(world: World) -> None:
        world.have(make_claim(), make_volume(csi=csi))
        await world.settle()

    return act


async def _copied(world: World) -> None:
    world.have(make_claim())
    await world.settle()


async def _other_volume(world: World) -> None:
    await _copied(world)
    world.bind("kept-for-data")
    try:
        await world.settle()
    except Waiting:
        return


async def _never_bound(world: World) -> None:
    await _copied(world)
    world.bind()
    await world.settle()
    said = {"type": "Ready", "message": f"no runtime for {BELOW}/{DS}"}
    world.compute.client.edit(
        DATASETS,
        ObjectKey(BELOW, DS),
        lambda body: body.update(status={"phase": "NotBound", "conditions": [said]}),
    )
    await world.settle()


async def _unserved(world: World) -> None:
    await _copied(world)
    world.bind()
    await world.settle()
    world.compute.client.edit(
        DATASETS, ObjectKey(BELOW, DS), lambda body: body.update(status={"phase": "Bound"})
    )
    await world.settle()


async def _no_fluid(world: World) -> None:
    await _copied(world)
    world.bind()
    world.compute.client.fail(make_error(404, "404 page not found"), "create datasets")
    try:
        await world.settle()
    except Waiting:
        return


async def _fails_open(world: World) -> None:
    world.have(make_claim())
    await world.ready()


def _webhook(code: int, text: str) -> Story:
    async def act(world: World) -> None:
        await _fails_open(world)
        world.compute.client.fail(make_error(code, text), "create pods")

    return act


async def _old_cluster(world: World) -> None:
    await _fails_open(world)
    world.compute.backend._reachability.start_gates = False


_HOOK = 'admission webhook "sidecar.fuse.fluid.io"'
STORIES: Mapping[str, Story] = {
    "there is no such claim": _no_claim,
    "the claim is being deleted": _deleted,
    "the claim is not bound in the tenant": _unbound,
    "its label names a profile that is not offered": _nothing_labelled,
    "its volume is of a driver that is not allowed": _volume(driver="other.example.com"),
    "its volume is another tenant's": _volume(volumeHandle="team-b/x"),
    "its volume has an attribute that nobody allowed": _volume(volumeAttributes={"root": "/"}),
    "its volume names a Secret of another namespace": _volume(
        nodePublishSecretRef={"name": "key", "namespace": "kube-system"}
    ),
    "the Secret of its volume does not exist": _volume(
        nodePublishSecretRef={"name": "key", "namespace": "team-a"}
    ),
    "its data lies below, and the platform has not made the claim there": _not_prepared,
    "claim and volume have just been copied": _copied,
    "the platform keeps a volume of its own for a claim of that name": _other_volume,
    "Fluid's Dataset never becomes Bound": _never_bound,
    "the Dataset is Bound, and Fluid has not made what its webhook reads": _unserved,
    "the compute cluster has no Fluid": _no_fluid,
    "Fluid's webhook fails open": _fails_open,
    "Fluid's webhook refuses the pod": _webhook(500, f"{_HOOK} denied the request: not bound"),
    "Fluid's webhook does not answer": _webhook(
        500,
        'failed calling webhook "sidecar.fuse.fluid.io": failed to call webhook: Post '
        '"https://fluid-webhook.fluid-system.svc:443/?timeout=15s": context deadline exceeded',
    ),
    "the compute cluster is older than Kubernetes 1.27": _old_cluster,
    "a container has a sidecar's name": _fails_open,
    "the containers share processes": _fails_open,
    "only an init container mounts the claim": _fails_open,
    "the pod says itself where names lead": _fails_open,
}
_PODS: Mapping[str, Mapping[str, Any]] = {
    "a container has a sidecar's name": {"containers": [{"name": "fluid-fuse-0", "image": "x"}]},
    "the containers share processes": {"shareProcessNamespace": True},
    "only an init container mounts the claim": {"containers": ["main"], "initContainers": [MAIN]},
    "the pod says itself where names lead": {"hostAliases": [{"ip": "10.0.0.9"}]},
}


async def act(story: str) -> str:
    """The row of a story."""
    world = World()
    await world.open()
    spec = {"containers": [MAIN], **_PODS.get(story, {})}
    pod = world.want(make_pod(volumes=[MOUNT], nodeName=NODE, **spec))
    await STORIES[story](world)
    try:
        await world.compute.backend.apply(make_request(pod))
    except Waiting as waiting:
        said = f"Pending, `{waiting.reason}`: {waiting}"
    except Rejected as rejected:
        said = f"refused, `PodRejected`: {rejected}"
    else:
        said = "runs"
    return f"| {story} | {said} |"


def write() -> None:
    """Put the rows on the page."""
    rows = {}
    for story in STORIES:
        with asyncio.Runner(loop_factory=looptime.new_event_loop) as runner:
            rows[story] = [runner.run(act(story))]
    TABLE.write(rows)


if __name__ == "__main__":
    write()
