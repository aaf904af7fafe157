"""One error tree for everything that talks to a Kubernetes API, by meaning.

    KubeError
    ├── ConfigError          a kubeconfig, certificate or token is unusable: what, where, what to do
    ├── Withheld             not sent: we may not write (any more)
    ├── Unreachable          no answer: DNS, connect, TLS, time-out, connection cut
    │   ├── Silent           the connection stands, but nothing came for too long
    │   └── Untrusted        the server's certificate does not fit the CA or the host name
    └── ApiError             an answer that is an error (metav1.Status where there was one)
        ├── BadRequest       400
        ├── Unauthorized     401
        ├── Forbidden        403
        ├── NotFound         404
        ├── Conflict         409   stale resourceVersion or UID (for a patch the server says 422)
        │   └── AlreadyExists
        ├── Gone             410   resourceVersion too old
        ├── Invalid          422
        ├── TooManyRequests  429
        └── ServerError      5xx, and answers that are no Kubernetes API's

Messages carry what the API server said, never request bodies, tokens or headers.
"""

from vnode.kube.types import Status, StatusDetails


class KubeError(Exception):
    """Anything that went wrong between us and a Kubernetes API."""


class ConfigError(KubeError):
    """Connection settings are unusable; retrying does not help until somebody mends them."""


class Withheld(KubeError):
    """A call that would change something was not sent: we may not write now."""


class Unreachable(KubeError):
    """No (complete) answer came. The call may or may not have been carried out."""


class Silent(Unreachable):
    """An open stream on which nothing came for longer than its idle time-out."""


class Untrusted(Unreachable):
    """The server's certificate does not verify, so nothing was sent. Start-up should report it."""


class ApiError(KubeError):
    """The API server answered with an error."""

    def __init__(
        self,
        message: str,
        *,
        code: int,
        reason: str = "",
        details: StatusDetails | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.code = code
        self.reason = reason
        self.details = details
        self.retry_after = retry_after
        """Seconds that the server asked us to wait, if it did."""
        self.peer = ""
        """How the configuration calls the cluster that answered. Not for tenants' eyes."""


class BadRequest(ApiError):
    """400."""


class Unauthorized(ApiError):
    """401: the credential is missing, unknown or expired."""


class Forbidden(ApiError):
    """403: RBAC, quota, admission or a terminating namespace."""


class NotFound(ApiError):
    """404."""


class Conflict(ApiError):
    """409: a UID or resourceVersion precondition failed."""


class AlreadyExists(Conflict):
    """409 on create."""


class Gone(ApiError):
    """410: the resourceVersion is too old; list again."""


class Invalid(ApiError):
    """422: the object is not valid."""


class TooManyRequests(ApiError):
    """429."""


class ServerError(ApiError):
    """5xx, or an answer that is no Kubernetes API's (for example an HTML page of a proxy).

    `code` may then be anything: a 404 page of a load balancer says nothing about the object, so it
    is not a NotFound. The same holds for the bare "404 page not found" of a missing API group.
    """


_BY_CODE: dict[int, type[ApiError]] = {
    400: BadRequest,
    401: Unauthorized,
    403: Forbidden,
    404: NotFound,
    409: Conflict,
    410: Gone,
    422: Invalid,
    429: TooManyRequests,
}


def api_error(code: int, status: Status | None, *, retry_after: float | None = None) -> ApiError:
    """Build the error for an HTTP status and, where the body was one, its metav1.Status."""
    reason = status.reason if status else ""
    kind: type[ApiError] = _BY_CODE.get(code, ServerError if code >= 500 else ApiError)
    if code == 409 and reason == "AlreadyExists":
        kind = AlreadyExists
    if code == 410 or reason == "Expired":
        kind = Gone
    details = status.details if status else None
    if code == 422 and details and any(c.field == "metadata.uid" for c in details.causes):
        # How a patch whose metadata.uid is another object's is answered; deletes get a plain 409.
        kind, code = Conflict, 409
    if retry_after is None and details is not None and details.retry_after_seconds:
        retry_after = float(details.retry_after_seconds)
    message = (status.message if status else "") or f"HTTP {code} without a Kubernetes status"
    return kind(message, code=code, reason=reason, details=details, retry_after=retry_after)
