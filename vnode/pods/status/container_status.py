"""ContainerStatuses of a pod: which of a copy's are shown, and how they end. Pure.

In: ContainerStatus objects as kubelets below write them. Out: those that the tenant pod knows, as
its API server takes them; the phase that follows from them; the final states of a pod that went
without having ended, as a kubelet leaves them (pkg/kubelet/status, TerminatePod).
"""

import msgspec

from vnode.kube.types import JSONObject, Pod, object_in, objects_in
from vnode.pods.status import asked_for
from vnode.pods.view import PodView

_KILLED = 137
_REMOVED = "The container was removed together with its pod"


class _InitContainer(msgspec.Struct, frozen=True, rename="camel"):
    name: str = ""
    restart_policy: str = ""


class _InitContainers(msgspec.Struct, frozen=True, rename="camel"):
    init_containers: list[_InitContainer] = []


def known(statuses: list[JSONObject], pod: Pod, seen: PodView) -> list[JSONObject]:
    """The statuses of the tenant's containers, without what was added to these below."""
    return asked_for.containers([s for s in statuses if s.get("name") in seen.containers], pod)


def phase(below: JSONObject, seen: PodView) -> str:
    """The copy's phase; judged by the known containers alone where something was injected."""
    now = str(below.get("phase") or "Pending")
    states = objects_in(below.get("containerStatuses"))
    ours = [c for c in states if c.get("name") in seen.containers]
    if len(ours) == len(states) or not ours or now == "Succeeded":
        return now
    if now == "Failed" and below.get("reason"):
        return now  # It failed as a whole: evicted, out of time.
    codes = [_exit_code(c) for c in ours]
    if any(code is None for code in codes) or seen.restart_policy == "Always":
        return now
    if all(code == 0 for code in codes):
        return "Succeeded"
    return "Failed" if seen.restart_policy == "Never" else now


def ended(
    status: JSONObject, pod: Pod, *, asked: str, now: str, message: str = _REMOVED
) -> JSONObject:
    """The container lists of a pod status after the copy went, by name of the list.

    What never started stays waiting: containers behind an init container that was not through.

    Args:
        status: the last status that was known.
        pod: the tenant pod.
        asked: RFC 3339 time at which the removal was asked for.
        now: RFC 3339 time.
        message: what became of the containers.
    """
    init = objects_in(status.get("initContainerStatuses"))
    main = objects_in(status.get("containerStatuses"))
    began = _began(init)
    through = _is_initialized(init, main, _init_containers(pod))
    return {
        "initContainerStatuses": [
            _terminated(c, asked, now, message) if index < began else c
            for index, c in enumerate(init)
        ],
        "containerStatuses": [_terminated(c, asked, now, message) if through else c for c in main],
        "ephemeralContainerStatuses": [
            _terminated(c, asked, now, message)
            for c in objects_in(status.get("ephemeralContainerStatuses"))
        ],
    }


def not_started(name: str, reason: str, message: str) -> JSONObject:
    """A container that waits, and why."""
    return {
        "name": name,
        "image": "",
        "imageID": "",
        "ready": False,
        "restartCount": 0,
        "started": False,
        "state": {"waiting": {"reason": reason, "message": message}},
    }


def _began(init: list[JSONObject]) -> int:
    """How many init containers were tried to be started: at least the first."""
    for index in range(len(init) - 1, -1, -1):
        if _ever_ran(init[index]):
            return index + 1
    return 1


def _is_initialized(
    init: list[JSONObject], main: list[JSONObject], wanted: list[_InitContainer]
) -> bool:
    """Whether the main containers' turn had come."""
    if not wanted or any(_ever_ran(c) for c in main):
        return True
    last = next((c for c in init if c.get("name") == wanted[-1].name), {})
    state = object_in(last.get("state"))
    if wanted[-1].restart_policy == "Always":
        return "running" in state and last.get("started") is True
    ends = (state, object_in(last.get("lastState")))
    return any(object_in(end.get("terminated")).get("exitCode") == 0 for end in ends)


def _ever_ran(status: JSONObject) -> bool:
    waits = "waiting" in object_in(status.get("state"))
    return not waits or "terminated" in object_in(status.get("lastState"))


def _terminated(container: JSONObject, asked: str, now: str, message: str) -> JSONObject:
    """A container that ended with its copy: exit code 137, unless it had ended before."""
    state = object_in(container.get("state"))
    before = object_in(state.get("terminated"))
    if before and str(before.get("finishedAt") or "") < asked:
        return container
    ended: JSONObject = {
        "exitCode": _KILLED,
        "reason": "ContainerStatusUnknown",
        "message": message,
    }
    if started := object_in(state.get("running")).get("startedAt") or before.get("startedAt"):
        ended["startedAt"] = started
        ended["finishedAt"] = before.get("finishedAt") or now
    if container.get("containerID"):
        ended["containerID"] = container["containerID"]
    return {**container, "ready": False, "started": False, "state": {"terminated": ended}}


def _exit_code(container: JSONObject) -> int | None:
    state = object_in(container.get("state"))
    code = object_in(state.get("terminated")).get("exitCode") if "terminated" in state else None
    return code if isinstance(code, int) else None


def _init_containers(pod: Pod) -> list[_InitContainer]:
    return msgspec.json.decode(pod.spec, type=_InitContainers).init_containers
