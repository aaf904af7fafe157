"""One error tree for the ECI API, by what it means for a pod, not by HTTP status.

    EciError
    ├── Unavailable          no answer, a cut one, or 5xx; the call may have been carried out
    │   └── AnswerTooLarge   more than we take at once: ask for less
    ├── Throttled            too many calls; certainly not carried out
    ├── NoStock              the instance type, zone or spot pool is sold out: try another one
    ├── QuotaExceeded        the account is full: nothing of this size fits here now
    ├── NotFound             no such container group (any more)
    ├── InvalidParameter     the request, or what it rests on, is wrong: it will not do as it is
    │   ├── TokenReused      the ClientToken stood for another request before
    │   └── RequestTooLarge  something before the API takes no request of that length
    ├── Denied               key, signature, rights or balance: somebody has to act
    └── Refused              an error code that nobody gave a meaning yet

The service names errors by dotted codes, of which no complete list is public (docs/eci.md), so
families are told by parts of the code. Messages hold code, request id and the service's words, in
which the caller has blotted out what it sent in confidence.
"""

__all__ = [
    "AnswerTooLarge",
    "Denied",
    "EciError",
    "InvalidParameter",
    "NoStock",
    "NotFound",
    "QuotaExceeded",
    "Refused",
    "RequestTooLarge",
    "Throttled",
    "TokenReused",
    "Unavailable",
    "error_for",
]


class EciError(Exception):
    """Anything that went wrong between us and the ECI API."""

    def __init__(self, message: str, *, code: str = "", request_id: str = "") -> None:
        super().__init__(message)
        self.code = code
        self.request_id = request_id
        """What Alibaba Cloud's support asks for."""


class Unavailable(EciError):
    """No usable answer. A create or delete may have been carried out all the same."""


class AnswerTooLarge(Unavailable):
    """The answer was longer than we take; fewer items at once may do."""


class Throttled(EciError):
    """The call was not carried out: there were too many."""


class NoStock(EciError):
    """Sold out; another instance type, size or zone may do."""


class QuotaExceeded(EciError):
    """The account's quota is used up."""


class NotFound(EciError):
    """No container group of that id is known. After its retention that is no proof of anything."""


class InvalidParameter(EciError):
    """The service will not take this request as things are; whose fault it is, says the code."""


class TokenReused(InvalidParameter):
    """The ClientToken was used before with other parameters."""


class RequestTooLarge(InvalidParameter):
    """The request is longer than what stands before the API lets through; it never got there."""


class Denied(EciError):
    """The account or key may not do this."""


class Refused(EciError):
    """An error of unknown meaning."""


_BUSY = ("OperationConflict", "ServiceUnavailable", "InternalError")
_FULL = ("QuotaExceeded", "QuotaFull", "IpNotEnough", "Throttling.Vcpu.PerDay")
"""A vSwitch without addresses and a day's vCPUs used up: others fit, or this one later."""
_UNPAID = ("InsufficientBalance", "Arrearage", "PassRoleForbidden")
_DENIED = (
    "Forbidden",
    "Unauthorized",
    "NoPermission",
    "InvalidAccessKeyId",
    "Signature",
    "IncompleteSignature",
    "InvalidSecurityToken",
    "InvalidTimeStamp",
    "Account.",
    "InsufficientBalance",
    "InvalidAccountStatus",
    "InvalidPaymentMethod",
    "InvalidUser",
    "MissingAccessKeyId",
)
_INVALID = ("Invalid", "Missing", "Duplicate", "Unsupported")
_TOO_LONG = frozenset({413, 414, 431})
"""HTTP: body, address or headers too large. Calls have all they say in their address."""
_SOLD_OUT = (
    "NoStock",
    "OutOfStock",
    "StockClose",
    "NotOnSale",
    "Spot.NotMatched",
    "InstanceTypeFamilyNotMatched",
)


def error_for(
    *, status: int, code: str, message: str, request_id: str = "", action: str = ""
) -> EciError:
    """Build the error for an answer that is one. `status` is HTTP's; `code` decides where known."""
    kind = _kind(status, code)
    said = message or f"HTTP {status} without words"
    where = f" (request {request_id})" if request_id else ""
    text = f"{action or 'ECI'}: {code or status}: {said}{where}"
    return kind(text, code=code, request_id=request_id)


def _kind(status: int, code: str) -> type[EciError]:
    if any(part in code for part in _FULL):
        return QuotaExceeded
    if code.startswith("Throttling") or status == 429:
        return Throttled
    if any(part in code for part in _SOLD_OUT):
        return NoStock
    if code.startswith("IdempotentParameterMismatch"):
        return TokenReused
    if code.startswith(_DENIED) or any(part in code for part in _UNPAID):
        return Denied
    if "ContainerGroup" in code and "NotFound" in code:
        return NotFound
    if code.startswith(_INVALID) or code.endswith("NotFound"):
        return InvalidParameter
    if not code and status in _TOO_LONG:
        return RequestTooLarge
    if status >= 500 or code in _BUSY or not code:
        # Without a code it is not the API that answered but something before it.
        return Unavailable
    return Refused
