"""Whether the agent is fenced where it makes objects for Fluid."""

from typing import Any

import pytest

from federation.check.findings import Finding, Level
from federation.check.fluid import fence
from federation.check.site import Peer
from federation.config import FluidConfig
from tests.builders import make_error
from tests.unit.federation.check.api import Api
from vnode.kube.config import Connection

VOLUMES = [{"driver": "d", "volumeHandles": ["a"]}]
DENIED = "ValidatingAdmissionPolicy 'vnode-red-fluid' with binding 'vnode-red-fluid' denied request"


async def look(api: Api, **config: Any) -> list[Finding]:
    settings = FluidConfig.model_validate({"profiles": ["p"], **config})
    peer = Peer("gpu", Connection("gpu"), opened=api.client)
    return list(await fence(peer, settings, tenant="red", below="red--a", mend="vnode join"))


@pytest.mark.parametrize(
    ("answer", "level", "text"),
    [
        (make_error(403, DENIED), Level.OK, "policy vnode-red-fluid refuses"),
        (make_error(403, 'User "u" cannot create'), Level.UNTRIED, "cannot create"),
        (make_error(404, "404 page not found"), Level.WRONG, "there is no API"),
        (None, Level.WRONG, "can make any"),
    ],
    ids=["fenced", "no right", "no Fluid", "not fenced"],
)
async def test_objects_that_reach_the_node_are_tried(
    answer: Exception | None, level: Level, text: str
) -> None:
    api = Api()
    api.denies = answer
    findings = await look(api, volumes=VOLUMES)
    assert [finding.level for finding in findings] == [level] * 2
    assert all(text in finding.text for finding in findings)
    assert api.asked == ["create thinruntimes in red--a", "create persistentvolumes"]


async def test_what_the_agent_does_not_make_is_not_tried() -> None:
    api = Api()
    (finding,) = await look(api, dialect="ack")
    assert finding.level is Level.OK
    assert api.asked == []
