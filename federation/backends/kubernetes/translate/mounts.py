"""Mounts that say what the volume of their claim says: for reading only. Pure.

In: a container and the volumes of its pod. Out: the container, whose mounts of a claim that the pod
takes with `readOnly` have it too. Where a sidecar brings the data, a folder of the node is put in
the place of the claim, and that cannot say it.
"""

from collections.abc import Iterable

from vnode.kube.types import JSON, JSONObject, object_in, objects_in


def as_volumes_say(container: JSONObject, volumes: Iterable[JSONObject]) -> JSONObject:
    """The container with its mounts of claims for reading only marked so."""
    read_only = {
        volume.get("name")
        for volume in volumes
        if "persistentVolumeClaim" in volume
        and object_in(volume["persistentVolumeClaim"]).get("readOnly")
    }
    if not read_only or "volumeMounts" not in container:
        return container
    mounts: JSON = [
        {**mount, "readOnly": True} if mount.get("name") in read_only else mount
        for mount in objects_in(container["volumeMounts"])
    ]
    return {**container, "volumeMounts": mounts}
