"""Why a place did not do what was asked, by what follows from it.

    BackendError
        Rejected            never, as it is
        Waiting             not now
            InLine          others are first
            NameConflict    somebody else has the name
        StreamError         a log or stream cannot be had

Texts are read by tenants. Any other exception of a backend is a bug.
"""

from vnode.runtime.workqueue import Expected


class BackendError(Expected):
    """A backend could not do what was asked; the text may be shown to the tenant's users."""


class Rejected(BackendError):
    """Permanent until the pod or our policy changes. Names the field."""

    def __init__(self, message: str, *, field: str = "") -> None:
        super().__init__(message)
        self.field = field


class Waiting(BackendError):
    """Not now: shown as the pod's waiting reason and tried again with backoff.

    Raised for every 403, 404, 409, 429 and 5xx, for missing namespaces and for quota.
    `not_done`: what was asked for was certainly not carried out. Without that an `apply` may have
    made a copy all the same, of which only the answer was lost. `passing`: a matter of
    moments, such as a compute side that was in its own way; users hear of it only if it goes on.
    """

    def __init__(
        self,
        message: str,
        *,
        reason: str,
        retry_after: float | None = None,
        not_done: bool = False,
        passing: bool = False,
    ) -> None:
        super().__init__(message)
        self.reason = reason
        self.retry_after = retry_after
        self.not_done = not_done
        self.passing = passing


class InLine(Waiting):
    """Others are first. To be asked again after `seconds`, and no failure: nothing was tried.

    Users hear of it only where the line is long.
    """

    def __init__(self, message: str, *, seconds: float) -> None:
        super().__init__(message, reason="InLine", retry_after=seconds, not_done=True)
        self.seconds = seconds


class NameConflict(Waiting):
    """An object of that name below belongs to somebody else. It is never touched."""

    def __init__(self, message: str) -> None:
        super().__init__(message, reason="NameConflict", not_done=True)


class StreamError(BackendError):
    """A log or stream request failed: HTTP code and a text without compute names."""

    def __init__(self, message: str, *, code: int, reason: str = "") -> None:
        super().__init__(message)
        self.code = code
        self.reason = reason
