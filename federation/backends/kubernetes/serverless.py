"""What ECI's virtual nodes say of a pod, in a kubelet's words. Pure.

In: a PodStatus that Alibaba Cloud's virtual kubelet has written (ACK, ASK). Out: why the pod waits
for its instance; and the status as a kubelet would word it:

    ContainerInstanceCreated=False           it has no place yet: reason NoStock, StockExhaust, ...
    ContainerInstanceExpired=True, or
      ContainerInstanceCreated, reason
      SpotToBeReleased                       DisruptionTarget: it goes in minutes
    phase Failed, reason BidFailed           the spot instance was taken back: Evicted,
                                             DisruptionTarget, containers that ran end with 137
    reason ContainerInstanceScheduleFailed   fail-fast, ECI does not try again: the pod waits with
                                             that reason. It is not called Failed: a successor
                                             could run beside a copy that starts after all
    phase Pending, reason ProviderFailed     ECI took no order for it (quota, wrong parameters): it
                                             has no place, and waits with that reason
    phase Pending while SandboxReady=False   a running pod whose instance is restarted. A kubelet's
      for a reboot, or reason                phases never go back: Running, not ready
      SystemFailureReboot

Other statuses come out as they are. Sources (alibabacloud.com/help): "Custom conditions of Elastic
Container Instance-based pods", "Lifecycle of a pod", "Configure a fault handling policy for a pod",
"Create a preemptible elastic container instance"; for ProviderFailed virtual-kubelet's
node/pod.go, handleProviderError. None of it was seen live.
"""

import re
from dataclasses import dataclass

import msgspec

from vnode.backend import WaitingReason
from vnode.kube.types import JSONObject, object_in, objects_in

__all__ = ["Told", "blot", "tell"]

_CREATED = "ContainerInstanceCreated"
_EXPIRES = "ContainerInstanceExpired"
_SANDBOX = "SandboxReady"
_NOT_TAKEN = "ProviderFailed"
_TAKEN_BACK = "BidFailed"
_LEAVES = "SpotToBeReleased"
_REBOOTS = "SystemFailureReboot"
_RESTARTS = ("SystemFailure.Reboot", "InstanceFailure.Reboot", "SystemFailure.Redeploy")
_SPEAKS = tuple(word.encode() for word in (_CREATED, _EXPIRES, _SANDBOX, _TAKEN_BACK, _NOT_TAKEN))
_RELEASED = "The spot instance of the pod is about to be taken back"
_KILLED = 137
_CLOUD_NAMES = re.compile(r"\b(?:eci|vsw|sg|vpc|eni|imc|acs)-[0-9a-z]{14,24}\b")
"""Names of the platform's own resources: nobody's business above."""


@dataclass(frozen=True, slots=True)
class Told:
    """A status in a kubelet's words."""

    status: bytes
    waiting: WaitingReason | None = None
    """Why it has no instance yet."""


def tell(status: bytes) -> Told:
    """Read what ECI says. Other clusters' statuses cost a search for a few words."""
    if not any(word in status for word in _SPEAKS):
        return Told(status)
    said = object_in(msgspec.json.decode(status))
    conditions = {str(c.get("type")): c for c in objects_in(said.get("conditions"))}
    created = conditions.get(_CREATED, {})
    if message := said.get("message"):
        said["message"] = blot(str(message))
    if said.get("phase") == "Pending" and _restarts(conditions):
        said["phase"] = "Running"
    waiting = _waiting(said, created) if said.get("phase") in ("Pending", "Failed") else None
    if waiting is not None:
        said["message"] = said.get("message") or waiting.message
    if said.get("phase") == "Failed" and said.get("reason") == _TAKEN_BACK:
        _take_back(said)
        _disrupt(said, conditions, _TAKEN_BACK, str(said["message"]))
    elif _reason(created) == _LEAVES:
        _disrupt(said, conditions, _LEAVES, _message(created, _RELEASED))
    elif conditions.get(_EXPIRES, {}).get("status") == "True":
        _disrupt(said, conditions, _LEAVES, _message(conditions[_EXPIRES], _RELEASED))
    return Told(msgspec.json.encode(said), waiting)


def _waiting(said: JSONObject, created: JSONObject) -> WaitingReason | None:
    """Why a pod that waits has no instance, or one that failed never had."""
    if created.get("status") == "False":
        return WaitingReason(_reason(created), _message(created))
    if said.get("reason") == _NOT_TAKEN:
        return WaitingReason(_NOT_TAKEN, str(said.get("message") or "no instance was ordered"))
    return None


def _restarts(conditions: dict[str, JSONObject]) -> bool:
    """Whether a pod that had its instance is between two lives of it."""
    created, sandbox = conditions.get(_CREATED, {}), conditions.get(_SANDBOX, {})
    if created.get("reason") == _REBOOTS:
        return True
    return sandbox.get("status") == "False" and sandbox.get("reason") in _RESTARTS


def blot(text: str) -> str:
    """A text of ECI without the names of the platform's own resources.

    What its pages show ends in a place for details that was left empty.
    """
    return _CLOUD_NAMES.sub("…", text).removesuffix(" %s")


def _take_back(said: JSONObject) -> None:
    """A reclaimed spot instance leaves its containers as they were last seen: they ended."""
    said["reason"], said["message"] = "Evicted", "The spot instance of the pod was taken back"
    for kind in ("initContainerStatuses", "containerStatuses"):
        for container in objects_in(said.get(kind)):
            running = object_in(container.get("state")).get("running")
            if running is None:
                continue
            ended: JSONObject = {
                "exitCode": _KILLED,
                "reason": "ContainerStatusUnknown",
                "message": "The container went with its spot instance",
                "startedAt": object_in(running).get("startedAt"),
            }
            if container.get("containerID"):
                ended["containerID"] = container["containerID"]
            container.update(state={"terminated": ended}, ready=False, started=False)
    for condition in objects_in(said.get("conditions")):
        if condition.get("type") in ("Ready", "ContainersReady"):
            condition.update(status="False", reason="PodFailed")
            condition.pop("lastTransitionTime", None)


def _disrupt(
    said: JSONObject, conditions: dict[str, JSONObject], reason: str, message: str
) -> None:
    if conditions.get("DisruptionTarget", {}).get("status") == "True":
        return
    others = [c for c in objects_in(said.get("conditions")) if c.get("type") != "DisruptionTarget"]
    target: JSONObject = {
        "type": "DisruptionTarget",
        "status": "True",
        "reason": reason,
        "message": message,
    }
    said["conditions"] = [*others, target]


def _reason(created: JSONObject) -> str:
    """`ContainerGroup.NoStock` and `NoStock` are both seen in the documentation."""
    return str(created.get("reason") or "").rpartition(".")[2] or "Creating"


def _message(condition: JSONObject, otherwise: str = "waiting for an instance") -> str:
    return blot(str(condition.get("message") or "")) or otherwise
