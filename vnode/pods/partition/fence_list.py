"""The fence list: pods that were given up while their copies may still run. Pure.

In and out: an annotation of the virtual node's Node object, by which every replica and every later
agent knows it (there is no local database). Two thousand pods may be given up at once and all
annotations of an object have 256 KiB, so entries are short and grouped:

    {"<namespace>": {"<place>": ["<name> <uid> <unix seconds>[ accepted]", …]}}
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass

import msgspec

from vnode.kube.types import UID, ObjectKey

__all__ = ["FENCED", "MOST_BYTES", "Fence", "decode", "encode", "generated_from", "size"]

FENCED = "vnode.dev/fenced"
"""Annotation of a virtual node."""
MOST_BYTES = 200 << 10
"""The rest of 256 KiB is for everybody else's annotations."""
_ACCEPTED = "accepted"
_GROUP = 64
"""Bytes around a namespace and a place, generously."""


_GENERATED = re.compile("(.+)[bcdfghjklmnpqrstvwxz2456789]{5}")
"""metadata.generateName and what API servers add to it (k8s.io/apiserver, names/generate.go)."""


def generated_from(key: ObjectKey) -> ObjectKey | None:
    """The generateName that a pod was made from, by its looks; None: its name was given.

    Successors of pods with generated names have other names, from the same one.
    """
    found = _GENERATED.fullmatch(key.name)
    return ObjectKey(key.namespace, found[1]) if found is not None else None


@dataclass(frozen=True, slots=True)
class Fence:
    """A pod that was given up, and whose copy is not confirmed gone."""

    key: ObjectKey
    uid: UID
    since: int
    """Unix seconds."""
    place: str = ""
    """`PodBackend.place` in which its copy was made; empty: not known."""
    accepted: bool = False
    """Somebody said that nobody needs to wait for it."""


def encode(fences: Iterable[Fence]) -> str:
    """The annotation's text, the same for the same fences in any order."""
    groups: dict[str, dict[str, list[str]]] = {}
    for fence in sorted(fences, key=lambda fence: (fence.key, fence.uid)):
        place = groups.setdefault(fence.key.namespace, {}).setdefault(fence.place, [])
        place.append(_entry(fence))
    return msgspec.json.encode(groups).decode()


def decode(text: str) -> tuple[Fence, ...]:
    """Read an annotation; nothing where there is none.

    Raises:
        ValueError: it is not what `encode` writes.
    """
    if not text:
        return ()
    groups = msgspec.json.decode(text, type=dict[str, dict[str, list[str]]])
    return tuple(
        _fence(namespace, place, entry)
        for namespace, places in groups.items()
        for place, entries in places.items()
        for entry in entries
    )


def size(fence: Fence) -> int:
    """Bytes by which a fence makes the text longer at most."""
    return len(_entry(fence)) + 3 + _GROUP + len(fence.place) + len(fence.key.namespace)


def _entry(fence: Fence) -> str:
    parts = [fence.key.name, fence.uid, str(fence.since)]
    return " ".join([*parts, _ACCEPTED] if fence.accepted else parts)


def _fence(namespace: str, place: str, entry: str) -> Fence:
    name, uid, since, *accepted = entry.split(" ")
    if accepted not in ([], [_ACCEPTED]):
        raise ValueError(f"not an entry of a fence list: {entry}")
    return Fence(ObjectKey(namespace, name), UID(uid), int(since), place, bool(accepted))
