"""What is applied, what is refused, and that a refusal changes nothing. Real servers: tests/e2e."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any, cast

import pytest

from federation.join.apply import MANAGER, Refused, Result, apply
from federation.join.render import compute_objects
from tests.builders import make_error
from tests.unit.federation.join.builders import make_plan
from vnode.kube.errors import ServerError

if TYPE_CHECKING:
    from federation.join.render import Object
    from vnode.kube.client import KubeClient
    from vnode.kube.errors import KubeError

NAMESPACE = ("Namespace", "red--team-a")
PREPARED = compute_objects(make_plan())
ON_DEMAND = compute_objects(make_plan(on_demand=True))
BOUND = compute_objects(make_plan(tenant_uid="one"))
ANOTHER = compute_objects(make_plan("other", tenant_uid="two"))


class Server:
    """Objects by kind and name, and what was applied."""

    def __init__(self) -> None:
        self.objects: dict[tuple[str, str], Any] = {}
        self.applied: list[tuple[str, str]] = []
        self.tried: list[Any] = []
        self.errors: dict[tuple[str, str], KubeError] = {}
        self.errors_of_gets: dict[str, KubeError] = {}
        self.at_the_end: dict[tuple[str, str], KubeError] = {}
        """Refusals that a dry run does not show."""

    @property
    def client(self) -> KubeClient:
        return cast("KubeClient", self)

    async def get(self, resource: Any, _: Any, *, name: str, namespace: str | None) -> Any:
        if resource.kind in self.errors_of_gets:
            raise self.errors_of_gets[resource.kind]
        found = self.objects.get((resource.kind, name))
        if found is None:
            raise make_error(404, "not found", reason="NotFound")
        return copy.deepcopy(found)

    async def apply(
        self, resource: Any, body: Any, _: Any, *, manager: str, dry_run: bool, **about: Any
    ) -> Any:
        key = (resource.kind, about["name"])
        assert manager == MANAGER
        refusal = self.errors.get(key) or (None if dry_run else self.at_the_end.get(key))
        if refusal is not None:
            raise refusal
        after = copy.deepcopy(body)
        after["metadata"].setdefault("uid", "made")
        after["metadata"]["resourceVersion"] = "7"
        if dry_run:
            self.tried.append(body)
        else:
            self.applied.append(key)
            self.objects[key] = after
        return after


def objects() -> list[Object]:
    return copy.deepcopy(PREPARED)


async def refused(server: Server, wanted: list[Object] | None = None) -> Refused:
    with pytest.raises(Refused) as error:
        await apply(server.client, wanted or objects())
    return error.value


async def test_everything_is_made_and_then_left_unchanged() -> None:
    server = Server()
    first = await apply(server.client, objects())
    assert {one.result for one in first} == {Result.CREATED}
    again = await apply(server.client, objects())
    assert {one.result for one in again} == {Result.UNCHANGED}


async def test_a_dry_run_tries_and_applies_nothing() -> None:
    server = Server()
    found = await apply(server.client, objects(), dry_run=True)
    assert {one.result for one in found} == {Result.CREATED}
    assert server.applied == []
    # What is in a namespace that is not there yet cannot be tried.
    places = {body["metadata"].get("namespace") for body in server.tried}
    assert places == {None, "kube-system"}


async def test_what_exists_is_changed_by_its_uid_alone() -> None:
    server = Server()
    await apply(server.client, objects())
    server.objects[NAMESPACE]["metadata"]["uid"] = "that-one"
    server.tried.clear()
    await apply(server.client, objects(), dry_run=True)
    (body,) = [b for b in server.tried if b["metadata"]["name"] == NAMESPACE[1]]
    assert body["metadata"]["uid"] == "that-one"


@pytest.mark.parametrize(
    ("metadata", "words"),
    [
        ({"labels": {}}, "exists and is not made by vnode"),
        ({"labels": {"vnode.dev/tenant": "blue"}}, 'belongs to "blue"'),
        (
            {"labels": {"vnode.dev/tenant": "red"}, "deletionTimestamp": "2027-01-15T08:00:00Z"},
            "is being deleted; wait",
        ),
        (
            {
                "labels": {"vnode.dev/tenant": "red"},
                "annotations": {"vnode.dev/namespace": "team-b"},
            },
            "vnode.dev/namespace: team-b, not team-a",
        ),
    ],
)
async def test_what_is_not_ours_is_refused_before_anything_is_tried(
    metadata: dict[str, Any], words: str
) -> None:
    server = Server()
    body = {"kind": "Namespace", "metadata": {"name": NAMESPACE[1], "uid": "x", **metadata}}
    server.objects[NAMESPACE] = body
    error = await refused(server)
    assert words in error.problems[0]
    assert (server.tried, server.applied, error.made) == ([], [], 0)


async def test_every_problem_is_named_at_once() -> None:
    server = Server()
    for key in (("Role", "vnode-red"), ("ServiceAccount", "vnode-red")):
        server.errors[key] = make_error(422, f"{key[0]} is not valid", reason="Invalid")
    labels = {"app.kubernetes.io/managed-by": "vnode"}
    metadata = {"name": "vnode-system", "uid": "x", "labels": labels}
    server.objects["Namespace", "vnode-system"] = {"kind": "Namespace", "metadata": metadata}
    error = await refused(server)
    assert len(error.problems) == 2
    assert server.applied == []


async def test_a_refusal_that_only_a_write_shows_says_how_far_it_came() -> None:
    server = Server()
    server.at_the_end["Role", "vnode"] = make_error(403, "no", reason="Forbidden")
    error = await refused(server)
    assert error.made == len(server.applied) > 0
    assert "Role red--team-a/vnode: no; run this as an administrator" in error.problems[0]


async def test_a_right_that_cannot_be_given_away_is_explained() -> None:
    server = Server()
    text = 'is attempting to grant RBAC permissions not currently held:\n{APIGroups:[""]}'
    server.errors["Role", "vnode-red-identity"] = make_error(403, text, reason="Forbidden")
    (problem,) = (await refused(server)).problems
    assert "verbs escalate and bind" in problem
    assert "APIGroups" not in problem


async def test_who_may_not_look_is_told_so() -> None:
    server = Server()
    server.errors_of_gets["Role"] = make_error(403, "cannot get roles", reason="Forbidden")
    (problem,) = (await refused(server)).problems
    assert "cannot get roles; run this as an administrator" in problem


async def test_a_cluster_that_is_too_old_for_the_fence_is_told_so() -> None:
    server = Server()
    page = ServerError("HTTP 404 with no Kubernetes status", code=404)
    server.errors_of_gets["ValidatingAdmissionPolicy"] = page
    error = await refused(server, ON_DEMAND)
    assert "has no /apis/admissionregistration.k8s.io/v1/validating" in error.problems[0]
    assert "upgrade the cluster" in error.problems[0]


async def test_the_tenant_cluster_that_a_namespace_is_bound_to_is_not_taken_away() -> None:
    server = Server()
    await apply(server.client, BOUND)
    found = await apply(server.client, objects())
    assert {one.result for one in found} == {Result.UNCHANGED}


@pytest.mark.parametrize("on_demand", [False, True])
async def test_another_tenant_cluster_of_that_name_does_not_get_the_account(
    on_demand: bool,
) -> None:
    server = Server()
    first = compute_objects(make_plan(tenant_uid="one", on_demand=on_demand))
    await apply(server.client, first, for_token=True)
    before = list(server.applied)
    (problem,) = (await refused(server, copy.deepcopy(ANOTHER))).problems
    assert "ServiceAccount vnode-system/vnode-red is another tenant's" in problem
    assert server.applied == before


async def test_an_account_that_is_for_any_tenant_cluster_gives_no_token() -> None:
    server = Server()
    for _ in range(2):  # while it is not there, and when it is
        with pytest.raises(Refused) as error:
            await apply(server.client, objects(), for_token=True)
        (problem,) = error.value.problems
        assert "give --tenant-uid" in problem
        await apply(server.client, objects())


async def test_a_token_of_an_account_is_for_who_says_again_whose_it_is() -> None:
    server = Server()
    await apply(server.client, BOUND, for_token=True)
    with pytest.raises(Refused) as error:
        await apply(server.client, objects(), for_token=True)
    (problem,) = error.value.problems
    assert "give --tenant-uid" in problem
