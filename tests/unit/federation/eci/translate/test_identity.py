"""Names and tags: legal for the service, and enough to find the pod again."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from federation.backends.eci.translate import identity as tagging
from federation.backends.eci.translate import limits
from federation.backends.eci.translate.identity import group_name, identity, tags
from federation.backends.eci.translate.policy import EciPolicy
from federation.backends.kubernetes.translate import names
from tests.builders import make_pod
from tests.unit.federation.eci.translate.builders import POLICY
from vnode.backend import PodRequest
from vnode.kube.types import NodeName, ObjectKey

LEGAL = re.compile(r"[a-z0-9][a-z0-9-]{0,126}[a-z0-9]")
label = st.from_regex(r"[a-z0-9]([a-z0-9-]{0,18}[a-z0-9])?", fullmatch=True)
pod_name = st.from_regex(r"[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?", fullmatch=True)


@given(label, label, pod_name)
def test_a_name_is_legal_and_always_the_same(tenant: str, namespace: str, name: str) -> None:
    made = group_name(tenant=tenant, namespace=namespace, name=name)
    assert LEGAL.fullmatch(made)
    assert made == group_name(tenant=tenant, namespace=namespace, name=name)


@given(label, label, pod_name, pod_name)
def test_two_pods_of_a_namespace_have_two_names(
    tenant: str, namespace: str, one: str, other: str
) -> None:
    first, second = (group_name(tenant=tenant, namespace=namespace, name=n) for n in (one, other))
    assert (first == second) == (one == other)


def test_a_name_with_dots_gets_a_hash() -> None:
    made = group_name(tenant="red", namespace="team-a", name="job.0")
    assert re.fullmatch(r"red-team-a-job-0-[0-9a-f]{16}", made)


@given(pod_name, pod_name)
def test_the_pod_is_found_again_by_its_tags(name: str, node: str) -> None:
    pod = make_pod(name, generation=7)
    request = PodRequest(pod=pod, node=NodeName(node), digest="d" * 32, host_ip="192.0.2.7")
    written = tags(request, POLICY)
    assert len(written) <= limits.TAGS
    for key, value in written.items():
        assert 0 < len(key) <= limits.TAG_KEY
        assert len(value) <= limits.TAG_VALUE
    found = identity(written, called="", tenant="red", cluster_uid="c-1")
    assert found is not None
    assert found.key == ObjectKey("team-a", name)
    assert (found.uid, found.node, found.generation) == (pod.metadata.uid, node, 7)
    assert found.digest == "d" * 32


@pytest.mark.parametrize("change", [{"tenant": "blue"}, {"cluster_uid": "c-2"}])
def test_a_group_of_another_tenant_cluster_is_not_ours(change: dict[str, str]) -> None:
    pod = make_pod()
    request = PodRequest(pod=pod, node=NodeName("n"), digest="d", host_ip="192.0.2.7")
    who = {"tenant": "red", "cluster_uid": "c-1", **change}
    assert identity(tags(request, POLICY), called="", **who) is None


def test_a_group_without_tags_is_not_ours() -> None:
    assert identity({}, called="", tenant="red", cluster_uid="c-1") is None


@pytest.mark.parametrize(("called", "ours"), [("red-team-a-job-0", True), ("red-web", False)])
def test_a_group_that_somebody_gave_our_tags_to_is_not_ours(called: str, ours: bool) -> None:
    request = PodRequest(pod=make_pod(), node=NodeName("n"), digest="d", host_ip="192.0.2.7")
    found = identity(tags(request, POLICY), called=called, tenant="red", cluster_uid="c-1")
    assert (found is not None) is ours


def test_tags_are_called_as_in_clusters() -> None:
    assert tagging.TENANT == names.LABEL_TENANT
    assert tagging.CLUSTER_UID == names.ANNOTATION_CLUSTER_UID
    assert tagging.POD_UID == names.ANNOTATION_UID
    assert tagging.DIGEST == names.ANNOTATION_DIGEST


def test_the_pools_tags_cannot_replace_ours() -> None:
    with pytest.raises(ValueError, match="reserved"):
        EciPolicy(
            tenant="red",
            cluster_uid="c",
            node=NodeName("n"),
            region="r",
            tags={"vnode.dev/tenant": "blue"},
        )
