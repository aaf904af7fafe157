"""Pods whose claims are read by a sidecar that a webhook of the compute cluster puts in. Pure.

In: the pod that we would send and the names of such claims; later the pod as the cluster has it.
Out: the pod with the labels that ask for the sidecar and a mark of what it uses; whether the
sidecar is there. Fluid's webhook fails open: when it cannot inject it lets the pod pass as it is,
and the pod would run without its data (fluid, pkg/webhook/handler/mutating). So such pods are made
gated (`vnode.backend.PodRequest.gated`), and one that lacks any of its sidecars never starts. A
claim has a sidecar when a container mounts it, init containers aside.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import msgspec

from federation.backends.kubernetes.translate.mounts import as_volumes_say
from federation.backends.kubernetes.translate.names import ANNOTATION_CLAIMS
from federation.backends.kubernetes.translate.never_root import each_for_itself
from federation.backends.translation.redirection import refuse_redirecting
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


class _Source(msgspec.Struct, frozen=True, rename="camel"):
    claim_name: str = ""


class _Volume(msgspec.Struct, frozen=True, rename="camel"):
    persistent_volume_claim: _Source | None = None
    """Fluid puts a folder of the node in its place."""


class _Spec(msgspec.Struct, frozen=True, rename="camel"):
    volumes: list[_Volume] | None = None
    containers: list[_Named] = []
    init_containers: list[_Named] = []
    """Where Fluid makes native sidecars."""


_SPEC = msgspec.json.Decoder(_Spec)


def marked(pod: JSONObject, claims: Iterable[str], asking: Asking) -> JSONObject:
    """A pod to be created that asks for the sidecars of these claims.

    A claim that the pod takes for reading only is mounted so: Fluid's volumes do not say it. That
    nothing runs as root is said of the pod's own containers alone.

    Raises:
        Rejected: a container has a name by which the sidecar is known, or would share processes
            with it: it runs as root of the node, and whoever reaches it through /proc is that too;
            or only init containers mount a claim.
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
    wanted = tuple(claims)
    mounted = _mounted(spec, "containers")
    for claim in wanted:
        if claim in _mounted(spec, "initContainers") and claim not in mounted:
            raise Rejected(
                f'spec.initContainers: only init containers mount claim "{claim}", and the sidecar '
                "that brings its data runs beside the other containers; let one of these mount it",
                field="spec.initContainers",
            )
    notes: JSONObject = {
        **asking.annotations,
        **object_in(metadata.get("annotations")),  # the platform's overlay comes first
        ANNOTATION_CLAIMS: ",".join(claim for claim in wanted if claim in mounted),
    }
    labels = {**object_in(metadata.get("labels")), **asking.labels}
    return {
        **pod,
        "metadata": {**metadata, "labels": labels, "annotations": notes},
        "spec": each_for_itself(_read_only(spec)),
    }


def refuse_redirected(pod: Pod) -> None:
    """See that a tenant pod does not say where calls go: its sidecars would make them too.

    Operators let pods look for names in the cluster.

    Raises:
        Rejected: it does; names the field.
    """
    refuse_redirecting(pod, domain="svc.cluster.local")


def _sources(spec: JSONObject) -> dict[str, JSONObject]:
    """What volumes of claims say of them, by name of the volume."""
    volumes = objects_in(spec.get("volumes"))
    return {
        str(volume.get("name")): object_in(volume["persistentVolumeClaim"])
        for volume in volumes
        if "persistentVolumeClaim" in volume
    }


def _mounted(spec: JSONObject, part: str) -> frozenset[str]:
    """Names of the claims that these containers mount."""
    sources = _sources(spec)
    return frozenset(
        str(sources[name].get("claimName"))
        for container in objects_in(spec.get(part))
        for mount in objects_in(container.get("volumeMounts"))
        if (name := str(mount.get("name"))) in sources
    )


def _read_only(spec: JSONObject) -> JSONObject:
    """The spec with mounts that say what the volumes of their claims say."""
    volumes = objects_in(spec.get("volumes"))
    changed: JSONObject = {**spec}
    for part in ("initContainers", "containers"):
        if part in spec:
            changed[part] = [as_volumes_say(c, volumes) for c in objects_in(spec[part])]
    return changed


def claims_in_use(copy: ObjectMeta) -> tuple[str, ...]:
    """Names of the claims that a copy reads through sidecars."""
    mark = copy.annotations.get(ANNOTATION_CLAIMS, "")
    return tuple(mark.split(",")) if mark else ()


def lacks_sidecar(pod: Pod) -> bool:
    """Whether a pod was to have a sidecar for each of its claims and has not."""
    claims = claims_in_use(pod.metadata)
    if not claims:
        return False
    if pod.metadata.labels.get(_DONE) != "true":
        return True
    spec = _SPEC.decode(pod.spec)
    there = sum(c.name.startswith(_SIDECAR) for c in (*spec.containers, *spec.init_containers))
    # Sidecars of claims that are the platform's count too: so no volume may be a claim still.
    left = (v.persistent_volume_claim for v in spec.volumes or ())
    return there < len(claims) or any(s is not None and s.claim_name in claims for s in left)
