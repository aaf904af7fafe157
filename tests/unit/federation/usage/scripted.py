"""A compute API server that answers GETs as a test says, and copies to ask it about."""

from collections.abc import Callable, Mapping
from typing import cast

import msgspec

from federation.backends.kubernetes.usage.samples import RunningCopy
from tests.builders import NODE, make_uid
from vnode.kube.client import KubeClient
from vnode.kube.types import NodeName, ObjectKey

START = 1_800_000_000.0
"""2027-01-15T08:00:00Z"""


def make_copy(
    number: int = 1,
    *,
    namespace: str = "red--team-a",
    node: NodeName = NODE,
    node_below: str = "gpu-1",
    started: Mapping[str, float] | None = None,
) -> RunningCopy:
    """A copy with one container that started at START."""
    return RunningCopy(
        uid=make_uid(number),
        handle=f"below-{number}",
        node=node,
        below=ObjectKey(namespace, f"job-{number}"),
        node_below=node_below,
        started={"main": START} if started is None else started,
    )


class ScriptedServer:
    """Answers by path; a path that is not scripted is a mistake of the test."""

    def __init__(self) -> None:
        self.answers: dict[str, object] = {}
        """JSON, bytes, or an error to raise; or a function that gives one of these."""
        self.asked: list[tuple[str, Mapping[str, str]]] = []

    @property
    def client(self) -> KubeClient:
        return cast("KubeClient", self)

    @property
    def paths(self) -> list[str]:
        return sorted(path for path, _ in self.asked)

    async def request(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str],
        timeout: float,
        compress: bool = False,
    ) -> bytes:
        assert method == "GET"
        assert timeout <= 4
        self.asked.append((path, query))
        answer = self.answers[path]
        if callable(answer):
            answer = cast("Callable[[], object]", answer)()
        if isinstance(answer, Exception):
            raise answer
        return answer if isinstance(answer, bytes) else msgspec.json.encode(answer)
