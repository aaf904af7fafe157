"""docs/conformance.md, written from what the judges said. Pure.

In: virtual-kubelet's verdicts, the `Comparison` of Kubernetes' tests, versions. Out: Markdown.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.conformance.kubernetes.by_design import MOST_SHARE
from tests.conformance.kubernetes.lists import LISTS, STANDING_SKIP

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from tests.conformance.kubernetes.compare import Comparison
    from tests.conformance.virtual_kubelet.verdicts import Verdict

_HEAD = """\
<!-- Written by `make conformance`; do not edit. -->
# Conformance

What programs that others wrote say about a virtual node. They run unchanged; nothing is tried
twice. `make conformance` repeats it and writes this page; it takes about 40 minutes on 2 cores and
needs what real containers need ([testing.md](testing.md)).
"""
_VIRTUAL_KUBELET = """\
## virtual-kubelet's end-to-end suite, {version}

The suite with which providers of virtual-kubelet are tested, as a Go module dependency
(`tests/conformance/virtual_kubelet/`). `make test` runs it too.
"""
_KUBERNETES = """\
## Kubernetes' e2e.test, {version}

*Directly*: on the node of a compute cluster. *Through*: in a tenant whose only node is a virtual
one that forwards to that same node; the tenant is fully trusted (`policy.allow` lists everything),
the network is flat, the virtual node has no taint. A test counts if it passes directly and starts a
pod: by the audit log of the direct run, a pod was created in the test's namespace.
"""
_DIFFERENCES = """\
### What does not pass through

By design means: listed with its reason in `tests/conformance/kubernetes/by_design.yaml`, at most
{most:.0%} of the tests that count. Anything else makes `make conformance` fail, and so does an
entry whose test passes.
"""
_NOT_COUNTED = """\
### What does not count
"""
_LEFT_OUT = """\
### What is not run

The lists are the names that match the first table's expressions, less those that match the
second's.
"""


def render(
    *,
    virtual_kubelet: Sequence[Verdict],
    virtual_kubelet_version: str,
    kubernetes: Comparison,
    kubernetes_version: str,
) -> str:
    """The whole page."""
    return "\n".join(
        [
            _HEAD,
            _VIRTUAL_KUBELET.format(version=virtual_kubelet_version),
            _verdicts(virtual_kubelet),
            _KUBERNETES.format(version=kubernetes_version),
            _totals(kubernetes),
            _groups(kubernetes),
            _DIFFERENCES.format(most=MOST_SHARE),
            _differences(kubernetes),
            _NOT_COUNTED,
            _not_counted(kubernetes),
            _LEFT_OUT,
            _table(
                ("list", "names that match"), ((x.name, _code(x.focus)) for x in LISTS.values())
            ),
            _table(("left out", "why"), ((_code(what), why) for what, why in STANDING_SKIP)),
        ]
    )


def _verdicts(verdicts: Sequence[Verdict]) -> str:
    passed = sum(1 for verdict in verdicts if verdict.passed)
    rows = ((_code(v.name), "passes" if v.passed else "**fails**") for v in verdicts)
    return f"{passed} of {len(verdicts)} pass.\n\n" + _table(("test", "verdict"), rows)


def _totals(kubernetes: Comparison) -> str:
    rows = []
    for name in [*LISTS, ""]:
        groups = [g for g in kubernetes.groups if g.name.startswith(f"[{name}")]
        meant = sum(1 for d in kubernetes.differences if d.entry and d.test.startswith(f"[{name}"))
        direct, through = sum(g.direct for g in groups), sum(g.through for g in groups)
        rows.append((name or "together", str(direct), str(through), str(meant)))
    return _table(("list", "tests that count", "pass through", "differ by design"), rows)


def _groups(kubernetes: Comparison) -> str:
    rows = ((_code(g.name), str(g.direct), str(g.through)) for g in kubernetes.groups)
    return _table(("group", "directly", "through"), rows)


def _differences(kubernetes: Comparison) -> str:
    rows = [
        (_code(d.test), d.entry.reason, f"DESIGN {d.entry.design}")
        if d.entry
        else (_code(d.test), f"**not by design** {d.error}", "")
        for d in kubernetes.differences
    ]
    return _table(("test", "reason", "design"), rows) if rows else "Nothing.\n"


def _not_counted(kubernetes: Comparison) -> str:
    rows = [(_code(name), why) for name, why in kubernetes.not_counted.items()]
    return _table(("test", "why"), rows) if rows else "Nothing.\n"


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [_row(head), "|" + "---|" * len(head), *(_row(map(_cell, row)) for row in rows)]
    return "\n".join(lines) + "\n"


def _row(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def _code(text: str) -> str:
    return f"`{text}`"
