"""Copies into which somebody has put containers."""

from collections.abc import Mapping, Sequence

import msgspec

from federation.backends.kubernetes.translate.names import ANNOTATION_IMAGES
from tests.builders import container_status, make_compute_pod, raw, running_status
from vnode.kube.types import JSON, JSONObject, Pod

FUSE = "fluid-fuse-0"


def make_injected(
    status: JSONObject | None = None,
    *,
    restart: str = "Never",
    main: JSONObject | None = None,
    init: Sequence[Mapping[str, JSON]] = (),
    ours: str = "main=1a2b3c4d",
    version: int = 100,
    grace: int = 30,
    annotations: Mapping[str, str] | None = None,
) -> Pod:
    """A copy with container `main`, which the tenant asked for, and a sidecar."""
    marks = {ANNOTATION_IMAGES: ours, **(annotations or {})}
    pod = make_compute_pod(
        status=injected_status() if status is None else status, annotations=marks, version=version
    )
    spec = {
        "restartPolicy": restart,
        "nodeName": "machine-1",
        "containers": [{"name": FUSE}, {"name": "main", **(main or {})}],
        "initContainers": [*init],
        "terminationGracePeriodSeconds": grace,
    }
    return msgspec.structs.replace(pod, spec=raw(spec))


def injected_status(
    *, main: int | None = None, fuse: int | None = None, phase: str = "Running", **fields: JSON
) -> JSONObject:
    """What a kubelet says of it; exit codes, None: it runs."""
    states = [container_status(FUSE, exit_code=fuse), container_status("main", exit_code=main)]
    return {**running_status(containerStatuses=[*states]), "phase": phase, **fields}
