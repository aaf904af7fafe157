"""What `vnode gc` sees and does in an ECI account."""

import pytest

from federation.backends.eci.api import EciApi
from federation.held_places import EciPlace
from tests.builders import OWNER
from tests.eci.connecting import make_group
from tests.eci.server import Emulator
from tests.fakes.clock import SteppedClock
from vnode.kube.errors import Unreachable
from vnode.kube.types import ObjectKey


async def make(api: EciApi, uid: str, *, cluster_uid: str = OWNER.cluster_uid) -> str:
    tags = {
        "vnode.dev/tenant": OWNER.tenant,
        "vnode.dev/cluster-uid": cluster_uid,
        "vnode.dev/namespace": "team-a",
        "vnode.dev/name": "job-0",
        "vnode.dev/uid": uid,
        "vnode.dev/node": "vnode-burst",
    }
    listed = [{"Key": key, "Value": value} for key, value in tags.items()]
    return await api.create(make_group(f"{OWNER.tenant}-team-a-job-0", Tag=listed), token=uid)


async def test_only_our_own_groups_are_copies(api: EciApi) -> None:
    mine = await make(api, "uid-1")
    await make(api, "uid-2", cluster_uid="another")
    await api.create(make_group(), token="somebody")

    [copy] = [each async for each in EciPlace(api, owner=OWNER).copies()]

    assert (copy.key, copy.uid, copy.node) == (ObjectKey("team-a", "job-0"), "uid-1", "vnode-burst")
    assert (copy.handle, copy.deleting) == (mine, False)
    assert copy.made_at


async def test_a_group_that_went_meanwhile_is_released(api: EciApi, emulator: Emulator) -> None:
    await make(api, "uid-1")
    place = EciPlace(api, owner=OWNER)
    [copy] = [each async for each in place.copies()]
    await place.delete(copy)
    clock = emulator.clock
    assert isinstance(clock, SteppedClock)
    clock.now += 3600
    await place.delete(copy)
    assert [each async for each in place.copies()] == []


async def test_an_account_that_does_not_answer_is_said_so(api: EciApi, emulator: Emulator) -> None:
    emulator.faults.down = True
    with pytest.raises(Unreachable, match="no answer"):
        [each async for each in EciPlace(api, owner=OWNER).copies()]
