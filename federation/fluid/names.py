"""What the objects of a claim are called below. Pure.

Every name is made from the UID of the tenant's claim, so that a claim that is made again under the
same name has other objects. Volumes belong to no namespace: their names hold the tenant cluster and
the compute namespace too, as a fingerprint that shows neither.
"""

from hashlib import blake2b

from federation.backends.kubernetes.translate.names import Owner
from vnode.kube.types import UID

PROFILE_LABEL = "fluid.io/runtime-profile"
"""On claims of the tenant: the ThinRuntimeProfile by which pods shall read them."""
WARM_UP = "vnode.dev/warm-up"
"""Annotation of claims of the tenant: paths to be read ahead, `/` for all; a new value, a new load
in the place of the old one."""
SELECTED = "vnode.dev/volume"
"""In selectors of copied claims; no volume has this label."""
RESERVED = "vnode-"
"""Claims whose names begin so are not brought to Fluid: it makes a claim of the Dataset's name."""


def dataset_name(claim: UID) -> str:
    """Name of the Dataset and of its ThinRuntime: a DNS-1035 label, short enough for Fluid's own
    names that hold it."""
    return f"{RESERVED}{_fingerprint(claim)}"


def volume_name(claim: UID, *, owner: Owner, below: str) -> str:
    """Name of the volume's copy, different for every tenant cluster and compute namespace."""
    return f"{RESERVED}{_fingerprint(owner.tenant, owner.cluster_uid, below, claim)}"


def secret_name(claim: UID) -> str:
    """Name of the copy of the Secret that the volume names; no tenant Secret is called so below."""
    return f"{RESERVED}publish-{_fingerprint(claim)}"


def load_name(claim: UID, wish: str) -> str:
    """Name of the DataLoad for one value of the annotation."""
    return f"{dataset_name(claim)}-{_fingerprint(wish)[:8]}"


def _fingerprint(*parts: str) -> str:
    return blake2b("\0".join(parts).encode(), digest_size=8).hexdigest()
