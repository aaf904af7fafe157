"""What an error of the ECI API means for the pod it was about. Pure.

In: an error of a call. Out: `Waiting` or `Rejected`, in words for the tenant's users. Only what the
service calls a wrong parameter of this very pod rejects it: a rejected pod has failed, for ever.
What is wrong with the pool's own settings, the account, its stock or quota passes, and so does an
error that nobody knows. No name of the account is in a text: it has the service's code, not its
words, which stay in our log.
"""

from federation.backends.eci.errors import (
    Denied,
    EciError,
    InvalidParameter,
    NoStock,
    QuotaExceeded,
    RequestTooLarge,
    Throttled,
    TokenReused,
    Unavailable,
)
from vnode.backend import BackendError, Rejected, Waiting

__all__ = ["create_failed", "waiting"]

_OF_THE_POD = ("InvalidParameter", "Invalid.Parameter", "MissingParameter")
"""What codes begin with that are about parameters of the call."""
_OF_THE_POOL = (
    "VSwitch",
    "VpcId",
    "SecurityGroup",
    "ResourceGroup",
    "RamRole",
    "RegionId",
    "ZoneId",
    "InstanceType",
    "Spot",
    "GpuDriver",
    "ImageSnapshot",
    "Tag",
    "ClientToken",
    "Unknown",
)
"""Parts of codes about parameters that the pool's configuration sets, or that we make up."""


def create_failed(error: EciError) -> BackendError:
    """The error of a create: the only call that can reject a pod."""
    if isinstance(error, InvalidParameter) and not isinstance(error, TokenReused):
        if any(part in error.code for part in _OF_THE_POOL):
            text = f"the configuration of this virtual node is refused ({error.code})"
            return Waiting(text, reason="ComputeMisconfigured", not_done=True)
        if error.code.startswith(_OF_THE_POD):
            text = f"spec: the place behind this virtual node refuses the pod ({error.code})"
            return Rejected(text, field="spec")
        if isinstance(error, RequestTooLarge):
            text = "the pod's files and variables together are too large for this virtual node"
            return Waiting(text, reason="PodTooLarge", not_done=True)
    return waiting(error)


def waiting(error: EciError) -> Waiting:
    """The error of any other call, or of a create that may go well later."""
    match error:
        case Throttled():
            text = "many calls are under way to the place behind this virtual node"
            return Waiting(text, reason="ComputeBusy", not_done=True, passing=True)
        case NoStock():
            text = f"what the pod asks for is sold out just now ({error.code})"
            return Waiting(text, reason="NoStock", not_done=True)
        case QuotaExceeded():
            text = f"the quota behind this virtual node is used up ({error.code})"
            return Waiting(text, reason="QuotaExceeded", not_done=True)
        case Denied():
            text = f"the virtual node's own account is refused ({error.code})"
            return Waiting(text, reason="ComputeForbidden", not_done=True)
        case Unavailable():
            text = "the place behind this virtual node does not answer"
            return Waiting(text, reason="ComputeUnreachable")
        case _:
            code = error.code or type(error).__name__
            text = f"the place behind this virtual node says {code}"
            return Waiting(text, reason="ComputeError")
