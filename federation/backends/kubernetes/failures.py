"""What a compute API server's error means for a pod. Pure.

Permanent is only 400 and 422 on the create of a pod; everything else may pass and is shown as the
pod's waiting reason (DESIGN 5, Rejection). Texts are for tenants: the caller conceals names first.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from federation.backends.kubernetes.conceal import Names
from vnode.backend import Rejected, StreamError, Waiting, WaitingReason
from vnode.kube.errors import (
    ApiError,
    BadRequest,
    Conflict,
    Forbidden,
    Invalid,
    KubeError,
    NotFound,
    ServerError,
    TooManyRequests,
    Unauthorized,
    Unreachable,
    Withheld,
)

_NOT_FOUND = 404
_QUOTA_CHANGED = "cannot be fulfilled on resourcequotas"
"""Quota admission tries three times to count what is created, then answers 409: the quota itself
has changed meanwhile (apiserver, pkg/admission/plugin/resourcequota)."""


def waiting(error: KubeError, *, what: str, names: Names) -> Waiting:
    """Anything that may pass, with the reason that `kubectl get pods` shows.

    Raises Withheld if that is the error: it is about us, and another replica speaks for the pod.
    """
    if isinstance(error, Withheld):
        raise error
    retry_after = error.retry_after if isinstance(error, ApiError) else None
    text = names.conceal(error.message) if isinstance(error, ApiError) else _unanswered(error)
    return Waiting(
        f"{what}: {text}",
        reason=_reason(error),
        retry_after=retry_after,
        not_done=isinstance(error, ApiError) and not isinstance(error, ServerError),
        passing=isinstance(error, Conflict) and _QUOTA_CHANGED in error.message,
    )


_DENIED, _NOT_CALLED = "admission webhook ", "failed calling webhook "
"""How API servers begin what a webhook refused, and what they could not ask it (apiserver,
admission/plugin/webhook/errors)."""


@contextmanager
def nothing_sent() -> Iterator[None]:
    """What comes before a create: whatever has to wait here was certainly not carried out."""
    try:
        yield
    except Waiting as refused:
        refused.not_done = True
        raise


def pod_refused(
    error: KubeError, *, names: Names, what: str = "the compute cluster refused the pod for now"
) -> Rejected | Waiting:
    """The meaning of an error on the create or, as `what` says, the change of a pod."""
    if isinstance(error, BadRequest | Invalid):
        causes = error.details.causes if error.details else []
        field = causes[0].field if causes else ""
        return Rejected(names.conceal(error.message), field=field)
    return waiting(error, what=what, names=names)


def webhook_refused(error: KubeError, *, names: Names) -> Waiting | None:
    """A webhook of the compute cluster that said no, or nothing, to a pod; None: it was no webhook.

    For pods that need what it would add: whatever its code was, it may say something else later.
    """
    if not isinstance(error, ApiError):
        return None
    denied = _DENIED in error.message
    if not denied and _NOT_CALLED not in error.message:
        return None
    return Waiting(
        f"a webhook of the compute cluster refused the pod: {names.conceal(error.message)}",
        reason="FluidWebhookFailed",
        retry_after=error.retry_after,
        not_done=True,  # Webhooks are asked before anything is stored.
    )


def judges(error: KubeError) -> bool:
    """Whether an error is about what was sent, so that something else might go well."""
    if isinstance(error, BadRequest | Invalid | Forbidden | ServerError):
        return True
    return is_missing_subresource(error)


def is_missing_subresource(error: KubeError) -> bool:
    """Whether this Kubernetes does not know the subresource; a missing object is named."""
    return (
        isinstance(error, ApiError)
        and error.code == _NOT_FOUND
        and not (error.details and error.details.name)
    )


def unseen(error: KubeError | None) -> WaitingReason:
    """Why it cannot be seen what is below; None: nothing went wrong, it was not looked at yet."""
    if error is None:
        return WaitingReason("ComputeNotSeen", "the compute cluster was not looked at yet")
    if isinstance(error, Forbidden | Unauthorized):
        text = "the virtual node has no right to see its pods in the compute cluster"
        return WaitingReason("ComputeForbidden", f"{text}; tell the platform team")
    if isinstance(error, ApiError):
        return WaitingReason(_reason(error), "the compute cluster answers with an error")
    return WaitingReason("ComputeUnreachable", _unanswered(error))


def stream_failed(error: KubeError, *, names: Names) -> StreamError:
    """The meaning of an error on logs, exec, attach or port-forward."""
    if isinstance(error, Forbidden | Unauthorized):  # It is ours that was refused, not the user's.
        text = "the virtual node has no right to do this in the compute cluster"
        return StreamError(text, code=502, reason="BadGateway")
    if isinstance(error, ApiError):
        return StreamError(names.conceal(error.message), code=error.code, reason=error.reason)
    text = "the compute cluster does not answer"
    return StreamError(text, code=504, reason="Timeout")


def _unanswered(error: KubeError) -> str:
    if isinstance(error, Unreachable):
        return "the compute cluster does not answer"
    return "the virtual node's connection to the compute cluster is not usable"


def _reason(error: KubeError) -> str:
    if isinstance(error, Forbidden):
        return _forbidden_reason(error.message)
    if isinstance(error, TooManyRequests):
        return "ComputeBusy"
    if isinstance(error, NotFound):
        return "NamespaceNotReady"
    if isinstance(error, Conflict):
        return "ComputeConflict"
    if isinstance(error, ApiError):
        return "ComputeError"
    return "ComputeUnreachable"


def _forbidden_reason(message: str) -> str:
    if "exceeded quota" in message or "failed quota" in message:
        return "QuotaExceeded"
    if "violates PodSecurity" in message:
        return "PodSecurityViolation"
    if "being terminated" in message:
        return "NamespaceTerminating"
    return "ComputeForbidden"
