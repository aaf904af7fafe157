"""What ECI writes on the pods of its virtual nodes, as its documentation shows it.

In: pods of a compute cluster; a test says what becomes of each. Out: the conditions
ContainerInstanceCreated and SandboxReady, annotations and status.reason, in status and metadata.
Real nodes run the containers: a kubelet leaves conditions of others alone. Pods that shall never
run are bound to a node that does not exist as a machine (`PHANTOM`), and get all their status here.

Sources: "Custom conditions of ECI-based pods", "Configure a fault handling policy for a pod",
"Create a preemptible instance", "ECI Pod Annotation" (alibabacloud.com/help). Not seen live.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from tests.clusters.api import AdminClient

PHANTOM = "virtual-kubelet-cn-test-a"
LABELS = {"type": "virtual-kubelet", "alibabacloud.com/virtual-node": "true"}
TAINT = {"key": "virtual-kubelet.io/provider", "value": "alibabacloud", "effect": "NoSchedule"}
_INSTANCE = {
    "k8s.aliyun.com/eci-instance-id": "eci-test0000000000000001",
    "k8s.aliyun.com/eci-instance-spec": "2.0-4.0Gi",
}


class EciNodes:
    """Writes as ECI's virtual kubelet would."""

    def __init__(self, client: Callable[[], AdminClient]) -> None:
        """`client`: makes connections with all rights (`ControlPlane.client`)."""
        self._client = client

    def adopt(self, node: str) -> None:
        """Make a real node look like a virtual one of ECI."""
        with self._client() as api:
            api.patch(f"/api/v1/nodes/{node}", _looks())

    def add_phantom(self) -> None:
        """A node without a machine, on which pods wait for what a test says."""
        body = {"metadata": {"name": PHANTOM, "labels": LABELS}, "spec": {"taints": [TAINT]}}
        ready = {"type": "Ready", "status": "True", "reason": "KubeletReady"}
        room = {"cpu": "1000", "memory": "4Ti", "pods": "1000", "nvidia.com/gpu": "100"}
        status = {"capacity": room, "allocatable": room, "conditions": [ready]}
        with self._client() as api:
            api.create("/api/v1/nodes", body)
            api.patch(f"/api/v1/nodes/{PHANTOM}/status", {"status": status})

    def beat(self) -> None:
        """The phantom is alive: to be called at least every 40 s, or it becomes NotReady."""
        ready = {"type": "Ready", "status": "True", "lastHeartbeatTime": _now()}
        with self._client() as api:
            path = f"/api/v1/nodes/{PHANTOM}/status"
            api.patch(path, {"status": {"conditions": [ready]}})

    def creating(self, namespace: str, name: str) -> None:
        """The instance is being created."""
        self._say(namespace, name, _created("False", "Creating", "Creating"), phase="Pending")

    def no_stock(self, namespace: str, name: str, *, fail_fast: bool = False) -> None:
        """Sold out; ECI goes on trying, unless `fail_fast`."""
        text = "Create ECI failed because the specified instance is out of stock. %s"
        self.tell(namespace, name, "NoStock", text)
        status: dict[str, Any] = {"phase": "Pending"}
        if fail_fast:
            status["reason"] = "ContainerInstanceScheduleFailed"
        self._say(namespace, name, _created("False", "ContainerGroup.NoStock", text), **status)

    def takes_no_order(
        self, namespace: str, name: str, code: str, message: str, *, for_good: bool = False
    ) -> None:
        """The API refuses the order: quota, wrong parameters. `for_good`: restartPolicy Never."""
        text = f"SDK.ServerError\nErrorCode: {code}\nMessage: {message}"
        phase = "Failed" if for_good else "Pending"
        self.tell(
            namespace, name, "ProviderInvokeFailed", text, by="virtual-kubelet/pod-controller"
        )
        self._say(namespace, name, phase=phase, reason="ProviderFailed", message=text)

    def waits(self, namespace: str, name: str, reason: str, text: str) -> None:
        """ECI has taken the order and has no instance yet."""
        self.tell(namespace, name, reason, text)
        self._say(namespace, name, _created("False", reason, text), phase="Pending")

    def running(self, namespace: str, name: str, container: str) -> None:
        """The instance runs; its annotations say what is paid for."""
        now = _now()
        state = {
            "name": container,
            "image": "busybox",
            "imageID": "",
            "ready": True,
            "started": True,
            "restartCount": 0,
            "containerID": "containerd://0",
            "state": {"running": {"startedAt": now}},
        }
        self.note_instance(namespace, name)
        self._say(
            namespace,
            name,
            _created("True", "", ""),
            _condition("SandboxReady", "True"),
            _condition("Initialized", "True"),
            _condition("ContainersReady", "True"),
            _condition("Ready", "True"),
            phase="Running",
            reason=None,
            message=None,
            startTime=now,
            podIP="192.168.7.7",
            podIPs=[{"ip": "192.168.7.7"}],
            containerStatuses=[state],
        )

    def note_instance(self, namespace: str, name: str) -> None:
        """The annotations that ECI adds to a pod, and the conditions of one that runs."""
        with self._client() as api:
            api.patch(_pod(namespace, name), {"metadata": {"annotations": _INSTANCE}})

    def spot_to_be_released(self, namespace: str, name: str) -> None:
        """Three minutes before a spot instance goes."""
        text = "Spot ECI will be released in 3 minutes"
        self.tell(namespace, name, "SpotToBeReleased", text)
        expires = _condition("ContainerInstanceExpired", "True")
        self._say(namespace, name, _created("True", "SpotToBeReleased", text), expires)

    def evict(self, namespace: str, name: str) -> None:
        """What eci-spot-release-strategy api-evict does then; the pod goes when `gone` says so."""
        body = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": name}}
        with self._client() as api:
            api.create(f"{_pod(namespace, name)}/eviction", body)

    def gone(self, namespace: str, name: str) -> None:
        """The instance of a pod that is being deleted has ended."""
        with self._client() as api:
            api.delete(f"{_pod(namespace, name)}?gracePeriodSeconds=0")

    def restarts(self, namespace: str, name: str, container: str) -> None:
        """The machine under an instance failed; it comes again with `running`."""
        waiting = {"waiting": {"reason": "ContainerCreating"}}
        state = {
            "name": container,
            "image": "busybox",
            "imageID": "",
            "ready": False,
            "restartCount": 0,
            "state": waiting,
        }
        text = "The Specified ContainerGroup is rebooting"
        self.tell(namespace, name, "SystemFailureReboot", text)
        self._say(
            namespace,
            name,
            _condition("SandboxReady", "False", "SystemFailure.Reboot", text),
            _condition("ContainersReady", "False"),
            _condition("Ready", "False"),
            phase="Pending",
            containerStatuses=[state],
        )

    def bid_failed(self, namespace: str, name: str) -> None:
        """It went: the record stays, with containers as they were last seen."""
        text = "The pod is spot instance, and have been released at 2026-04-08T12:36Z"
        self._say(namespace, name, phase="Failed", reason="BidFailed", message=text)

    def tell(
        self, namespace: str, name: str, reason: str, text: str, *, by: str = "kubelet"
    ) -> None:
        """An event about a pod."""
        with self._client() as api:
            uid = api.get(_pod(namespace, name))["metadata"]["uid"]
            now = _now()
            body = {
                "metadata": {"generateName": f"{name}."},
                "involvedObject": {
                    "apiVersion": "v1",
                    "kind": "Pod",
                    "namespace": namespace,
                    "name": name,
                    "uid": uid,
                },
                "type": "Warning",
                "reason": reason,
                "message": text,
                "source": {"component": by, "host": "eci"},
                "firstTimestamp": now,
                "lastTimestamp": now,
                "count": 1,
            }
            api.create(f"/api/v1/namespaces/{namespace}/events", body)

    def _say(
        self, namespace: str, name: str, *conditions: Mapping[str, Any], **status: Any
    ) -> None:
        body = {"status": {**status, "conditions": list(conditions)}}
        with self._client() as api:
            api.patch(f"{_pod(namespace, name)}/status", body)


def _looks() -> dict[str, Any]:
    return {"metadata": {"labels": LABELS}, "spec": {"taints": [TAINT]}}


def _created(status: str, reason: str, message: str) -> dict[str, Any]:
    return _condition("ContainerInstanceCreated", status, reason, message)


def _condition(kind: str, status: str, reason: str = "", message: str = "") -> dict[str, Any]:
    said = {"reason": reason, "message": message} if reason else {}
    return {"type": kind, "status": status, "lastTransitionTime": _now(), **said}


def _pod(namespace: str, name: str) -> str:
    return f"/api/v1/namespaces/{namespace}/pods/{name}"


def _now() -> str:
    return datetime.now(tz=UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
