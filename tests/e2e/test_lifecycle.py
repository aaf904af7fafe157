"""Identity under changes from both sides, on simulated compute nodes; rules: `lifecycle/`."""

import re

from tests.agents import Federation
from tests.e2e.user import BELOW, User, until
from tests.e2e.workloads import pod

KWOK = "kwok-a"
NODE = f"vnode-{KWOK}"


def _below(federation: Federation) -> User:
    return User(federation.computes[KWOK], BELOW)


def test_labels_and_images_changed_in_the_tenant_reach_the_copy(
    user: User, federation: Federation
) -> None:
    below = _below(federation)
    user.apply(pod("changing", cluster=KWOK))
    user.wait_phase("changing", "Running")
    user.kubectl("label", "pod", "changing", "stage=two")
    user.kubectl("set", "image", "pod/changing", "main=docker.io/library/busybox:1.37")
    until(lambda: below.get("pod", "changing")["metadata"]["labels"].get("stage"), "label")
    until(
        lambda: below.get("pod", "changing")["spec"]["containers"][0]["image"].endswith("1.37"),
        "the image below has changed",
    )


def test_copies_carry_who_they_belong_to_and_nothing_of_the_tenants_metadata(
    user: User, federation: Federation
) -> None:
    manifest = pod("marked", cluster=KWOK, labels={"app": "x", "vnode.dev/tenant": "evil"})
    manifest["metadata"]["finalizers"] = ["example.com/hold"]
    user.apply(manifest)
    seen = user.wait_phase("marked", "Running")
    copy = _below(federation).get("pod", "marked")["metadata"]
    assert copy["labels"]["vnode.dev/tenant"] == "demo"
    assert copy["labels"]["app"] == "x"
    assert copy["annotations"]["vnode.dev/uid"] == seen["metadata"]["uid"]
    assert not copy.get("finalizers")
    assert not copy.get("ownerReferences")
    user.kubectl("delete", "pod", "marked", "--wait=false")
    _below(federation).wait_gone("pod", "marked")
    user.kubectl("patch", "pod", "marked", "--type=merge", "-p", '{"metadata":{"finalizers":null}}')
    user.wait_gone("pod", "marked")


def test_the_place_of_a_copy_is_noted_with_its_cluster_and_without_names(user: User) -> None:
    user.apply(pod("placed", cluster=KWOK))
    conditions = user.wait_phase("placed", "Running")["status"]["conditions"]
    (mark,) = [c for c in conditions if c["type"] == "vnode.dev/Forwarded"]
    assert re.fullmatch(r"place [0-9a-f]{8}\.[0-9a-f]{16} copy [0-9a-f]{8}", mark["message"])
    user.kubectl("delete", "pod", "placed")


def test_a_deleted_node_is_made_again_and_users_labels_stay(
    user: User, federation: Federation
) -> None:
    user.apply(pod("survivor", cluster=KWOK))
    user.wait_phase("survivor", "Running")
    user.kubectl("label", "node", NODE, "team=research", "--overwrite")
    first = user.get("node", NODE)["metadata"]["uid"]
    user.kubectl("delete", "node", NODE, "--wait=false")
    until(
        lambda: (
            (user.get("node", NODE) or {"metadata": {"uid": first}})["metadata"]["uid"] != first
        ),
        "the Node is there again",
        timeout=10,
    )
    assert user.get("pod", "survivor")["status"]["phase"] == "Running"
    user.kubectl("label", "node", NODE, "team=research")
    assert user.get("node", NODE)["metadata"]["labels"]["team"] == "research"
