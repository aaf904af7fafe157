"""The rules that chaos takes out of an agent, one at a time, to see that the judge finds it.

python -m tests.chaos.broken no-uid-precondition run --config FILE
"""

from __future__ import annotations

import math
import sys
from typing import TYPE_CHECKING, Any

import msgspec

from tests.measuring import broken

if TYPE_CHECKING:
    from tests.measuring.broken import Rules


def no_uid_precondition() -> None:
    """Deletions hit whatever has the name by then."""
    from vnode.kube.client import KubeClient

    plain = KubeClient.request

    async def request(self: KubeClient, method: str, path: str, **options: Any) -> Any:
        if method == "DELETE":
            body = msgspec.json.decode(options["body"])
            del body["preconditions"]
            options["body"] = msgspec.json.encode(body)
        return await plain(self, method, path, **options)

    KubeClient.request = request  # type: ignore[method-assign]


def gc_without_second_sighting() -> None:
    """Copies without tenant pod are deleted as soon as they are seen once."""
    from vnode.pods.orphans import OrphanGuard

    plain = OrphanGuard._sight

    def sight(self: Any, copy: Any, now: float) -> Any:
        sighting = plain(self, copy, now)
        sighting.since = -math.inf
        return sighting

    OrphanGuard._sight = sight  # type: ignore[method-assign]


def adopt_without_uid_check() -> None:
    """Whatever lies where the copy should be is taken for it."""
    from federation.backends.kubernetes.pod_writer import PodWriter
    from vnode.backend import Waiting

    async def adopt(self: Any, request: Any) -> Any:
        found = await self.live(request.pod.metadata.key)
        if found is None:
            raise Waiting("gone", reason="PredecessorExists")
        marks = self.translated(request)["metadata"]
        metadata = msgspec.structs.replace(
            found.metadata, labels=marks["labels"], annotations=marks["annotations"]
        )
        return msgspec.structs.replace(found, metadata=metadata)

    assert callable(PodWriter._adopt)
    PodWriter._adopt = adopt  # type: ignore[method-assign]


RULES: Rules = {
    "no-uid-precondition": no_uid_precondition,
    "gc-without-second-sighting": gc_without_second_sighting,
    "adopt-without-uid-check": adopt_without_uid_check,
}


if __name__ == "__main__":
    broken.main(RULES, sys.argv[1:])
