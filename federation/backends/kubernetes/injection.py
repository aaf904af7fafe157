"""Pods whose claims are read by a sidecar that a webhook of the compute cluster puts in. Pure.

In: the pod that we would send and the names of such claims; later the pod as the cluster has it.
Out: the pod with the labels that ask for the sidecar and a mark of what it uses; whether the
sidecar is there. Fluid's webhook fails open: when it cannot inject it lets the pod pass as it is,
and the pod would run without its data (fluid, pkg/webhook/handler/mutating). So such pods are made
gated (`vnode.backend.PodRequest.gated`), and one without sidecar never starts.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import msgspec

from federation.backends.kubernetes.translate.names import ANNOTATION_CLAIMS
from vnode.backend import Rejected
from vnode.kube.types import JSONObject, ObjectMeta, Pod, object_in, objects_in

_SIDECAR = "fluid-fuse"
_RESERVED = (_SIDECAR, f"init-{_SIDECAR}")
_DONE = "done.sidecar.fluid.io/inject"
"""Label that Fluid's webhook leaves (fluid, pkg/common/label.go)."""


@dataclass(frozen=True, slots=True)
class Asking:
    """By what a pod asks for its sidecars."""

    labels: Mapping[str, str]
    annotations: Mapping[str, str] = field(default_factory=dict)


class _Named(msgspec.Struct, frozen=True):
    name: str = ""


class _Spec(msgspec.Struct, frozen=True, rename="camel"):
    containers: list[_Named] = []
    init_containers: list[_Named] = []
    """Where Fluid makes native sidecars."""


_SPEC = msgspec.json.Decoder(_Spec)


def marked(pod: JSONObject, claims: Iterable[str], asking: Asking) -> JSONObject:
    """A pod to be created that asks for the sidecars of these claims.

    Raises:
        Rejected: a container has a name by which the sidecar is known, or would share processes
            with it: it runs as root of the node, and whoever reaches it through /proc is that too.
    """
    spec, metadata = object_in(pod["spec"]), object_in(pod["metadata"])
    if spec.get("shareProcessNamespace"):
        raise Rejected(
            "spec.shareProcessNamespace: containers of this pod would see the processes of the "
            "sidecar that brings the data of its claims; leave it out",
            field="spec.shareProcessNamespace",
        )
    for part in ("initContainers", "containers"):
        for index, container in enumerate(objects_in(spec.get(part))):
            if str(container.get("name")).startswith(_RESERVED):
                raise Rejected(
                    f'spec.{part}[{index}].name: "{container["name"]}" is a name of containers '
                    "that bring the data of claims to this pod; choose another one",
                    field=f"spec.{part}[{index}].name",
                )
    notes: JSONObject = {
        **asking.annotations,
        **object_in(metadata.get("annotations")),  # the platform's overlay comes first
        ANNOTATION_CLAIMS: ",".join(claims),
    }
    labels = {**object_in(metadata.get("labels")), **asking.labels}
    return {**pod, "metadata": {**metadata, "labels": labels, "annotations": notes}}


def claims_in_use(copy: ObjectMeta) -> tuple[str, ...]:
    """Names of the claims that a copy reads through sidecars."""
    mark = copy.annotations.get(ANNOTATION_CLAIMS, "")
    return tuple(mark.split(",")) if mark else ()


def lacks_sidecar(pod: Pod) -> bool:
    """Whether a pod was to have a sidecar and has none."""
    if not claims_in_use(pod.metadata):
        return False
    spec = _SPEC.decode(pod.spec)
    there = any(c.name.startswith(_SIDECAR) for c in (*spec.containers, *spec.init_containers))
    return not there or pod.metadata.labels.get(_DONE) != "true"
