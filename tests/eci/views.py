"""A group as the actions show it, in the spelling of the official SDK's models."""

from typing import Any

from tests.eci.groups import FINAL, Group, rfc3339

_PHASES = {
    "Succeeded": "Succeeded",
    "Failed": "Failed",
    "ScheduleFailed": "Failed",
    "Expired": "Failed",
    "Running": "Running",
}


def shown_status(group: Group, now: float) -> dict[str, Any]:
    """One item of DescribeContainerGroupStatus."""
    status = group.status(now)
    started = group.started(now)
    ready = "True" if status == "Running" else "False"
    pod: dict[str, Any] = {
        "Phase": _PHASES.get(status, "Pending"),
        "Conditions": [
            {
                "type": "Ready",
                "status": ready,
                "lastTransitionTime": rfc3339(group.step(now).at),
                "Reason": group.step(now).reason,
                "Message": "",
            }
        ],
        "ContainerStatuses": [
            _container(group, container, now) for container in group.asked["Container"]
        ],
    }
    if started is not None:
        pod |= {"PodIp": _address(group), "HostIp": _address(group), "StartTime": rfc3339(started)}
        pod["PodIps"] = [{"Ip": _address(group)}]
    return {
        "ContainerGroupId": group.id,
        "Name": group.asked["ContainerGroupName"],
        "Namespace": "default",
        "uuid": group.uid,
        "Status": status,
        "PodStatus": pod,
    }


def shown_group(group: Group, now: float, *, events: bool) -> dict[str, Any]:
    """One item of DescribeContainerGroups."""
    status, at = group.status(now), rfc3339(group.step(now).at)
    shown: dict[str, Any] = {
        "ContainerGroupId": group.id,
        "ContainerGroupName": group.asked["ContainerGroupName"],
        "RegionId": group.asked["RegionId"],
        "Status": status,
        "Cpu": group.cpu,
        "InstanceType": group.asked.get("InstanceType", ""),
        "SpotStrategy": group.asked.get("SpotStrategy", "NoSpot"),
        "RestartPolicy": group.asked.get("RestartPolicy", "Always"),
        "CreationTime": rfc3339(group.created),
        "Tags": [{"Key": key, "Value": value} for key, value in group.tags.items()],
        "Containers": [
            {
                "Name": container["Name"],
                "Image": container["Image"],
                "Ready": status == "Running",
                "RestartCount": group.restarts,
                "CurrentState": _current(group, now),
            }
            for container in group.asked["Container"]
        ],
    }
    if group.started(now) is not None:
        shown["IntranetIp"] = _address(group)
    if status in {"Succeeded", "Failed", "Expired"}:
        shown[f"{status}Time"] = at
    if events:
        shown["Events"] = _events(group, now)
    return shown


def shown_events(group: Group, now: float, *, since: float) -> dict[str, Any]:
    """One item of DescribeContainerGroupEvents."""
    return {
        "ContainerGroupId": group.id,
        "Name": group.asked["ContainerGroupName"],
        "Namespace": "default",
        "uuid": group.uid,
        "Events": [event for at, event in _timed_events(group, now) if at >= since],
    }


def _events(group: Group, now: float) -> list[dict[str, Any]]:
    return [event for _, event in _timed_events(group, now)]


def _timed_events(group: Group, now: float) -> list[tuple[float, dict[str, Any]]]:
    return [
        (
            step.at,
            {
                "Type": "Warning",
                "Reason": step.reason,
                "Message": f"{step.reason} of {group.id}",
                "Count": 1,
                "FirstTimestamp": rfc3339(step.at),
                "LastTimestamp": rfc3339(step.at),
            },
        )
        for step in group.events
        if step.at <= now
    ]


def _container(group: Group, container: dict[str, Any], now: float) -> dict[str, Any]:
    running = group.status(now) == "Running"
    return {
        "Name": container["Name"],
        "Image": container["Image"],
        "ImageID": "",
        "Ready": running,
        "Started": running,
        "RestartCount": group.restarts,
        "State": _state(group, now),
        "LastState": {},
    }


def _state(group: Group, now: float) -> dict[str, Any]:
    started, step = group.started(now), group.step(now)
    if started is None:
        return {"Waiting": {"Reason": step.reason or "ContainerCreating", "Message": ""}}
    if step.status in FINAL:
        ended: dict[str, Any] = {
            "ExitCode": _exit_code(group, step.status),
            "Reason": "Completed" if step.status == "Succeeded" else "Error",
            "StartedAt": rfc3339(started),
            "FinishedAt": rfc3339(step.at),
        }
        return {"Terminated": ended}
    return {"Running": {"StartedAt": rfc3339(started)}}


def _current(group: Group, now: float) -> dict[str, Any]:
    state = _state(group, now)
    if "Waiting" in state:
        return {"State": "Waiting", **state["Waiting"]}
    if "Running" in state:
        return {"State": "Running", "StartTime": state["Running"]["StartedAt"]}
    ended = state["Terminated"]
    return {
        "State": "Terminated",
        "ExitCode": ended["ExitCode"],
        "Reason": ended["Reason"],
        "StartTime": ended["StartedAt"],
        "FinishTime": ended["FinishedAt"],
    }


def _exit_code(group: Group, status: str) -> int:
    return 137 if status == "Expired" else group.fate.exit_code


def _address(group: Group) -> str:
    number = int(group.id.removeprefix("eci-"), 16)
    return f"10.0.{number // 250 % 250}.{number % 250 + 1}"
