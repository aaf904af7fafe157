"""Keeps the compute cluster's names out of everything that tenants read. Pure.

In: texts and statuses as the compute side words them. Out: the same with the tenant's names in
place of the compute namespace, the copy's UID and the compute node (DESIGN 11).
"""

import re
from dataclasses import dataclass

import orjson

from vnode.kube.types import JSON

_USER = re.compile(r'[Uu]ser "[^"]*"')


@dataclass(frozen=True, slots=True)
class Names:
    """What one copy is called below, and what its tenant calls it."""

    namespace_below: str
    namespace: str
    uid_below: str = ""
    uid: str = ""
    node_below: str = ""
    node: str = ""

    def conceal(self, text: str) -> str:
        """Replace the names below in a text for people."""
        text = _USER.sub("the virtual node", self._plain(text))
        return self._node(text) if self.node_below and self.node_below in text else text

    def conceal_status(self, status: bytes) -> bytes:
        """Replace the names below in a PodStatus."""
        text = self._plain(status.decode())
        if self.node_below and self.node_below in text:
            return orjson.dumps(self._in_messages(orjson.loads(text)))
        return text.encode()

    def _plain(self, text: str) -> str:
        if self.namespace_below != self.namespace:
            text = text.replace(self.namespace_below, self.namespace)
        return text.replace(self.uid_below, self.uid) if self.uid_below else text

    def _node(self, text: str) -> str:
        name = re.escape(self.node_below)
        return re.sub(rf"(?<![\w.-]){name}(?![\w-])", self.node or "the node", text)

    def _in_messages(self, value: JSON) -> JSON:
        if isinstance(value, dict):
            return {
                k: self._node(v) if k == "message" and isinstance(v, str) else self._in_messages(v)
                for k, v in value.items()
            }
        return [self._in_messages(v) for v in value] if isinstance(value, list) else value
