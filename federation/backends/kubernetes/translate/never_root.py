"""That no container runs as root, said by each of them instead of by the pod for all. Pure.

In: a spec, or one container that is added later. Out: the same, with `runAsNonRoot` in the
containers. What a container says goes before what its pod says, so nothing changes for them; but a
sidecar that brings the data of claims runs as root, and kubelets start no such container in a pod
that forbids it (pkg/kubelet/kuberuntime, verifyRunAsNonRoot).
"""

from vnode.kube.types import JSON, JSONObject, object_in, objects_in

_CONTEXT, _NEVER_ROOT = "securityContext", "runAsNonRoot"


def each_for_itself(spec: JSONObject) -> JSONObject:
    """A spec whose containers say what the pod said."""
    whole = object_in(spec.get(_CONTEXT))
    if whole.get(_NEVER_ROOT) is None:
        return spec
    rest: JSONObject = {name: value for name, value in whole.items() if name != _NEVER_ROOT}
    changed: JSONObject = {**spec, _CONTEXT: rest}
    for part in ("initContainers", "containers"):
        if part in spec:
            changed[part] = [_told(one, whole[_NEVER_ROOT]) for one in objects_in(spec[part])]
    return changed


def as_others_say(container: JSONObject, source: JSONObject, below: JSONObject) -> JSONObject:
    """An ephemeral container of a pod that may have been made so.

    `source`: the tenant pod's spec, which may say it for all; `below`: the copy's.
    """
    said = object_in(source.get(_CONTEXT)).get(_NEVER_ROOT)
    if said is None or object_in(below.get(_CONTEXT)).get(_NEVER_ROOT) is not None:
        return container
    return _told(container, said)


def _told(container: JSONObject, said: JSON) -> JSONObject:
    own = object_in(container.get(_CONTEXT))
    if own.get(_NEVER_ROOT) is not None:
        return container
    return {**container, _CONTEXT: {**own, _NEVER_ROOT: said}}
