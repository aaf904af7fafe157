"""Pods of a compute cluster that stops to answer."""

from tests.builders import UID_1, make_pod
from tests.unit.pods.world import World
from vnode.kube.types import ObjectKey, Pod
from vnode.pods.partition.policy import ANNOTATION


def patient(
    uid: str = UID_1, *, name: str = "job-0", say: str = "fail-after=1m", restart: str = "Never"
) -> Pod:
    return make_pod(name, uid=uid, annotations={ANNOTATION: say}, restart=restart)


async def run(world: World, pod: Pod) -> ObjectKey:
    """Start an agent and have the pod run."""
    if world.agent is None:
        world.start()
    key = world.create(pod)
    await world.settle(20)
    world.below.start(key)
    await world.settle(20)
    assert world.status(key)["phase"] == "Running"
    return key


def finish_deletions(world: World) -> None:
    """Kubelets below end what is being deleted."""
    for key in [key for key, copy in world.below.copies.items() if copy.deleting]:
        world.below.finish_deletion(key)
