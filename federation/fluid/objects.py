"""Fluid's objects and claims below, as far as we read them (data.fluid.io/v1alpha1)."""
# ruff: noqa: RUF012 - msgspec copies these defaults for every object

from vnode.kube.resources import Resource
from vnode.kube.types import APIObject, ObjectMeta

GROUP, VERSION = "data.fluid.io", "v1alpha1"
DATASETS = Resource(GROUP, VERSION, "datasets", "Dataset")
THIN_RUNTIMES = Resource(GROUP, VERSION, "thinruntimes", "ThinRuntime")
DATA_LOADS = Resource(GROUP, VERSION, "dataloads", "DataLoad")
DAEMON_SETS = Resource("apps", "v1", "daemonsets", "DaemonSet")

BOUND = "Bound"


class Condition(APIObject, frozen=True):
    """A condition of a Dataset or DataLoad."""

    type: str = ""
    status: str = ""
    reason: str = ""
    message: str = ""


class FluidStatus(APIObject, frozen=True):
    """Status of a Dataset or DataLoad."""

    phase: str = ""
    conditions: list[Condition] = []


class FluidObject(APIObject, frozen=True):
    """A Dataset or DataLoad."""

    metadata: ObjectMeta
    status: FluidStatus = FluidStatus()


class ClaimBelowSpec(APIObject, frozen=True):
    """v1.PersistentVolumeClaimSpec."""

    volume_name: str = ""


class ClaimBelowStatus(APIObject, frozen=True):
    """v1.PersistentVolumeClaimStatus."""

    phase: str = ""


class ClaimBelow(APIObject, frozen=True):
    """A claim in the compute cluster."""

    metadata: ObjectMeta
    spec: ClaimBelowSpec = ClaimBelowSpec()
    status: ClaimBelowStatus = ClaimBelowStatus()
