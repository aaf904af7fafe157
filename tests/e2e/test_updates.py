"""Changes of pods that run: debug containers, in-place resize, and changes that are refused."""

from __future__ import annotations

import json
import os
import pty
import select
import subprocess
import time
from typing import TYPE_CHECKING, Any

import pytest

from tests.e2e.conftest import POD_LEVEL_RESIZE
from tests.e2e.user import BELOW, User, until
from tests.e2e.workloads import IMAGE, pod

if TYPE_CHECKING:
    from tests.agents import Federation

KWOK = "kwok-a"
MEMORY_LIMIT = "cat /sys/fs/cgroup/memory.max /sys/fs/cgroup/memory/memory.limit_in_bytes"
DEBUG = (f"--image={IMAGE}", "--profile=baseline", "--image-pull-policy=IfNotPresent")
CPU_QUOTA = "cat /sys/fs/cgroup/cpu.max /sys/fs/cgroup/cpu/cpu.cfs_quota_us"


def small(**more: Any) -> dict[str, Any]:
    """A container with limits that leave room."""
    amounts = {"cpu": "100m", "memory": "32Mi"}
    return {"resources": {"requests": amounts, "limits": amounts}, **more}


def resize(user: User, name: str, *, cpu: str = "100m", memory: str = "32Mi") -> None:
    """`kubectl patch --subresource resize` of container `main`, requests and limits."""
    amounts = {"cpu": cpu, "memory": memory}
    resources = {"requests": amounts, "limits": amounts}
    patch = {"spec": {"containers": [{"name": "main", "resources": resources}]}}
    user.kubectl("patch", "pod", name, "--subresource=resize", "-p", json.dumps(patch))


def condition(seen: Any, kind: str) -> Any:
    found = [c for c in seen["status"].get("conditions", []) if c["type"] == kind]
    return found[0] if found else None


def settled(user: User, name: str) -> Any:
    """The pod, once a kubelet's client would say that its last change is done."""

    def done() -> Any:
        seen = user.get("pod", name)
        observed = seen["status"].get("observedGeneration") == seen["metadata"]["generation"]
        resizing = condition(seen, "PodResizePending") or condition(seen, "PodResizeInProgress")
        return seen if observed and not resizing else None

    return until(done, f"the change of {name} is done")


def debugger(user: User, name: str, container: str) -> Any:
    """Status of an ephemeral container, or None."""
    states = user.get("pod", name)["status"].get("ephemeralContainerStatuses", [])
    return next((c for c in states if c["name"] == container), None)


