"""Which volumes of a tenant may be brought to a compute cluster. Pure.

In: a claim and its volume as the tenant's API server has them, and what the platform allows. Out:
nothing, or why not, in words for the tenant's users. The tenant wrote both objects, and may have
made them up: a volume says where data lies, so one with attributes that nobody has checked could
reach another tenant's data. What is not allowed by name is refused; only CSI volumes are known.

A pattern becomes a regular expression that RE2 and Python read alike, so that an admission policy
of the compute cluster can check the same.
"""

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Protocol

from federation.claims.objects import Claim, CSISource, Volume

CLIMBS = r"(^|[/\\])[.][.]($|[/\\])"
"""A text that goes up a path, which no pattern allows."""
OF_ITS_CLUSTER = ("csi.storage.k8s.io/", "storage.kubernetes.io/")
"""Beginnings of volumeAttributes that say something of the tenant's own cluster only."""


class VolumeRule(Protocol):
    """What the platform allows of one CSI driver. In patterns `*` stands for anything but `..`."""

    @property
    def driver(self) -> str:
        """Name of the driver."""
        ...

    @property
    def volume_handles(self) -> Collection[str]:
        """Patterns of the volumes that are this tenant's."""
        ...

    @property
    def attributes(self) -> Mapping[str, Collection[str]]:
        """The volumeAttributes that they may have, with patterns of their values."""
        ...

    @property
    def mount_options(self) -> Collection[str]:
        """Patterns of the mountOptions that they may have."""
        ...


def as_regex(pattern: str) -> str:
    """A pattern of the configuration as a regular expression for the whole text."""
    return f"^{'.*'.join(re.escape(part) for part in pattern.split('*'))}$"


def fits(value: str, patterns: Iterable[str]) -> bool:
    """Whether one of the patterns allows a value."""
    if re.search(CLIMBS, value) is not None or "\n" in value:
        return False
    return any(re.fullmatch(as_regex(pattern), value) is not None for pattern in patterns)


def travelling(attributes: Mapping[str, str]) -> dict[str, str]:
    """The volumeAttributes that mean something outside of the tenant's cluster."""
    return {key: v for key, v in attributes.items() if not key.startswith(OF_ITS_CLUSTER)}


def refusal(claim: Claim, volume: Volume, allowed: Sequence[VolumeRule]) -> str:
    """Why a claim's volume may not be copied; empty: it may."""
    metadata, spec = claim.metadata, volume.spec
    bound_to = spec.claim_ref
    if bound_to is None or bound_to.uid != metadata.uid:
        return "it is not bound to this claim"
    if spec.csi is None:
        return "it is no CSI volume"
    if "Block" in (claim.spec.volume_mode, spec.volume_mode):
        return "it is a block device, and Fluid brings files"
    secret = spec.csi.node_publish_secret_ref
    if secret is not None and secret.namespace != metadata.namespace:
        return "its nodePublishSecretRef names a Secret outside of the claim's namespace"
    rules = [rule for rule in allowed if rule.driver == spec.csi.driver]
    if not rules:
        return f'the platform does not allow CSI driver "{spec.csi.driver}"'
    reasons = [_mismatch(spec.csi, spec.mount_options, rule) for rule in rules]
    return "" if "" in reasons else reasons[0]


def _mismatch(csi: CSISource, options: Iterable[str], rule: VolumeRule) -> str:
    if not fits(csi.volume_handle, rule.volume_handles):
        return "the platform does not allow its volumeHandle"
    for key, value in travelling(csi.volume_attributes).items():
        if not fits(value, rule.attributes.get(key, ())):
            return f'the platform does not allow its volumeAttribute "{key}"'
    if not all(fits(option, rule.mount_options) for option in options):
        return "the platform does not allow its mountOptions"
    return ""
