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
from federation.fluid.names import PROFILE_LABEL

CLIMBS = r"(^|[/\\=:,])[.][.]($|[/\\,])"
"""A text that goes up a path, also in an option, which no pattern allows."""
_STAR = r"""[^\x00-\x20\x7f,;&|<>()$`"'\\]*"""
"""What `*` stands for. Clients get these texts as options and words of shell scripts: nothing that
would begin another one."""
READABLE = "/*"
"""Paths that may be read ahead."""
OF_ITS_CLUSTER = ("csi.storage.k8s.io/", "storage.kubernetes.io/")
"""Beginnings of volumeAttributes that say something of the tenant's own cluster only."""


class VolumeRule(Protocol):
    """What the platform allows of one CSI driver. See `as_regex` for patterns."""

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
        """Patterns of the values of their volumeAttributes: they have these, and no others.

        One that may be left out has a pattern that allows the empty text.
        """
        ...

    @property
    def mount_options(self) -> Collection[str]:
        """Patterns of the mountOptions that they may have."""
        ...

    @property
    def profiles(self) -> Collection[str] | None:
        """Profiles that may read them; None: all that the tenant may name."""
        ...


def as_regex(pattern: str) -> str:
    """A pattern of the configuration as a regular expression for the whole text.

    `*` stands for any text without spaces, control characters, commas, quotes and what a shell
    reads as more than a letter.
    """
    return f"^{_STAR.join(re.escape(part) for part in pattern.split('*'))}$"


def fits(value: str, patterns: Iterable[str]) -> bool:
    """Whether one of the patterns allows a value."""
    if re.search(CLIMBS, value) is not None or "\n" in value:
        return False
    return any(re.fullmatch(as_regex(pattern), value) is not None for pattern in patterns)


def travelling(attributes: Mapping[str, str]) -> dict[str, str]:
    """The volumeAttributes that mean something outside of the tenant's cluster."""
    return {key: v for key, v in attributes.items() if not key.startswith(OF_ITS_CLUSTER)}


def required(rule: VolumeRule) -> frozenset[str]:
    """The volumeAttributes that no volume may leave out: those that may not be empty."""
    return frozenset(key for key, patterns in rule.attributes.items() if not fits("", patterns))


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
    profile = metadata.labels.get(PROFILE_LABEL)
    rules = [r for r in rules if profile is None or r.profiles is None or profile in r.profiles]
    if not rules:
        return f'the platform does not allow to read it by profile "{profile}"'
    reasons = [_mismatch(spec.csi, spec.mount_options, rule) for rule in rules]
    return "" if "" in reasons else reasons[0]


def _mismatch(csi: CSISource, options: Iterable[str], rule: VolumeRule) -> str:
    if not fits(csi.volume_handle, rule.volume_handles):
        return "the platform does not allow its volumeHandle"
    said = travelling(csi.volume_attributes)
    for key, value in said.items():
        if not fits(value, rule.attributes.get(key, ())):
            return f'the platform does not allow its volumeAttribute "{key}"'
    for key in sorted(required(rule) - said.keys()):
        # Without a path, a client reads the root of its file system.
        return f'it lacks volumeAttribute "{key}", which the platform requires'
    if not all(fits(option, rule.mount_options) for option in options):
        return "the platform does not allow its mountOptions"
    return ""
