"""Keeps the compute cluster's names out of everything that tenants read. Pure.

In: texts and statuses as the compute side words them. Out: the same with the tenant's names in
place of the compute namespace, the copy's UID and the compute node (DESIGN 11).
"""

import functools
import re
from dataclasses import dataclass

import orjson

from vnode.kube.types import JSON

_USER = re.compile(r'[Uu]ser "[^"]*"')
_FOR_PEOPLE = frozenset({"message", "reason"})


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
        text = _USER.sub("the virtual node", text)
        if self.uid_below:
            text = text.replace(self.uid_below, self.uid)
        if self._maps_namespace and self.namespace_below in text:
            text = _whole(self.namespace_below).sub(self.namespace, text)
        if self.node_below and self.node_below in text:
            text = _whole(self.node_below).sub(self.node or "the node", text)
        return text

    def conceal_status(self, status: bytes) -> bytes:
        """Replace the names below in the messages of a PodStatus."""
        text = status.decode()
        named = (self.namespace_below if self._maps_namespace else "", self.uid_below)
        if not any(name and name in text for name in (*named, self.node_below)):
            return status
        return orjson.dumps(self._in_messages(orjson.loads(status)))

    @property
    def _maps_namespace(self) -> bool:
        return self.namespace_below != self.namespace

    def _in_messages(self, value: JSON) -> JSON:
        if isinstance(value, dict):
            return {
                k: self.conceal(v)
                if k in _FOR_PEOPLE and isinstance(v, str)
                else self._in_messages(v)
                for k, v in value.items()
            }
        return [self._in_messages(v) for v in value] if isinstance(value, list) else value


@functools.lru_cache(maxsize=4096)
def _whole(name: str) -> re.Pattern[str]:
    """The name as a whole: not a part of a longer one, nor of a resource such as nvidia.com/gpu."""
    found, no_more = re.escape(name), r"(?![A-Za-z0-9.-])"
    return re.compile(rf"(?<![A-Za-z0-9./-]){found}{no_more}|(?<=namespaces/){found}{no_more}")