@pytest.mark.containers
class TestDebug:
    def test_kubectl_debug_looks_into_a_running_container(self, user: User, gpu: str) -> None:
        user.apply(pod("patient", cluster=gpu, command="exec sleep 3601"))
        user.wait_phase("patient", "Running")
        look = "ps; echo seen by $(hostname); sleep 3600"
        user.kubectl(
            "debug",
            "patient",
            *DEBUG,
            "--target=main",
            "--container=doctor",
            "--",
            "sh",
            "-c",
            look,
        )
        until(
            lambda: "running" in (debugger(user, "patient", "doctor") or {"state": {}})["state"],
            "the debug container runs",
        )
        shown = until(
            lambda: user.kubectl("logs", "patient", "-c", "doctor"), "the debug container speaks"
        )
        assert "seen by patient" in shown
        assert "sleep 3601" in shown, "the target's processes are seen"
        said = user.kubectl("exec", "patient", "-c", "doctor", "--", "echo", "still", "there")
        assert said.strip() == "still there"
        seen = settled(user, "patient")
        assert seen["status"]["phase"] == "Running"
        assert seen["metadata"]["generation"] == 2

    def test_a_debug_session_is_a_terminal(self, user: User, gpu: str) -> None:
        user.apply(pod("patient", cluster=gpu))
        user.wait_phase("patient", "Running")
        ours, theirs = pty.openpty()
        command = user.command("debug", "-it", "patient", *DEBUG, "--", "sh")
        with subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs) as session:
            os.close(theirs)
            try:
                _read_until(ours, "try pressing enter")
                os.write(ours, b"echo two and two is $((2+2))\n")
                _read_until(ours, "two and two is 4")
                os.write(ours, b"exit\n")
                assert session.wait(timeout=20) == 0
            finally:
                session.kill()
                os.close(ours)

    def test_a_refused_debug_container_says_why_and_holds_nothing_else_up(
        self, user: User, gpu: str
    ) -> None:
        user.apply(pod("patient", cluster=gpu))
        user.wait_phase("patient", "Running")
        user.kubectl(
            "debug",
            "patient",
            *DEBUG,
            "--profile=sysadmin",
            "--container=root",
            "--",
            "sleep",
            "99",
        )
        waiting = until(
            lambda: (debugger(user, "patient", "root") or {"state": {}})["state"].get("waiting"),
            "the refused container waits",
        )
        assert waiting["reason"] == "UpdateRejected"
        assert "ephemeralContainers[0].securityContext.privileged" in waiting["message"]
        assert user.event_reasons("patient")["UpdateRejected"] == 1

        user.kubectl("label", "pod", "patient", "stage=two")
        user.kubectl("debug", "patient", *DEBUG, "--container=doctor", "--", "sleep", "99")
        until(
            lambda: "running" in (debugger(user, "patient", "doctor") or {"state": {}})["state"],
            "the second debug container runs",
        )


