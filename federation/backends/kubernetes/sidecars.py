"""Containers of a copy that somebody else put in, such as Fluid's sidecars. Pure.

In: a pod below. Out: the names of its containers that the tenant did not ask for; its status as if
these were not there, in a kubelet's words (pkg/kubelet, getPhase and pkg/kubelet/status/generate);
whether everything of the tenant's in it has ended. What we sent is known by a mark on the copy that
lists our containers; where somebody has spoilt that, nothing counts as put in.
"""

import msgspec

from federation.backends.kubernetes.translate.fingerprints import from_mark
from federation.backends.kubernetes.translate.names import ANNOTATION_ENDED, ANNOTATION_IMAGES
from vnode.kube.types import JSON, JSONObject, ObjectMeta, Pod, object_in, objects_in

MAIN, INIT = "containerStatuses", "initContainerStatuses"
_STARTING = frozenset({"", "ContainerCreating", "PodInitializing"})
"""Why containers wait that nothing is wrong with."""


class _Named(msgspec.Struct, frozen=True):
    name: str = ""


class _Lists(msgspec.Struct, frozen=True, rename="camel"):
    containers: list[_Named] = []
    init_containers: list[_Named] = []


class _ExitCodes(msgspec.Struct, frozen=True):
    operator: str = ""
    values: list[int] = []


class _Rule(msgspec.Struct, frozen=True, rename="camel"):
    exit_codes: _ExitCodes = _ExitCodes()


class _Container(msgspec.Struct, frozen=True, rename="camel"):
    name: str = ""
    restart_policy: str = ""
    restart_policy_rules: list[_Rule] = []


class _Spec(msgspec.Struct, frozen=True, rename="camel"):
    restart_policy: str = "Always"
    containers: list[_Container] = []
    init_containers: list[_Container] = []

    def restarts(self, container: _Container, exit_code: int) -> bool:
        """Whether a kubelet starts it again (KEP-5307; pkg/api/v1/pod, ContainerShouldRestart)."""
        for rule in container.restart_policy_rules:
            if (exit_code in rule.exit_codes.values) == (rule.exit_codes.operator == "In"):
                return True
        policy = container.restart_policy or self.restart_policy
        return policy == "Always" or (policy == "OnFailure" and exit_code != 0)


_LISTS = msgspec.json.Decoder(_Lists)
_SPEC = msgspec.json.Decoder(_Spec)


def put_in(pod: Pod) -> frozenset[str]:
    """Names of the containers and init containers of a copy that the tenant did not ask for."""
    ours = from_mark(pod.metadata.annotations.get(ANNOTATION_IMAGES))
    if not ours:
        return frozenset()
    spec = _LISTS.decode(pod.spec)
    there = (container.name for container in (*spec.containers, *spec.init_containers))
    return frozenset(name for name in there if name not in ours)


def ended_by_us(metadata: ObjectMeta) -> bool:
    """Whether what was left of a copy was told to end, after all of the tenant's had."""
    return ANNOTATION_ENDED in metadata.annotations


def is_held_up(pod: Pod) -> bool:
    """Whether all of the tenant's in a copy has ended for good, and only others keep it running."""
    strange = put_in(pod)
    status = object_in(msgspec.json.decode(pod.status)) if strange else {}
    if status.get("phase") != "Running":
        return False
    return _exit_codes(_own_spec(pod, strange), status) is not None


def status_without(pod: Pod, strange: frozenset[str]) -> bytes:
    """The PodStatus of a copy without the containers of these names."""
    if not strange:
        return bytes(pod.status)
    spec, status = _own_spec(pod, strange), object_in(msgspec.json.decode(pod.status))
    others = [c for kind in (INIT, MAIN) for c in objects_in(status.get(kind))]
    for kind in (INIT, MAIN):
        if kind in status:
            status[kind] = [c for c in objects_in(status[kind]) if c.get("name") not in strange]
    if ended_by_us(pod.metadata) and status.get("phase") == "Failed":
        status = {k: v for k, v in status.items() if k not in ("reason", "message")}
    status["phase"] = _phase(spec, status)
    if not status.get("reason"):
        status.update(_trouble(status, [c for c in others if c.get("name") in strange]))
    status["conditions"] = _conditions(spec, status)
    return msgspec.json.encode(status)


def _own_spec(pod: Pod, strange: frozenset[str]) -> _Spec:
    spec = _SPEC.decode(pod.spec)
    return _Spec(
        restart_policy=spec.restart_policy,
        containers=[c for c in spec.containers if c.name not in strange],
        init_containers=[c for c in spec.init_containers if c.name not in strange],
    )


