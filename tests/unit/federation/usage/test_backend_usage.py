"""Which pods of the compute cluster the backend asks about, and how they come back."""

import random

import pytest

from federation.backends.kubernetes.backend import KubernetesBackend
from federation.backends.kubernetes.translate.names import NamespaceMapping, Owner
from federation.backends.kubernetes.translate.policy import TranslationPolicy
from federation.backends.kubernetes.usage.reader import UsageMode
from tests.builders import (
    NODE,
    OWNER,
    UID_1,
    UID_2,
    ended_status,
    make_compute_pod,
    make_pod,
    running_status,
)
from tests.fakes.clock import LoopClock
from tests.unit.federation.usage.scripted import ScriptedServer
from tests.unit.federation.usage.test_kubelet_source import container, path, pod
from vnode.kube.types import Pod
from vnode.usage import UsageReport

pytestmark = pytest.mark.looptime

STRANGER = Owner(tenant="red", cluster_uid="another-cluster-of-the-same-tenant-name")


async def usage_of(*pods: Pod) -> tuple[UsageReport, ScriptedServer]:
    server = ScriptedServer()
    server.answers[path("gpu-1")] = {"pods": [pod(p.metadata.uid, container()) for p in pods]}
    backend = KubernetesBackend(
        server.client,
        cluster="gpu",
        owner=OWNER,
        namespaces=NamespaceMapping(OWNER.tenant),
        policies={NODE: TranslationPolicy()},
        clock=LoopClock(),
        rng=random.Random(1),
        usage=UsageMode.KUBELET,
    )
    for each in pods:
        backend.pods.upsert(each, scope=each.metadata.namespace)
    return await backend.usage(NODE), server


async def test_a_running_copy_is_reported_under_the_uid_of_its_tenant_pod() -> None:
    report, _ = await usage_of(make_compute_pod(node="gpu-1", status=running_status()))
    ((uid, (usage,)),) = report.pods.items()
    assert (uid, usage.name) == (UID_1, "main")


async def test_a_pod_that_imitates_our_marks_is_not_reported() -> None:
    ours = make_compute_pod(node="gpu-1", status=running_status())
    forged = make_compute_pod(
        make_pod("other", uid=UID_2),
        owner=STRANGER,
        uid="0000",
        node="gpu-1",
        status=running_status(),
    )
    report, _ = await usage_of(ours, forged)
    assert report.pods.keys() == {UID_1}


async def test_copies_that_do_not_run_are_not_asked_about() -> None:
    waiting = make_compute_pod()
    ended = make_compute_pod(
        make_pod("other", uid=UID_2), uid="0000", node="gpu-1", status=ended_status()
    )
    report, server = await usage_of(waiting, ended)
    assert report == UsageReport()
    assert not server.asked
