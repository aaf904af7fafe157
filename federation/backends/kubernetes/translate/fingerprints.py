"""Short fingerprints of what was last applied to a copy, by name, as one annotation.

In: values that a tenant pod asks for. Out: text such as `main=1a2b3c4d,proxy=5e6f7a8b`, and back.
By them a wish of the tenant's that changed is told from a value that the compute side changed
(defaults, webhooks, autoscalers), which the copy's own spec would not tell.
"""

from collections.abc import Mapping
from hashlib import blake2b

import msgspec

from vnode.kube.types import JSON

POD = ""
"""Name under which the pod's own value stands, beside those of its containers."""


SENT = "sent"
"""In place of a fingerprint: on its way, and not known to have arrived."""


def fingerprint(value: JSON) -> str:
    """Eight hex characters; equal values in any order of keys have the same."""
    return blake2b(msgspec.json.encode(value, order="deterministic"), digest_size=4).hexdigest()


def as_mark(fingerprints: Mapping[str, str]) -> str:
    """The annotation's text."""
    return ",".join(f"{name}={value}" for name, value in sorted(fingerprints.items()))


def from_mark(mark: str | None) -> dict[str, str]:
    """Fingerprints by name; what somebody has spoilt is left out, as if it was never applied."""
    pairs = (entry.partition("=") for entry in (mark or "").split(","))
    return {name: value for name, equals, value in pairs if equals}
