"""docs/kubectl.md, written from what a run of `tests/e2e/test_kubectl.py` said. Pure.

In: the rows, and which of them held by which way. Out: Markdown.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.clusters import programs
from tests.e2e.kubectl.ways import STREAMS

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from tests.e2e.kubectl.ways import Row, Way

_HEAD = """\
<!-- Written by `python -m tests.e2e.kubectl`; do not edit. -->
# kubectl through a virtual node

What kubectl's verbs do with a pod on a virtual node, on real containers of a compute cluster with
Kubernetes {version}. A run of `tests/e2e/test_kubectl.py`, which `make e2e` runs too, wrote it:

```sh
.venv/bin/python -m tests.e2e.kubectl
```

## Ways

Streams (exec, attach, port-forward, and what is made of them) are carried over WebSocket or SPDY.
kubectl chooses for its part of the way: WebSocket since 1.31, if not told otherwise by
`KUBECTL_REMOTE_COMMAND_WEBSOCKETS` or `KUBECTL_PORT_FORWARD_WEBSOCKETS`. The tenant's API server
speaks the same to the virtual node if it is 1.36 or newer and the node declares the feature
`ExtendWebSocketsToKubelet`, which virtual nodes do when their compute cluster is 1.31 or newer;
else it translates to SPDY. The virtual node hands on what it gets.
"""
_VERBS = """\
## Verbs

A `-` stands where nothing is streamed: one request and its answer are the same over all protocols.
"""


def render(rows: Sequence[Row], held: Mapping[tuple[str, Way], bool]) -> str:
    """The whole page. `held`: by what a row shows, and way."""
    numbered = {way: str(number) for number, way in enumerate(STREAMS, 1)}
    ways = [
        (number, way.version, way.client.value, way.node.value) for way, number in numbered.items()
    ]
    verbs = [
        (
            f"`{row.verb}`",
            row.shows,
            *(_cell(row, way, held) for way in numbered),
        )
        for row in rows
    ]
    return "\n".join(
        [
            _HEAD.format(version=programs.family_of("kube-apiserver").version),
            _table(("way", "kubectl", "to the API server", "on to node and container"), ways),
            _VERBS,
            _table(("kubectl", "what is tried", *(f"way {n}" for n in numbered.values())), verbs),
        ]
    )


def _cell(row: Row, way: Way, held: Mapping[tuple[str, Way], bool]) -> str:
    if way not in row.ways:
        return "-"
    return "yes" if held[row.shows, way] else "**no**"


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)
