"""Keeps the compute cluster's names out of everything that tenants read. Pure.

In: texts and statuses as the compute side words them. Out: the same with the tenant's names in
place of the compute namespace, the copy's UID and the compute node (DESIGN 11). What else is only
a name down there, accounts and admission policies, is called what it is.
"""

import functools
import re
from dataclasses import dataclass

import orjson

from vnode.kube.types import JSON

_USER = re.compile(r'[Uu]ser "[^"]*"')
_QUOTED_USER = 'ser \\"'
"""What a match of `_USER` looks like in JSON."""
_POLICY = re.compile(
    r"""(?:\w+AdmissionPolicy|policy) ['"][^'"]*['"](?: with binding ['"][^'"]*['"])?(?= denied )"""
)
"""How API servers name an admission policy of theirs (apiserver, admission/plugin/policy)."""
_NOT_CALLED = re.compile(
    r'(failed calling webhook "[^"]*": )failed to call webhook: (.*)', re.DOTALL
)
"""How API servers tell that a webhook of theirs does not answer: then come its URL, addresses, and
names of Services and certificates (apiserver, admission/plugin/webhook/mutating)."""
_PLAIN = (
    "context deadline exceeded",
    "connection refused",
    "connection reset",
    "i/o timeout",
    "no route to host",
    "no such host",
    "no endpoints available",
    "EOF",
)
"""What of that may be told."""
_FOR_PEOPLE = frozenset({"message", "reason"})
_PATHS = "|".join(
    rf"(?<={part}/)" for part in ("namespaces", "containerLogs", "exec", "attach", "portForward")
)
"""Where a namespace follows in a URL of an API server or a kubelet."""
_OTHERS = r'(?<!image ")(?<!container ")(?<!container=)'
"""What comes before names that are the tenant's own."""


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
        text = _POLICY.sub("a policy of the compute cluster", text)
        text = _NOT_CALLED.sub(lambda found: found[1] + _plainly(found[2]), text)
        for below, own in zip(_spellings(self.uid_below), _spellings(self.uid), strict=True):
            text = text.replace(below, own) if below else text
        if self._maps_namespace and self.namespace_below in text:
            text = _namespace(self.namespace_below).sub(lambda _: self.namespace, text)
        if self.node_below and self.node_below in text:
            text = _node(self.node_below).sub(lambda _: self.node or "the node", text)
        return text

    def conceal_status(self, status: bytes) -> bytes:
        """Replace the names below in the messages of a PodStatus."""
        text = status.decode()
        named = (self.namespace_below if self._maps_namespace else "", self.node_below)
        uids = _spellings(self.uid_below)
        if not any(name and name in text for name in (*named, *uids, _QUOTED_USER)):
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


def _plainly(text: str) -> str:
    """Why something of the compute cluster could not be called."""
    return next((plain for plain in _PLAIN if plain in text), "it cannot be called")


def _spellings(uid: str) -> tuple[str, str]:
    """A UID, and as it stands in the names of systemd's cgroups."""
    return uid, uid.replace("-", "_")


@functools.lru_cache(maxsize=4096)
def _namespace(name: str) -> re.Pattern[str]:
    """`tenant--namespace` wherever it stands, and other names where they are a whole word.

    A short one from a table may be an ordinary word too, or a part of nvidia.com/gpu.
    """
    found = re.escape(name)
    if "--" in name:
        return re.compile(found)
    no_more = r"(?![A-Za-z0-9-]|\.(?!svc\b)[A-Za-z0-9])"
    return re.compile(rf"(?:(?<![A-Za-z0-9/-]){_OTHERS}|{_PATHS}){found}{no_more}")


@functools.lru_cache(maxsize=4096)
def _node(name: str) -> re.Pattern[str]:
    return re.compile(rf"(?<![A-Za-z0-9-]){re.escape(name)}(?![A-Za-z0-9-])")