@pytest.mark.containers
class TestResize:
    def test_a_running_container_gets_more_without_a_restart(self, user: User, gpu: str) -> None:
        user.apply(pod("grower", cluster=gpu, container=small()))
        user.wait_phase("grower", "Running")
        until(lambda: "33554432" in _inside(user, "grower", MEMORY_LIMIT), "32Mi is the limit")
        resize(user, "grower", cpu="200m", memory="64Mi")
        seen = settled(user, "grower")
        (container,) = seen["status"]["containerStatuses"]
        assert container["resources"]["limits"] == {"cpu": "200m", "memory": "64Mi"}
        assert container["allocatedResources"]["memory"] == "64Mi"
        assert container["restartCount"] == 0
        assert "67108864" in _inside(user, "grower", MEMORY_LIMIT)
        assert "20000" in _inside(user, "grower", CPU_QUOTA)

    def test_a_sidecar_is_resized_too(self, user: User, gpu: str) -> None:
        sidecar = {
            "name": "proxy",
            "image": IMAGE,
            "command": ["sleep", "3600"],
            "restartPolicy": "Always",
            **small(),
        }
        user.apply(pod("pair", cluster=gpu, container=small(), initContainers=[sidecar]))
        user.wait_phase("pair", "Running")
        more = {"requests": {"cpu": "150m"}, "limits": {"cpu": "150m"}}
        patch = {"spec": {"initContainers": [{"name": "proxy", "resources": more}]}}
        user.kubectl("patch", "pod", "pair", "--subresource=resize", "-p", json.dumps(patch))
        (shown,) = settled(user, "pair")["status"]["initContainerStatuses"]
        assert shown["resources"]["limits"]["cpu"] == "150m"

    def test_pod_level_resources_are_resized_where_the_node_declares_that_it_can(
        self, user: User, gpu: str, federation: Federation
    ) -> None:
        (node,) = json.loads(federation.computes[gpu].kubectl("get", "nodes", "-o", "json"))[
            "items"
        ]
        assert POD_LEVEL_RESIZE in node["status"]["declaredFeatures"]
        shown = json.loads(user.kubectl("get", "node", f"vnode-{gpu}", "-o", "json"))
        assert POD_LEVEL_RESIZE in shown["status"]["declaredFeatures"]
        amounts = {"cpu": "200m", "memory": "64Mi"}
        user.apply(pod("whole", cluster=gpu, resources={"requests": amounts, "limits": amounts}))
        user.wait_phase("whole", "Running")
        more = {"cpu": "300m", "memory": "96Mi"}
        patch = {"spec": {"resources": {"requests": more, "limits": more}}}
        user.kubectl("patch", "pod", "whole", "--subresource=resize", "-p", json.dumps(patch))
        status = settled(user, "whole")["status"]
        assert status["resources"]["limits"] == more
        assert status["allocatedResources"] == more

    def test_requests_that_a_limit_range_below_adds_are_not_the_tenant_s(
        self, user: User, gpu: str, federation: Federation
    ) -> None:
        user.apply(pod("modest", cluster=gpu, container={"resources": {}}))
        user.wait_phase("modest", "Running")
        (below,) = User(federation.computes[gpu], BELOW).get("pod", "modest")["spec"]["containers"]
        assert below["resources"]["requests"], "the premise: deploy/ has a LimitRange"
        status = settled(user, "modest")["status"]
        (container,) = status["containerStatuses"]
        assert container["resources"] == {}
        assert "allocatedResources" not in container
        assert "allocatedResources" not in status
        assert status["qosClass"] == "BestEffort"

    def test_a_resize_that_no_node_can_give_is_infeasible_and_can_be_taken_back(
        self, user: User, gpu: str, federation: Federation
    ) -> None:
        user.apply(pod("greedy", cluster=gpu, container=small()))
        user.wait_phase("greedy", "Running")
        resize(user, "greedy", cpu="100")
        pending = until(
            lambda: condition(user.get("pod", "greedy"), "PodResizePending"), "it is pending"
        )
        assert pending["reason"] == "Infeasible"
        assert "node" in pending["message"]
        for node in json.loads(federation.computes[gpu].kubectl("get", "nodes", "-o", "json"))[
            "items"
        ]:
            assert node["metadata"]["name"] not in pending["message"]

        user.kubectl("label", "pod", "greedy", "stage=two")
        below = User(federation.computes[gpu], BELOW)
        until(
            lambda: below.get("pod", "greedy")["metadata"]["labels"].get("stage") == "two",
            "the label travels all the same",
        )
        resize(user, "greedy")
        settled(user, "greedy")

    def test_a_resize_over_quota_is_pending_until_the_quota_grows(
        self, user: User, gpu: str, federation: Federation
    ) -> None:
        below = User(federation.computes[gpu], BELOW)
        user.apply(pod("saver", cluster=gpu, container=small()))
        user.wait_phase("saver", "Running")
        below.kubectl("create", "quota", "tight", "--hard=limits.memory=64Mi")
        try:
            until(lambda: _used(below, "tight") == "32Mi", "the quota counts")
            resize(user, "saver", memory="128Mi")
            pending = until(
                lambda: condition(user.get("pod", "saver"), "PodResizePending"), "it is pending"
            )
            assert pending["reason"] == "Deferred"
            assert "exceeded quota: tight" in pending["message"]
            assert user.event_reasons("saver")["QuotaExceeded"] == 1
            more = {"spec": {"hard": {"limits.memory": "1Gi"}}}
            below.kubectl("patch", "quota", "tight", "-p", json.dumps(more))
            assert settled(user, "saver")["status"]["phase"] == "Running"
            (container,) = below.get("pod", "saver")["spec"]["containers"]
            assert container["resources"]["limits"]["memory"] == "128Mi"
        finally:
            below.kubectl("delete", "quota", "tight")


def _used(below: User, name: str) -> str | None:
    used: dict[str, str] = below.get("quota", name)["status"].get("used") or {}
    return used.get("limits.memory")


def _read_until(terminal: int, text: str) -> None:
    shown, deadline = "", time.monotonic() + 40
    while text not in shown:
        left = max(0.0, deadline - time.monotonic())
        assert select.select([terminal], [], [], left)[0], f"{text!r} is not in {shown!r}"
        shown += os.read(terminal, 4096).decode()


