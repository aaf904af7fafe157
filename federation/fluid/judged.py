"""What there is to say of one claim: whether pods may mount it now, and if not, why. Pure."""

from collections.abc import Collection
from dataclasses import dataclass

from federation.backends.kubernetes.conceal import Names
from federation.claims.objects import Claim
from federation.fluid.names import PROFILE_LABEL, RESERVED
from federation.fluid.objects import FluidObject
from vnode.backend import Waiting
from vnode.kube.types import UID


@dataclass(frozen=True, slots=True)
class Verdict:
    """On the claim of one UID; no reason: pods may mount it."""

    uid: UID
    reason: str = ""
    message: str = ""

    def require(self) -> None:
        """Raise Waiting unless pods may mount it."""
        if self.reason:
            raise Waiting(self.message, reason=self.reason)


def unready(claim: Claim, profiles: Collection[str]) -> Verdict | None:
    """Why a claim cannot be mounted whatever its volume is; None: look at that.

    `profiles`: those that the tenant may name.
    """
    uid, name = claim.metadata.uid, claim.metadata.name
    profile = claim.metadata.labels.get(PROFILE_LABEL)
    if claim.metadata.deletion_timestamp is not None:
        return deleted(uid, name)
    if profile is not None and profile not in profiles:
        return refused_profile(uid, name, profile)
    if name.startswith(RESERVED):
        return refused_name(uid, name)
    if not claim.spec.volume_name:
        return preparing(uid, name, "it is not bound to a volume yet")
    return None


def preparing(uid: UID, claim: str, what: str) -> Verdict:
    """Somebody is at work."""
    text = f'the data of PersistentVolumeClaim "{claim}" is being prepared: {what}'
    return Verdict(uid, "DatasetNotReady", text)


def refused_profile(uid: UID, claim: str, profile: str) -> Verdict:
    """A label that the platform does not know."""
    text = (
        f'PersistentVolumeClaim "{claim}" names profile "{profile}", which the platform does not '
        "offer to this tenant; choose another one or ask the platform team"
    )
    return Verdict(uid, "RuntimeProfileNotAllowed", text)


def refused_volume(uid: UID, claim: str, why: str) -> Verdict:
    """Data that may not be reached from here."""
    text = f'the volume of PersistentVolumeClaim "{claim}" cannot be used here: {why}'
    return Verdict(uid, "VolumeNotSupported", text)


def refused_name(uid: UID, claim: str) -> Verdict:
    """A name that an object of ours may have below."""
    text = f'PersistentVolumeClaim "{claim}" cannot be used here: its name begins with "{RESERVED}"'
    return Verdict(uid, "VolumeNotSupported", text)


def refused_key(uid: UID, claim: str) -> Verdict:
    """Data that needs a Secret, where Secrets are not written."""
    why = "it needs a Secret, and this virtual node does not write values of Secrets into its pods"
    return refused_volume(uid, claim, why)


def deleted(uid: UID, claim: str) -> Verdict:
    """It goes when its last pod has gone."""
    text = f'PersistentVolumeClaim "{claim}" is being deleted'
    return Verdict(uid, "PersistentVolumeClaimNotFound", text)


def not_prepared(uid: UID, claim: str) -> Verdict:
    """A claim that only the platform can make."""
    text = (
        f'there is no PersistentVolumeClaim "{claim}" for this tenant in the compute cluster; ask '
        "the platform team to make it there"
    )
    return Verdict(uid, "PersistentVolumeClaimNotFound", text)


def no_secret(uid: UID, secret: str) -> Verdict:
    """What the volume's driver needs to open it."""
    text = f'Secret "{secret}", which the volume of the claim needs, not found'
    return Verdict(uid, "MandatorySecretNotFound", text)


def not_bound(uid: UID, claim: str, dataset: FluidObject, *, names: Names) -> Verdict:
    """Fluid has not made its part; what it says of that, without names that are only below."""
    said = [c.message for c in dataset.status.conditions if c.message]
    what = f"Fluid's Dataset is {dataset.status.phase or 'new'}"
    if said:
        told = names.conceal(said[-1]).replace(dataset.metadata.name, claim)
        what += f" ({told})"
    return preparing(uid, claim, what)
