"""Labels and annotations below: what travels, what the cluster sets, what is ours."""

from unittest.mock import ANY

import pytest

from federation.backends.kubernetes.translate.names import ANNOTATION_UID, LABEL_TENANT
from federation.backends.kubernetes.translate.policy import TranslationPolicy
from tests.unit.federation.translate.builders import OWNER, TENANT_UID, make_pod, translated
from vnode.kube.types import ObjectMeta


@pytest.mark.parametrize(
    "key",
    [
        "vnode.dev/tenant",
        "vnode.dev/anything",
        "app.kubernetes.io/managed-by",
        "k8s.aliyun.com/eci-use-specs",
        "alibabacloud.com/eci",
        "serverless.fluid.io/inject",
        "done.sidecar.fluid.io/inject",
        "fluid.io/datasets-in-use",
        "k8s.v1.cni.cncf.io/networks",
        "sidecar.istio.io/inject",
        "istio.io/rev",
        "kueue.x-k8s.io/queue-name",
        "scheduling.k8s.io/group-name",
        "scheduling.volcano.sh/queue-name",
        "volcano.sh/queue-name",
        "scheduling.x-k8s.io/pod-group",
        "kubectl.kubernetes.io/last-applied-configuration",
        "kubernetes.io/config.mirror",
    ],
)
def test_a_key_that_something_below_acts_on_does_not_travel(key: str) -> None:
    metadata = translated(make_pod(labels={key: "forged"}, annotations={key: "forged"}))["metadata"]
    assert "forged" not in metadata["labels"].values()
    assert "forged" not in metadata["annotations"].values()


@pytest.mark.parametrize(
    "key",
    ["app", "training.kubeflow.org/job-name", "volcano.sh/job-name", "example.com/vnode.dev"],
)
def test_a_key_of_the_users_travels(key: str) -> None:
    metadata = translated(make_pod(labels={key: "x"}, annotations={key: "y"}))["metadata"]
    assert metadata["labels"][key] == "x"
    assert metadata["annotations"][key] == "y"


def test_our_own_prefix_is_denied_even_where_the_list_is_replaced() -> None:
    policy = TranslationPolicy(denied_prefixes=("corp.example/*.",))
    labels = {"vnode.dev/x": "1", "corp.example/a.b": "2", "corp.example/c": "3"}
    below = translated(make_pod(labels=labels), policy)["metadata"]["labels"]
    assert {"vnode.dev/x", "corp.example/a.b"}.isdisjoint(below)
    assert below["corp.example/c"] == "3"


def test_the_clusters_overlay_wins_over_the_user_and_may_use_denied_keys() -> None:
    policy = TranslationPolicy(
        overlay_labels={"alibabacloud.com/eci": "true", "app": "theirs"},
        overlay_annotations={"k8s.aliyun.com/eci-use-specs": "2-4Gi"},
    )
    metadata = translated(make_pod(labels={"app": "mine"}), policy)["metadata"]
    assert metadata["labels"]["alibabacloud.com/eci"] == "true"
    assert metadata["labels"]["app"] == "theirs"
    assert metadata["annotations"]["k8s.aliyun.com/eci-use-specs"] == "2-4Gi"


def test_our_marks_win_over_the_overlay() -> None:
    policy = TranslationPolicy(
        overlay_labels={LABEL_TENANT: "blue"}, overlay_annotations={ANNOTATION_UID: "x"}
    )
    metadata = translated(make_pod(), policy)["metadata"]
    assert metadata["labels"][LABEL_TENANT] == "red"
    assert metadata["annotations"][ANNOTATION_UID] == TENANT_UID


def test_a_copy_says_whose_it_is_and_what_was_applied() -> None:
    metadata = translated(make_pod(generation=3))["metadata"]
    assert OWNER.owns(ObjectMeta(labels=metadata["labels"], annotations=metadata["annotations"]))
    assert metadata["annotations"] == {
        "vnode.dev/cluster-uid": "c-1",
        "vnode.dev/namespace": "team-a",
        "vnode.dev/name": "job-0",
        "vnode.dev/uid": TENANT_UID,
        "vnode.dev/node": "vnode-a",
        "vnode.dev/spec-hash": "d1",
        "vnode.dev/generation": "3",
        "vnode.dev/applied-keys": ";",
        "vnode.dev/resources-hash": ANY,
        "vnode.dev/images-hash": ANY,
    }


def test_nothing_else_of_the_metadata_travels() -> None:
    assert set(translated(make_pod())["metadata"]) == {
        "name",
        "namespace",
        "labels",
        "annotations",
    }
