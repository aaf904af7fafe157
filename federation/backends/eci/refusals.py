"""From an answer that is an error to the error to raise, without what was sent in confidence.

In: action, status, body and the flat parameters that were sent. Out: one of `errors`. Pure. The
service's words may quote the request, and errors reach logs and tenants' events.
"""

import base64
import binascii
import contextlib
import re
from collections.abc import Mapping

import msgspec

from federation.backends.eci.answers import ErrorAnswer
from federation.backends.eci.errors import EciError, error_for

__all__ = ["refusal"]

_CONFIDENTIAL = re.compile(
    r"(\.Value|\.Password|\.UserName|\.Content|\.Options|\.(Arg|Command|Lifecycle\w+Exec)\.\d+)$|^Command$"
)
"""Parameters that hold a tenant's secrets: environment, registry logins, files, options, and
commands, those of hooks and probes too, into which variables are expanded."""
_SHORTEST = 4
"""Characters; what is shorter would blot out half the message and gives nothing away."""
_LONGEST = 1000


def refusal(action: str, status: int, body: bytes, *, sent: Mapping[str, str]) -> EciError:
    """Build the error. A body that is no error of the API is told by its status alone."""
    try:
        said = msgspec.json.decode(body, type=ErrorAnswer)
    except msgspec.DecodeError:
        said = ErrorAnswer()
    return error_for(
        status=status,
        code=said.code,
        message=_without_secrets(said.message, sent),
        request_id=said.request_id,
        action=action,
    )


def _without_secrets(message: str, sent: Mapping[str, str]) -> str:
    secrets = {value for name, value in sent.items() if _CONFIDENTIAL.search(name)}
    for name, value in sent.items():
        if name.endswith(".Content"):
            with contextlib.suppress(binascii.Error):
                secrets.add(base64.b64decode(value).decode(errors="replace"))
    for secret in sorted(secrets, key=len, reverse=True):
        if len(secret) >= _SHORTEST:
            message = message.replace(secret, "***")
    return message[:_LONGEST]
