"""Held copies as `vnode gc` finds and releases them."""

from functools import partial
from typing import Any

import pytest

from federation.config import AgentConfig
from federation.held import UNSURE, HeldCopies, HeldCopy
from federation.held_places import KubernetesPlace, forwarded
from tests.builders import (
    NODE,
    NOW,
    OWNER,
    UID_1,
    UID_2,
    make_compute_pod,
    make_error,
    make_pod,
)
from tests.fakes.watching import WatchingClient
from vnode.backend import Waiting
from vnode.kube.resources import NAMESPACES, NODES, PODS
from vnode.kube.timestamps import parse
from vnode.kube.types import ObjectKey
from vnode.pods.orphans import ORPHAN_GRACE, HeldReason

pytestmark = pytest.mark.looptime

EARLIER, LATER = "2027-01-15T07:00:00Z", "2027-01-15T07:30:00Z"
BELOW = ObjectKey("red--team-a", "job-0")


class Clusters:
    """A tenant, a compute cluster with one copy, and a user of `vnode gc`."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, **cluster: Any) -> None:
        self.tenant = WatchingClient(name="tenant")
        self.compute = WatchingClient(name="compute")
        system = {"metadata": {"name": "kube-system", "uid": OWNER.cluster_uid}}
        self.tenant.put(NAMESPACES, system)
        settings = {"name": "gpu", "kubeconfig": "k", **cluster}
        config = AgentConfig.model_validate(
            {
                "tenant": {"name": OWNER.tenant, "namespaces": ["team-a", "team-b"]},
                "clusters": [settings],
            }
        )
        place = KubernetesPlace(
            self.compute.client,
            config.kubernetes_clusters[0],
            owner=OWNER,
            namespaces=partial(forwarded, self.tenant.client, config.tenant),
        )
        self.copies = HeldCopies(config, self.tenant.client, {"gpu": place}, OWNER)
        monkeypatch.setattr("time.time", lambda: parse(NOW))

    def node(self, born: str) -> None:
        body = {"metadata": {"name": NODE, "creationTimestamp": born}}
        self.tenant.put(NODES, body)

    def copy(self, *, made: str = EARLIER, **fields: Any) -> None:
        self.compute.put(PODS, make_compute_pod(**fields))
        self.compute.edit(PODS, BELOW, lambda body: body["metadata"].update(creationTimestamp=made))

    async def only(self) -> HeldCopy:
        (held,) = await self.copies.find()
        return held


@pytest.fixture
def clusters(monkeypatch: pytest.MonkeyPatch) -> Clusters:
    return Clusters(monkeypatch)


class TestFind:
    async def test_a_copy_older_than_its_node_is_held_until_the_grace_period_ends(
        self, clusters: Clusters
    ) -> None:
        clusters.node(LATER)
        clusters.copy()
        held = await clusters.only()
        assert (held.cluster, str(held.key), held.copy.uid) == ("gpu", "team-a/job-0", UID_1)
        assert held.reason == HeldReason.NODE_RECREATED
        assert held.until == parse(LATER) + ORPHAN_GRACE

    async def test_a_copy_without_node_is_held_for_ever(self, clusters: Clusters) -> None:
        clusters.copy()
        held = await clusters.only()
        assert (held.reason, held.until) == (HeldReason.NODE_MISSING, None)

    async def test_of_a_copy_as_young_as_its_node_nothing_is_known(
        self, clusters: Clusters
    ) -> None:
        clusters.node(EARLIER)
        clusters.copy(made=LATER)
        assert (await clusters.only()).reason == UNSURE

    async def test_a_copy_with_its_pod_is_not_held(self, clusters: Clusters) -> None:
        clusters.copy()
        clusters.tenant.put(PODS, make_pod())
        assert await clusters.copies.find() == []

    async def test_a_namesake_s_pod_does_not_count(self, clusters: Clusters) -> None:
        clusters.copy()
        clusters.tenant.put(PODS, make_pod(uid=UID_2))
        assert (await clusters.only()).copy.uid == UID_1

    async def test_copies_that_go_already_are_left_out(self, clusters: Clusters) -> None:
        clusters.copy(deleted=NOW, grace=30)
        assert await clusters.copies.find() == []

    async def test_what_is_not_ours_is_left_out(self, clusters: Clusters) -> None:
        another = type(OWNER)(tenant=OWNER.tenant, cluster_uid="another")
        clusters.copy(owner=another)
        assert await clusters.copies.find() == []

    async def test_namespaces_that_are_not_prepared_are_passed_over(
        self, clusters: Clusters
    ) -> None:
        clusters.copy()
        clusters.compute.fail(make_error(403, "forbidden"), "list pods")
        assert await clusters.copies.find() == []

    async def test_on_demand_all_of_the_cluster_is_seen(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        clusters = Clusters(
            monkeypatch,
            namespaces={"create": "OnDemand"},
            pools=[{"capacity": {"sources": ["static"], "static": {"pods": "1"}}}],
        )
        clusters.copy()
        await clusters.only()
        assert [call.key.namespace for call in clusters.compute.named("list pods")] == [""]

    async def test_a_pod_that_is_made_meanwhile_is_not_held(
        self, clusters: Clusters, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Between the listings a user makes a pod and the agent its copy."""
        clusters.node(EARLIER)
        for side in (clusters.tenant, clusters.compute):
            request = side.request

            async def listed(*args: Any, request: Any = request, **more: Any) -> Any:
                found = await request(*args, **more)
                if not clusters.compute.get_body(PODS, BELOW):
                    clusters.tenant.put(PODS, make_pod())
                    clusters.copy(made=LATER)
                return found

            monkeypatch.setattr(side, "request", listed)
        assert await clusters.copies.find() == []
        assert clusters.compute.get_body(PODS, BELOW)


class TestRelease:
    async def test_the_very_copy_is_deleted(self, clusters: Clusters) -> None:
        clusters.copy()
        held = await clusters.only()
        await clusters.copies.release(held)
        (call,) = clusters.compute.named("delete pods")
        assert (call.key, call.uid, call.grace_seconds) == (BELOW, held.copy.handle, None)

    async def test_a_copy_that_went_meanwhile_is_released(self, clusters: Clusters) -> None:
        clusters.copy()
        held = await clusters.only()
        clusters.compute.drop(PODS, BELOW)
        await clusters.copies.release(held)

    async def test_a_copy_whose_pod_came_back_is_kept(self, clusters: Clusters) -> None:
        clusters.copy()
        held = await clusters.only()
        clusters.tenant.put(PODS, make_pod())
        with pytest.raises(Waiting, match="has its tenant pod"):
            await clusters.copies.release(held)
        assert not clusters.compute.named("delete pods")

    async def test_nothing_goes_on_the_word_of_another_cluster(self, clusters: Clusters) -> None:
        clusters.copy()
        held = await clusters.only()
        clusters.tenant.put(NAMESPACES, {"metadata": {"name": "kube-system", "uid": "another"}})
        with pytest.raises(Waiting, match="another cluster"):
            await clusters.copies.release(held)
        assert not clusters.compute.named("delete pods")

    async def test_a_namesake_of_a_copy_that_went_is_no_refusal(self, clusters: Clusters) -> None:
        clusters.copy()
        held = await clusters.only()
        clusters.compute.drop(PODS, BELOW)
        clusters.copy()
        clusters.compute.edit(PODS, BELOW, lambda body: body["metadata"].update(uid="another"))
        await clusters.copies.release(held)
        assert clusters.compute.get_body(PODS, BELOW)
