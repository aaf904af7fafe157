"""How the kubelet API words its answers.

Plain text, as the kubelet does, where the API server quotes the text in its own error (logs and
everything else); metav1.Status where the answer travels through to the client's SPDY or WebSocket
library, which reads `message` from it (exec, attach, port-forward).
"""

from http import HTTPStatus

from aiohttp import web

from vnode.kube.types import encode

__all__ = ["relayed_code", "status_answer", "text_answer"]

_REASONS = {
    400: "BadRequest",
    403: "Forbidden",
    404: "NotFound",
    409: "Conflict",
    429: "TooManyRequests",
    500: "InternalError",
    503: "ServiceUnavailable",
    504: "Timeout",
}


def text_answer(code: int, text: str) -> web.Response:
    """An answer in plain text."""
    return web.Response(status=code, text=text, content_type="text/plain")


def status_answer(code: int, message: str, *, reason: str = "") -> web.Response:
    """A failure as metav1.Status."""
    body = {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Failure",
        "message": message,
        "reason": reason or _REASONS.get(code, ""),
        "code": code,
    }
    return web.Response(status=code, body=encode(body), content_type="application/json")


def relayed_code(code: int) -> int:
    """The code that may be answered for a failure below.

    A 401 of the compute side is about our credentials, not the client's, and would make kubectl
    ask for a password; anything outside of 4xx and 5xx is no failure that HTTP knows.
    """
    if code == HTTPStatus.UNAUTHORIZED or not 400 <= code <= 599:
        return HTTPStatus.BAD_GATEWAY
    return code
