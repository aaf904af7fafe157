"""Whether the agent is fenced where it makes objects for Fluid."""

from dataclasses import replace

import pytest

from federation.check.findings import Finding, Level
from federation.check.fluid import fence
from federation.check.site import Peer
from federation.config import CopiedVolume
from federation.join.fluid import FluidPlan
from tests.builders import make_error
from tests.unit.federation.check.api import Api
from vnode.kube.config import Connection

VOLUME = CopiedVolume(driver="d", volume_handles=("a",))
NO_NAMESPACE = make_error(404, 'namespaces "red--a" not found', name="red--a")
FENCED = FluidPlan(profiles=("p",), volumes=(VOLUME,), reach=({"pool": "a"},))
PODS_ONLY = FluidPlan(profiles=("p",), makes_datasets=False, reach=({"pool": "a"},))


def denied(policy: str) -> Exception:
    text = f"ValidatingAdmissionPolicy '{policy}' with binding '{policy}' denied request: no"
    return make_error(403, text)


async def look(api: Api, plan: FluidPlan) -> list[Finding]:
    peer = Peer("gpu", Connection("gpu"), opened=api.client)
    return list(await fence(peer, plan, tenant="red", below="red--a", mend="vnode join"))


@pytest.mark.parametrize(
    ("answer", "level", "text"),
    [
        (denied("vnode-red-fluid"), Level.OK, "policy vnode-red-fluid refuses"),
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
    findings = (await look(api, FENCED))[:2]
    assert [finding.level for finding in findings] == [level] * 2
    assert all(text in finding.text for finding in findings)
    assert api.asked[:2] == ["create thinruntimes in red--a", "create persistentvolumes"]


@pytest.mark.parametrize(
    ("answer", "level", "text"),
    [
        (denied("vnode-red-fluid-pods"), Level.OK, "policy vnode-red-fluid-pods refuses"),
        (denied("vnode-red-fluid"), Level.UNTRIED, "pods: "),
        (make_error(403, 'violates PodSecurity "baseline:latest"'), Level.OK, "Pod Security"),
        (NO_NAMESPACE, Level.UNTRIED, "not found"),
        (None, Level.WRONG, "can make any Pod"),
    ],
    ids=["fenced", "another policy", "Pod Security", "no namespace", "not fenced"],
)
async def test_a_pod_that_reaches_for_any_node_is_tried(
    answer: Exception | None, level: Level, text: str
) -> None:
    api = Api()
    api.denies = answer
    (finding,) = await look(api, PODS_ONLY)
    assert (finding.level, text in finding.text) == (level, True), finding
    assert api.asked == ["create pods in red--a"]


async def test_where_no_policy_keeps_such_pods_to_certain_nodes_that_is_said() -> None:
    (finding,) = await look(Api(), replace(PODS_ONLY, reach=({"pool": "a"}, {})))
    assert finding.level is Level.WARN
    assert "nodeSelector" in finding.mend
