"""What earlier joins left: found by the tenant's label, and named with its removal."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, cast

import pytest

from federation.join.apply import RESOURCES
from federation.join.leftovers import Leftover, commands, leftovers
from federation.join.render import compute_objects
from tests.builders import make_error
from tests.unit.federation.join.builders import make_plan
from vnode.kube.errors import KubeError, ServerError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from federation.join.render import Object
    from vnode.kube.client import KubeClient

OURS = "vnode.dev/tenant=red,app.kubernetes.io/managed-by=vnode"


class Server:
    """Lists objects by kind."""

    def __init__(self, objects: Sequence[Object]) -> None:
        self.objects: list[Any] = [*objects]
        self.errors: dict[str, KubeError] = {}

    @property
    def client(self) -> KubeClient:
        return cast("KubeClient", self)

    async def request(self, verb: str, path: str, *, query: Any, **_: Any) -> bytes:
        assert (verb, query["labelSelector"]) == ("GET", OURS)
        (kind,) = [kind for kind, resource in RESOURCES.items() if resource.path() == path]
        if kind in self.errors:
            raise self.errors[kind]
        items = [{"metadata": o["metadata"]} for o in self.objects if o["kind"] == kind and ours(o)]
        return json.dumps({"metadata": {}, "items": items}).encode()


def ours(value: Any) -> bool:
    return bool(value["metadata"]["labels"].get("vnode.dev/tenant") == "red")


async def found(had: Sequence[Object], wants: Sequence[Object]) -> list[Leftover]:
    return await leftovers(Server(had).client, "red", wants)


@pytest.mark.parametrize("plan", [make_plan(), make_plan(on_demand=True, usage_kubelet=True)])
async def test_what_the_plan_wants_is_no_leftover(plan: Any) -> None:
    assert await found(compute_objects(plan), compute_objects(plan)) == []


async def test_rights_that_are_not_asked_for_any_more_are_found() -> None:
    wide = compute_objects(make_plan("a", "b", usage_kubelet=True, capacity_nodes=True))
    left = await found(wide, compute_objects(make_plan("a")))
    assert commands(left) == [
        "kubectl delete clusterrolebindings vnode-red-capacity vnode-red-usage",
        "kubectl delete rolebindings vnode --namespace=red--b",
        "kubectl delete clusterroles vnode-red-capacity vnode-red-usage",
        "kubectl delete roles vnode --namespace=red--b",
        "kubectl delete namespaces red--b  # and all that runs there",
    ]


async def test_rights_go_before_the_fence_around_them() -> None:
    wide = compute_objects(make_plan(on_demand=True))
    kinds = [each.kind for each in await found(wide, compute_objects(make_plan()))]
    assert kinds.index("ClusterRoleBinding") < kinds.index("ValidatingAdmissionPolicy")


async def test_namespaces_that_the_agent_made_are_its_own() -> None:
    made: Any = compute_objects(make_plan("b"))
    for each in made:
        if each["metadata"]["name"] == "red--b":
            each["metadata"]["annotations"]["vnode.dev/made"] = "on-demand"
    left = await found(made, compute_objects(make_plan(on_demand=True)))
    assert "Namespace" not in {each.kind for each in left}


async def test_a_kind_that_cannot_be_listed_is_left_out() -> None:
    server = Server(compute_objects(make_plan("a", "b", usage_kubelet=True)))
    server.errors["ValidatingAdmissionPolicy"] = ServerError("no Kubernetes status", code=404)
    server.errors["RoleBinding"] = make_error(403, "no", reason="Forbidden")
    left = await leftovers(server.client, "red", compute_objects(make_plan("a")))
    assert {"ClusterRoleBinding", "Namespace"} < {each.kind for each in left}


async def test_a_cluster_that_does_not_answer_is_no_cluster_without_leftovers() -> None:
    server = Server([])
    server.errors["Role"] = ServerError("no Kubernetes status", code=502)
    with pytest.raises(ServerError):
        await leftovers(server.client, "red", [])
