"""What an API server can do, by its version.

In: the answer to GET /version. Out: its version, compared with those that brought something we use.
"""

import re

import msgspec

__all__ = ["START_GATES_SINCE", "WEBSOCKETS_SINCE", "parse_version", "server_version"]

WEBSOCKETS_SINCE = (1, 31)
"""The first version that takes kubectl's WebSocket protocols for port-forward too (KEP-4006)."""
START_GATES_SINCE = (1, 27)
"""The first version that has schedulingGates unless told otherwise (KEP-3521). Older ones leave
them out, or refuse the pod for good."""
_VERSION = re.compile(r"v?([0-9]+)\.([0-9]+)")


class _Answer(msgspec.Struct):
    git_version: str = msgspec.field(default="", name="gitVersion")


def server_version(answer: bytes) -> tuple[int, int] | None:
    """Major and minor version; None: the answer does not say."""
    try:
        return parse_version(msgspec.json.decode(answer, type=_Answer).git_version)
    except msgspec.DecodeError:
        return None


def parse_version(text: str) -> tuple[int, int] | None:
    """Major and minor version of a gitVersion; None: it is none."""
    found = _VERSION.match(text)
    return (int(found[1]), int(found[2])) if found is not None else None
