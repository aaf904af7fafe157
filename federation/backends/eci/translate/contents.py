"""What a pod refers to, as far as it was fetched: ConfigMaps, Secrets and tokens by name.

In: the bodies and tokens that the seam handed down for one pod. Out: text and bytes by key, or
nothing where the reference is optional, or `Waiting` with the reason of vnode's own events. Values
are in no error and in no repr.
"""

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass

from vnode.backend import ObjectRef, Reference, ReferenceKind, Token, TokenKey, Waiting
from vnode.kube.types import ConfigMap, Secret

__all__ = ["Contents"]


@dataclass(frozen=True, slots=True, repr=False)
class Contents:
    """Bodies and tokens for one pod of a tenant namespace."""

    namespace: str
    bodies: Mapping[ObjectRef, ConfigMap | Secret]
    tokens: Mapping[TokenKey, Token]

    def files(
        self, kind: ReferenceKind, name: str, *, optional: bool, where: str
    ) -> dict[str, bytes] | None:
        """All keys of an object; None: it is optional and not there.

        Raises:
            Waiting: it is mandatory and not there, or cannot be read.
        """
        body = self.bodies.get(ObjectRef(self.namespace, kind, name))
        if body is None:
            if optional or not name:
                return None
            raise _missing(f"{kind} {name!r}", kind, where)
        files = {key: _decoded(text, kind, name, where) for key, text in _binary(body).items()}
        if isinstance(body, ConfigMap):
            files |= {key: text.encode() for key, text in body.data.items()}
        return files

    def texts(
        self, kind: ReferenceKind, name: str, *, optional: bool, where: str
    ) -> dict[str, str | None] | None:
        """All keys that can be variables; the value None: it is no text. See `files`."""
        body = self.bodies.get(ObjectRef(self.namespace, kind, name))
        if isinstance(body, ConfigMap):
            return dict(body.data)  # A kubelet makes no variables of binaryData.
        files = self.files(kind, name, optional=optional, where=where)
        return None if files is None else {key: _text(value) for key, value in files.items()}

    def key(
        self, kind: ReferenceKind, name: str, key: str, *, optional: bool, where: str
    ) -> tuple[str | None] | None:
        """One key's text in a tuple; None: it is optional and not there."""
        texts = self.texts(kind, name, optional=optional, where=where)
        if texts is not None and key in texts:
            return (texts[key],)
        if optional:
            return None
        raise _missing(f"key {key!r} of {kind} {name!r}", f"{kind}Key", where)

    def variables(self, ref: Reference) -> dict[str, str]:
        """The service variables of the pod; see `vnode.backend.SERVICE_VARIABLES`."""
        body = self.bodies.get(ObjectRef(self.namespace, *ref))
        if not isinstance(body, ConfigMap):
            raise _missing("the namespace's service variables", "ConfigMap", "spec")
        return dict(body.data)

    def token(self, key: TokenKey, *, where: str) -> bytes:
        """A ServiceAccount token. Raises Waiting without one."""
        token = self.tokens.get(key)
        if token is None:
            raise Waiting(
                f"{where}: its ServiceAccount token was not issued yet",
                reason="TokenNotIssued",
                not_done=True,
            )
        return token.value.encode()


def _binary(body: ConfigMap | Secret) -> Mapping[str, str]:
    return body.binary_data if isinstance(body, ConfigMap) else body.data


def _decoded(text: str, kind: ReferenceKind, name: str, where: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise Waiting(
            f"{where}: {kind} {name!r} holds something that is no base64",
            reason=f"Invalid{kind}",
            not_done=True,
        ) from None


def _text(value: bytes) -> str | None:
    try:
        return value.decode()
    except UnicodeDecodeError:
        return None


def _missing(what: str, kind: str, where: str) -> Waiting:
    return Waiting(f"{where}: {what} not found", reason=f"Mandatory{kind}NotFound", not_done=True)