def _inside(user: User, name: str, command: str) -> str:
    return user.kubectl("exec", name, "--", "sh", "-c", f"{command} 2>/dev/null", check=False)


def test_a_change_that_is_taken_back_at_once_is_observed(user: User) -> None:
    user.apply(pod("undecided", cluster=KWOK, activeDeadlineSeconds=5000))
    user.wait_phase("undecided", "Running")
    for image in ("busybox:1.37", "busybox:1.36") * 3:
        user.kubectl("set", "image", "pod/undecided", f"main=docker.io/library/{image}")
    seen = settled(user, "undecided")
    assert seen["metadata"]["generation"] == 7


def test_a_change_that_stays_in_the_tenant_is_observed_too(user: User) -> None:
    user.apply(pod("tolerant", cluster=KWOK))
    tolerations = user.wait_phase("tolerant", "Running")["spec"]["tolerations"]
    more = [*tolerations, {"key": "example.com/x", "operator": "Exists"}]
    user.kubectl("patch", "pod", "tolerant", "-p", json.dumps({"spec": {"tolerations": more}}))
    assert settled(user, "tolerant")["status"]["observedGeneration"] == 2


def test_a_change_that_the_compute_side_refuses_holds_no_other_up(
    user: User, federation: Federation
) -> None:
    """A policy below allows one image only."""
    compute = federation.computes[KWOK]
    below = User(compute, BELOW)
    user.apply(pod("guarded", cluster=KWOK))
    user.wait_phase("guarded", "Running")
    compute.kubectl("apply", "-f", "-", input=json.dumps(_only_busybox()))
    try:
        until(lambda: "only busybox" in _try_nginx(below), "the policy acts")
        user.kubectl("set", "image", "pod/guarded", "main=docker.io/library/nginx:1")
        user.kubectl("label", "pod", "guarded", "stage=two")
        until(
            lambda: below.get("pod", "guarded")["metadata"]["labels"].get("stage") == "two",
            "the label travels",
        )
        image = below.get("pod", "guarded")["spec"]["containers"][0]["image"]
        assert image == IMAGE
        assert user.event_reasons("guarded")["UpdateRejected"] == 1
    finally:
        compute.kubectl("delete", "-f", "-", input=json.dumps(_only_busybox()))
    user.kubectl("set", "image", "pod/guarded", "main=docker.io/library/busybox:1.37")
    until(
        lambda: below.get("pod", "guarded")["spec"]["containers"][0]["image"].endswith("1.37"),
        "the next image travels",
    )


def _try_nginx(below: User) -> str:
    args = ("run", "probe", "--image=nginx", "--dry-run=server", "--restart=Never")
    return below.kubectl(*args, check=False)


def _only_busybox() -> Any:
    group = "admissionregistration.k8s.io/v1"
    rule = {
        "apiGroups": [""],
        "apiVersions": ["v1"],
        "operations": ["CREATE", "UPDATE"],
        "resources": ["pods"],
    }
    policy = {
        "apiVersion": group,
        "kind": "ValidatingAdmissionPolicy",
        "metadata": {"name": "only-busybox"},
        "spec": {
            "matchConstraints": {"resourceRules": [rule]},
            "validations": [
                {
                    "expression": "object.spec.containers.all(c, c.image.contains('busybox'))",
                    "message": "only busybox is allowed here",
                }
            ],
        },
    }
    selector = {"matchLabels": {"kubernetes.io/metadata.name": BELOW}}
    binding = {
        "apiVersion": group,
        "kind": "ValidatingAdmissionPolicyBinding",
        "metadata": {"name": "only-busybox"},
        "spec": {
            "policyName": "only-busybox",
            "validationActions": ["Deny"],
            "matchResources": {"namespaceSelector": selector},
        },
    }
    return {"apiVersion": "v1", "kind": "List", "items": [policy, binding]}
