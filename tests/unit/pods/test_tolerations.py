"""Default limits go out of a bound pod's tolerations; all else in them is the user's."""

from collections.abc import AsyncIterator

import pytest

from tests.builders import make_error, make_pod
from tests.unit.pods.world import World
from vnode.kube.errors import KubeError
from vnode.kube.resources import PODS
from vnode.kube.types import JSON, ObjectKey
from vnode.pods.tolerations import without_default_limits

NOT_READY = {"key": "node.kubernetes.io/not-ready", "operator": "Exists", "effect": "NoExecute"}
AWAY = {"key": "node.kubernetes.io/unreachable", "operator": "Exists", "effect": "NoExecute"}
DEFAULTS = [{**NOT_READY, "tolerationSeconds": 300}, {**AWAY, "tolerationSeconds": 300}]
OWN = {"key": "vnode.dev/provider", "operator": "Exists"}


def test_the_default_limits_go_and_the_rest_stays_as_it_is() -> None:
    pod = make_pod(tolerations=[OWN, *DEFAULTS, {"new": {"field": 1}}])
    assert without_default_limits(pod) == [OWN, NOT_READY, AWAY, {"new": {"field": 1}}]


@pytest.mark.parametrize(
    "tolerations",
    [
        [],
        [NOT_READY, AWAY],
        [{**NOT_READY, "tolerationSeconds": 299}, {**AWAY, "tolerationSeconds": 0}],
        [{"operator": "Exists", "tolerationSeconds": 300, "effect": "NoExecute"}],
        [{"key": "mine", "operator": "Exists", "tolerationSeconds": 300, "effect": "NoExecute"}],
    ],
)
def test_what_users_set_is_left_alone(tolerations: list[JSON]) -> None:
    assert without_default_limits(make_pod(tolerations=tolerations)) is None


def test_a_pod_without_tolerations_is_left_alone() -> None:
    assert without_default_limits(make_pod()) is None


@pytest.fixture
async def world() -> AsyncIterator[World]:
    made = World(lag=0.05, latency=0.01)
    yield made
    await made.stop()


@pytest.mark.looptime
async def test_a_bound_pod_is_patched_once_before_its_copy_is_made(world: World) -> None:
    world.start()
    key = world.create(make_pod(tolerations=[OWN, *DEFAULTS]))
    await world.settle(30)
    body = world.pod(key)
    assert body is not None
    assert body["spec"]["tolerations"] == [OWN, NOT_READY, AWAY]
    (patch,) = world.tenant.named("patch pods")
    assert patch.body["metadata"].keys() == {"uid", "resourceVersion"}
    assert world.below.called("update") == []
    assert len(world.below.called("apply")) == 1


@pytest.mark.looptime
async def test_who_puts_a_limit_back_is_left_alone(world: World) -> None:
    world.start()
    key = world.create(make_pod(tolerations=DEFAULTS))
    await world.settle(30)
    world.tenant.edit(PODS, key, lambda body: body["spec"].update(tolerations=DEFAULTS))
    await world.settle(300)
    assert len(world.tenant.named("patch pods")) == 1


@pytest.mark.looptime
@pytest.mark.parametrize(
    ("error", "tries"),
    [
        (make_error(403, "forbidden"), 1),
        (make_error(422, "a policy says no"), 1),
        (make_error(500, "failed calling webhook"), 2),
    ],
)
async def test_a_refusal_holds_nobody_up_and_is_said(
    world: World, error: KubeError, tries: int
) -> None:
    world.tenant.fail(error, "patch pods", times=10**6)
    world.start()
    key = world.create(make_pod(tolerations=DEFAULTS))
    await world.settle(20)
    world.below.start(key)
    await world.settle(70)
    world.below.end(key)
    await world.settle(20)
    assert world.status(key)["phase"] == "Succeeded"
    assert "TolerationsNotChanged" in world.events()
    assert len(world.tenant.named("patch pods")) == tries


@pytest.mark.looptime
async def test_a_pod_that_ends_or_goes_is_not_patched(world: World) -> None:
    world.create(make_pod(tolerations=DEFAULTS, status={"phase": "Succeeded"}))
    world.create(make_pod("job-1", tolerations=DEFAULTS, uid="other"))
    world.delete(ObjectKey("team-a", "job-1"))
    world.start()
    await world.settle(60)
    assert world.tenant.named("patch pods") == []
