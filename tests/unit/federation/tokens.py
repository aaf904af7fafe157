"""ServiceAccount tokens as API servers make them, but for the signature."""

import base64
import json
from collections.abc import Callable

from tests.fakes.client import Body, Call, RecordingClient
from vnode.kube.resources import Resource

EPOCH = 1_800_000_000.0


def make_token(
    *,
    issued: float = EPOCH,
    life: float = 3600.0,
    subject: str = "system:serviceaccount:vnode-system:vnode-red",
) -> str:
    """A token that says so of itself."""
    parts = [{"alg": "none"}, {"sub": subject, "iat": issued, "exp": issued + life}]
    encoded = [base64.urlsafe_b64encode(json.dumps(p).encode()).rstrip(b"=") for p in parts]
    return b".".join([*encoded, b"signature"]).decode()


class TokenServer(RecordingClient):
    """A cluster whose tokens say when they end."""

    credential: Callable[[], tuple[str, str]] = staticmethod(lambda: ("", ""))
    """Server and token that its callers use."""

    def uses(self, *, server: str, token: str) -> bool:
        """As `KubeClient` says it."""
        return self.credential() == (server, token)

    def _create(self, resource: Resource, call: Call) -> Body:
        answer = super()._create(resource, call)
        if call.subresource == "token":
            life = float(call.body["spec"]["expirationSeconds"])
            subject = f"system:serviceaccount:{call.key.namespace}:{call.key.name}"
            now = self._unix_time()
            answer["status"]["token"] = make_token(issued=now, life=life, subject=subject)
        return answer
