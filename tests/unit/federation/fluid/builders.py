"""Claims with a profile, their volumes and what is wished of them, for tests."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from federation.backends.kubernetes.translate.policy import FluidDialect
from federation.claims.objects import Claim, Volume
from federation.fluid.build import Wish
from tests.builders import OWNER
from vnode.kube.decode import decode
from vnode.kube.types import encode

PROFILE = "starfs-profile"
DRIVER = "starfs.csi.example.com"
BELOW = "red--team-a"


@dataclass(frozen=True)
class Allowed:
    """A rule of the platform."""

    driver: str = DRIVER
    volume_handles: tuple[str, ...] = ("team-a/*",)
    attributes: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    mount_options: tuple[str, ...] = ()
    profiles: tuple[str, ...] | None = None


ALLOWED = Allowed(
    attributes={"path": ("/team-a", "/team-a/*"), "cluster": ("star-1",)},
    mount_options=("ro",),
)
"""What the platform allows the tenant."""


def make_claim(
    name: str = "data", *, uid: str = "c-1", profile: str = PROFILE, **meta: Any
) -> Claim:
    """A claim of namespace team-a that is bound to volume `starfs`."""
    labels = {"fluid.io/runtime-profile": profile} if profile else {}
    metadata = {"name": name, "namespace": "team-a", "uid": uid, "labels": labels, **meta}
    spec = {
        "storageClassName": "",
        "accessModes": ["ReadWriteMany"],
        "resources": {"requests": {"storage": "5Gi"}},
        "volumeName": "starfs",
    }
    return decode(encode({"metadata": metadata, "spec": spec}), Claim)


def make_volume(*, uid: str = "c-1", csi: Any = None, **spec: Any) -> Volume:
    """The volume of a claim with that UID; `csi`: what differs in its source, None removes it."""
    source = {
        "driver": DRIVER,
        "volumeHandle": "team-a/training",
        "volumeAttributes": {"path": "/team-a/training", "cluster": "star-1"},
    }
    full = {
        "capacity": {"storage": "10Gi"},
        "accessModes": ["ReadWriteMany"],
        "claimRef": {"namespace": "team-a", "name": "data", "uid": uid},
        "csi": {**source, **(csi or {})},
        **spec,
    }
    return decode(encode({"metadata": {"name": "starfs", "uid": "v-1"}, "spec": full}), Volume)


def make_wish(claim: Claim | None = None, volume: Volume | None = None, **fields: Any) -> Wish:
    """What a claim needs in a compute cluster with Fluid."""
    claim = claim or make_claim()
    known: Any = {"profile": PROFILE, "below": BELOW, "owner": OWNER, "dialect": FluidDialect.FLUID}
    return Wish(claim=claim, volume=volume or make_volume(), **{**known, **fields})
