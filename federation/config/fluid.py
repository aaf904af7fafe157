"""What stands under `policy.fluid`: which volumes and profiles of a tenant reach their pods.

In: validated scalars. Out: frozen models. Everything is refused that is not listed here, since the
tenant wrote the volumes: attributes of one that it made up could lead to another tenant's data.
"""

import re
from collections.abc import Mapping
from typing import Annotated, TypeAlias

from pydantic import AfterValidator, Field

from federation.backends.kubernetes.translate.policy import FluidDialect
from federation.config.values import Duration, FilePath, ObjectName, Section, shown

_DRIVER = r"[A-Za-z0-9]([-A-Za-z0-9.]*[A-Za-z0-9])?"
_DRIVER_LENGTH = 63


def _check_driver(value: str) -> str:
    if len(value) > _DRIVER_LENGTH or re.fullmatch(_DRIVER, value) is None:
        raise ValueError(
            f"{shown(value)} is not the name of a CSI driver; write it like nas.csi.example.com"
        )
    return value


Driver: TypeAlias = Annotated[str, AfterValidator(_check_driver)]
"""Name of a CSI driver."""
Pattern: TypeAlias = Annotated[str, Field(min_length=1, max_length=1024)]
"""See `federation.fluid.rules.as_regex`; nothing that climbs up a path (`..`) ever fits."""


class CopiedVolume(Section):
    """Volumes of one CSI driver that may be copied."""

    driver: Driver
    volume_handles: tuple[Pattern, ...] = Field(min_length=1)
    """The volumes of this driver that are this tenant's; `*` stands for any text without spaces,
    commas, quotes and what a shell acts on."""
    attributes: Mapping[str, tuple[Pattern, ...]] = Field(default_factory=dict)
    """The volumeAttributes that they have, and the values of each; a volume with others is refused,
    and one without them, unless `*` alone allows any value."""
    mount_options: tuple[Pattern, ...] = ()
    """The mountOptions that they may have; a volume with others is refused."""
    profiles: tuple[ObjectName, ...] | None = None
    """Profiles by whose clients they may be read. A client may read attributes of another driver's
    volume in its own way. null: all that the tenant may name."""


class FluidConfig(Section):
    """How claims with label fluid.io/runtime-profile are brought to pods."""

    dialect: FluidDialect = FluidDialect.FLUID
    """fluid: Fluid as it is published; ack: ack-fluid of Alibaba Cloud, whose pvc-wrapper makes the
    Dataset."""
    profiles: tuple[ObjectName, ...] = Field(min_length=1)
    """ThinRuntimeProfiles that claims of this tenant may name."""
    volumes: tuple[CopiedVolume, ...] = ()
    """Volumes of the tenant that are copied for its claims. None: only claims of StorageClass
    vnode-shared, whose data the platform has prepared below."""
    linger: Duration = 600.0
    """Time for which what was made for a claim stays after the last pod that used it."""


class GroupFluidConfig(Section):
    """How claims are brought to pods on ECI, where no Fluid is."""

    profiles: FilePath | None = None
    """File with the ThinRuntimeProfiles that claims of this tenant may name: YAML, as Fluid takes
    them. Their FUSE clients are privileged containers of the pod's group. Read at the start. null:
    claims that name one are refused."""
    volumes: tuple[CopiedVolume, ...] = Field(min_length=1)
    """Volumes of the tenant that pods may have; others are refused."""
