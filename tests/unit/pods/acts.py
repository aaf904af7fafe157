"""What tests of the controller begin with."""

from collections.abc import Mapping
from typing import Any

from tests.builders import make_pod
from tests.unit.pods.world import World
from vnode.backend import HeldBack, UpdatePart
from vnode.kube.resources import CONFIG_MAPS, SECRETS
from vnode.kube.types import ConfigMap, ObjectKey, Secret

KEY = ObjectKey("team-a", "job-0")
STATUS = "patch pods/status"
DEBUGGER = HeldBack(
    UpdatePart.EPHEMERAL_CONTAINER, "UpdateRejected", "privileged", permanent=True, container="dbg"
)


async def running(world: World, **pod: Any) -> ObjectKey:
    """A pod that runs and is shown as running."""
    key = world.create(make_pod(**pod))
    await world.settle(2)
    world.below.start(key)
    await world.settle(2)
    assert world.status(key)["phase"] == "Running"
    return key


async def running_then_down(world: World) -> None:
    """The same, and the agent is gone."""
    world.start()
    await running(world)
    await world.stop()


def put_object(world: World, body: ConfigMap | Secret) -> None:
    """A user makes or changes one."""
    resource = SECRETS if isinstance(body, Secret) else CONFIG_MAPS
    world.tenant.put(resource, body)


def env_from(kind: str, name: str, *, optional: bool = False) -> list[Mapping[str, object]]:
    """Containers that need it."""
    source = {"name": name, "optional": optional}
    return [{"name": "main", "image": "i", "envFrom": [{kind: source}]}]
