"""An agent without one of its rules, so that the judge can be seen to find it. For tests only.

    python -m tests.chaos.broken no-uid-precondition run --config FILE

In: the name of a rule, and the arguments of `vnode`. Out: `vnode`, with exactly that rule taken out
of the modules that it is made of. Nothing of this is in the product, and a rule that is not found
where it is expected is an error: a switch that breaks nothing would prove nothing.
"""

from __future__ import annotations

import math
import sys
from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    from collections.abc import Callable


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


RULES: dict[str, Callable[[], None]] = {
    "no-uid-precondition": no_uid_precondition,
    "gc-without-second-sighting": gc_without_second_sighting,
    "adopt-without-uid-check": adopt_without_uid_check,
}


def main(arguments: list[str]) -> None:
    """Break the rule, then be `vnode`."""
    rule, *rest = arguments
    RULES[rule]()
    from federation.cli import app

    app(args=rest, prog_name="vnode")


if __name__ == "__main__":
    main(sys.argv[1:])