def _phase(spec: _Spec, status: JSONObject) -> str:
    now = str(status.get("phase") or "Pending")
    if now in ("Succeeded", "Unknown") or (now == "Failed" and status.get("reason")):
        return now  # Of the last: it failed as a whole, evicted or out of time.
    codes = _exit_codes(spec, status)
    natives = {c.name for c in spec.init_containers if c.restart_policy == "Always"}
    run_on = [c for c in objects_in(status.get(INIT)) if c.get("name") in natives and _runs(c)]
    if codes is not None and not (run_on and now != "Failed"):
        return "Failed" if any(codes) else "Succeeded"
    if now == "Failed":
        return now  # What was put in has kept it from starting.
    states = _by_name(status)
    began = all(name in states and _began(states[name]) for name in _names(spec.containers))
    return "Running" if began else "Pending"


def _exit_codes(spec: _Spec, status: JSONObject) -> list[int] | None:
    """Those of the tenant's containers; None: one may run, now or again."""
    states, codes = _by_name(status), []
    for container in spec.containers:
        code = _exit_code(states.get(container.name, {}))
        over = status.get("phase") == "Failed"  # Then nothing starts again.
        if code is None or (spec.restarts(container, code) and not over):
            return None
        codes.append(code)
    return codes or None


def _trouble(status: JSONObject, strange: list[JSONObject]) -> JSONObject:
    """Why a pod does not run that has nothing wrong of its own."""
    if status["phase"] == "Failed" and _ended_badly(strange) and not _any_failed(status):
        text = "a container that the compute cluster added to this pod has failed"
        return {"reason": "AddedContainerFailed", "message": text}
    for container in strange if status["phase"] == "Pending" else ():
        why = str(object_in(object_in(container.get("state")).get("waiting")).get("reason") or "")
        if why not in _STARTING:
            text = f"a container that the compute cluster added to this pod does not start: {why}"
            return {"reason": "AddedContainerWaiting", "message": text}
    return {}


def _ended_badly(containers: list[JSONObject]) -> bool:
    return any(_exit_code(container) for container in containers)


def _any_failed(status: JSONObject) -> bool:
    return _ended_badly([*objects_in(status.get(INIT)), *objects_in(status.get(MAIN))])


def _conditions(spec: _Spec, status: JSONObject) -> list[JSON]:
    ready, initialized = _ready(spec, status), _initialized(spec, status)
    wanted = {"ContainersReady": ready, "Ready": ready, "Initialized": initialized}
    conditions: list[JSON] = []
    for condition in objects_in(status.get("conditions")):
        said = wanted.get(str(condition.get("type")))
        if said is None:
            conditions.append(condition)
            continue
        kept = {k: v for k, v in condition.items() if k not in ("status", "reason", "message")}
        if condition.get("status") != said["status"]:
            kept.pop("lastTransitionTime", None)  # It is not when this one turned.
        conditions.append({**kept, **said})
    return conditions


def _ready(spec: _Spec, status: JSONObject) -> JSONObject:
    if status["phase"] in ("Succeeded", "Failed"):
        completed = status["phase"] == "Succeeded"
        return {"status": "False", "reason": "PodCompleted" if completed else "PodFailed"}
    natives = [c for c in spec.init_containers if c.restart_policy == "Always"]
    wanted, states = _names([*natives, *spec.containers]), _by_name(status)
    return _said(
        "ContainersNotReady",
        unknown=[name for name in wanted if name not in states],
        unready=[name for name in wanted if name in states and not states[name].get("ready")],
        word="unready",
    )


def _initialized(spec: _Spec, status: JSONObject) -> JSONObject:
    states = _by_name(status)
    if status["phase"] == "Succeeded":
        return {"status": "True", "reason": "PodCompleted"}
    if any(name in states and _began(states[name]) for name in _names(spec.containers)):
        return {"status": "True"}
    unknown, incomplete = [], []
    for container in spec.init_containers:
        state = states.get(container.name)
        if state is None:
            unknown.append(container.name)
        elif not state.get("started" if container.restart_policy == "Always" else "ready"):
            incomplete.append(container.name)
    return _said("ContainersNotInitialized", unknown=unknown, unready=incomplete, word="incomplete")


def _said(reason: str, *, unknown: list[str], unready: list[str], word: str) -> JSONObject:
    lists = (("unknown", unknown), (word, unready))
    texts = [
        f"containers with {kind} status: [{' '.join(names)}]" for kind, names in lists if names
    ]
    if not texts:
        return {"status": "True"}
    return {"status": "False", "reason": reason, "message": ", ".join(texts)}


def _names(containers: list[_Container]) -> list[str]:
    return [container.name for container in containers]


def _by_name(status: JSONObject) -> dict[str, JSONObject]:
    listed = (*objects_in(status.get(INIT)), *objects_in(status.get(MAIN)))
    return {str(container.get("name")): container for container in listed}


def _runs(container: JSONObject) -> bool:
    return "running" in object_in(container.get("state"))


def _began(container: JSONObject) -> bool:
    waits = "waiting" in object_in(container.get("state"))
    return not waits or "terminated" in object_in(container.get("lastState"))


def _exit_code(container: JSONObject) -> int | None:
    code = object_in(object_in(container.get("state")).get("terminated")).get("exitCode")
    return code if isinstance(code, int) else None
