"""A group as the actions show it, in the spelling of the official SDK's models."""

from typing import Any

from tests.eci.containers import Container, Ended
from tests.eci.groups import Group, rfc3339
from tests.eci.lifecycle import FINAL, Event

_PHASES = {
    "Succeeded": "Succeeded",
    "Failed": "Failed",
    "ScheduleFailed": "Failed",
    "Expired": "Failed",
    "Running": "Running",
}
_SHOWN_EVENTS = 50


def shown_status(group: Group, now: float) -> dict[str, Any]:
    """One item of DescribeContainerGroupStatus. Init containers are in none, as in the SDK's."""
    status = group.status(now)
    life = group.life
    phase = _PHASES.get(status, "Pending")
    if status in {"Terminating", "Restarting"} and any(one.running for one in life.containers):
        phase = "Running"
    pod: dict[str, Any] = {
        "Phase": phase,
        "Conditions": _conditions(group),
        "ContainerStatuses": [_status(group, container) for container in life.containers],
        "QosClass": "Guaranteed",
    }
    if life.placed is not None:
        address = group.address
        pod |= {"PodIp": address, "HostIp": address, "PodIps": [{"Ip": address}]}
        pod["StartTime"] = rfc3339(life.placed)
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
    status, at, life = group.status(now), rfc3339(group.step(now).at), group.life
    shown: dict[str, Any] = {
        "ContainerGroupId": group.id,
        "ContainerGroupName": group.asked["ContainerGroupName"],
        "RegionId": group.asked.get("RegionId", ""),
        "ZoneId": group.zone,
        "Status": status,
        "Cpu": group.bought.cpu,
        "Memory": group.bought.memory,
        "InstanceType": group.bought.type,
        "SpotStrategy": group.asked.get("SpotStrategy", "NoSpot"),
        "RestartPolicy": group.asked.get("RestartPolicy", "Always"),
        "CreationTime": rfc3339(group.created),
        "Tags": [{"Key": key, "Value": value} for key, value in group.tags.items()],
        "Containers": [_shown(container) for container in life.containers],
        "InitContainers": [_shown(container) for container in life.inits],
    }
    if life.placed is not None:
        shown["IntranetIp"] = group.address
    if status in {"Succeeded", "Failed", "Expired"}:
        shown[f"{status}Time"] = at
    if events:
        shown["Events"] = [
            {"Name": f"{group.asked['ContainerGroupName']}.{number:x}", **_event(event)}
            for number, event in enumerate(life.events[-_SHOWN_EVENTS:])
        ]
    return shown


def shown_events(group: Group, *, since: float, source: str) -> dict[str, Any]:
    """One item of DescribeContainerGroupEvents: the newest fifty."""
    name = group.asked["ContainerGroupName"]
    found = [e for e in group.life.events if e.at >= since and source in {"", e.source}]
    involved = {"Kind": "Pod", "Name": name, "Namespace": "default", "Uid": group.id}
    return {
        "ContainerGroupId": group.id,
        "Name": name,
        "Namespace": "default",
        "uuid": group.uid,
        "Events": [
            {
                **_event(event),
                "Source": {"Component": event.source, "Host": "eci"},
                "involvedObject": {**involved, "ApiVersion": "v1"},
                "Metadata": {"Name": f"{name}.{number:x}", "Namespace": "default"},
            }
            for number, event in enumerate(found[-_SHOWN_EVENTS:])
        ],
    }


def _event(event: Event) -> dict[str, Any]:
    return {
        "Type": event.type,
        "Reason": event.reason,
        "Message": event.message,
        "Count": 1,
        "FirstTimestamp": rfc3339(event.at),
        "LastTimestamp": rfc3339(event.at),
    }


def _conditions(group: Group) -> list[dict[str, Any]]:
    life = group.life
    containers = life.containers
    began = any(one.attempt for one in life.everyone)
    ready = life.status not in FINAL and all(one.running and one.ready for one in containers)
    initialized = all(one.ended and one.ended.exit_code == 0 for one in life.inits)
    made = life.placed is not None
    why = "" if made else life.step.reason or "Creating"
    facts = [
        ("ContainerInstanceCreated", made, why),
        ("SandboxReady", began and life.status not in FINAL, ""),
        ("Initialized", made and initialized, "" if initialized else "ContainersNotInitialized"),
        ("Ready", ready, "" if ready else life.step.reason or "ContainersNotReady"),
        ("ContainersReady", ready, "" if ready else "ContainersNotReady"),
        ("PodScheduled", made, ""),
    ]
    at = rfc3339(life.changed)
    return [
        {
            "type": kind,
            "status": "True" if holds else "False",
            "lastTransitionTime": at,
            "Reason": reason,
            "Message": "",
        }
        for kind, holds, reason in facts
    ]


def _status(group: Group, container: Container) -> dict[str, Any]:
    if container.started is not None:
        state: dict[str, Any] = {"Running": {"StartedAt": rfc3339(container.started)}}
    elif container.ended is not None and not container.waiting:
        state = {"Terminated": _terminated(group, container, container.ended)}
    else:
        state = {
            "Waiting": {"Reason": _waits(group, container), "Message": container.waiting_message}
        }
    last = container.previous
    if container.waiting and container.ended:
        last = container.ended
    return {
        "Name": container.name,
        "Image": container.asked["Image"],
        "ImageID": "",
        "Ready": container.ready,
        "Started": container.running,
        "RestartCount": container.restarts,
        "State": state,
        "LastState": {"Terminated": _terminated(group, container, last)} if last else {},
    }


def _waits(group: Group, container: Container) -> str:
    if container.attempt or container.waiting != "ContainerCreating":
        return container.waiting
    if group.life.step.reason:
        return group.life.step.reason
    starting = any(one.attempt for one in group.life.inits)
    return "PodInitializing" if starting else container.waiting


def _terminated(group: Group, container: Container, ended: Ended) -> dict[str, Any]:
    return {
        "ContainerID": f"containerd://{group.uid}-{container.name}-{container.attempt}",
        "ExitCode": ended.exit_code,
        "Reason": ended.reason,
        "Message": ended.message,
        "StartedAt": rfc3339(ended.started),
        "FinishedAt": rfc3339(ended.finished),
    }


def _shown(container: Container) -> dict[str, Any]:
    hidden = container.asked.get("EnvironmentVarHide", "").lower() == "true"
    variables = [] if hidden else list(container.environment.items())
    if container.started is not None:
        now: dict[str, Any] = {"State": "Running", "StartTime": rfc3339(container.started)}
    elif container.ended is not None and not container.waiting:
        now = _past(container.ended)
    else:
        now = {"State": "Waiting", "Reason": container.waiting}
    last = container.ended if container.waiting and container.ended else container.previous
    return {
        "Name": container.name,
        "Image": container.asked["Image"],
        "Cpu": float(container.asked.get("Cpu", 0)),
        "Memory": float(container.asked.get("Memory", 0)),
        "Gpu": int(container.asked.get("Gpu", 0)),
        "Ready": container.ready,
        "RestartCount": container.restarts,
        "EnvironmentVars": [{"Key": key, "Value": value} for key, value in variables],
        "CurrentState": now,
        "PreviousState": _past(last) if last else {},
    }


def _past(ended: Ended) -> dict[str, Any]:
    return {
        "State": "Terminated",
        "ExitCode": ended.exit_code,
        "Reason": ended.reason,
        "Message": ended.message,
        "StartTime": rfc3339(ended.started),
        "FinishTime": rfc3339(ended.finished),
    }
