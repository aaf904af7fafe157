"""Direct and through the virtual node, side by side, and what is wrong with it.

In: results of both runs, which tests start pods, the committed differences. Out: a `Comparison`;
the command fails if it has problems. Pure.

A test counts when it starts a pod and passes directly. Of those, what does not pass through the
virtual node is a difference; it is either in the committed list or a problem.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tests.conformance.kubernetes.by_design import MOST_SHARE

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tests.conformance.kubernetes.by_design import ByDesign
    from tests.conformance.kubernetes.results import Result


@dataclass(frozen=True)
class Group:
    """Numbers of one heading."""

    name: str
    """E.g. `[sig-node] Probing container`."""
    direct: int
    """Tests that count."""
    through: int
    """Those of them that pass through the virtual node."""


@dataclass(frozen=True)
class Difference:
    """A test that counts and does not pass through the virtual node."""

    test: str
    error: str
    """What the judge said."""
    entry: ByDesign | None
    """Why that is meant; None: it is not."""


@dataclass(frozen=True)
class Comparison:
    """What came out of all lists that ran."""

    groups: Sequence[Group]
    differences: Sequence[Difference]
    not_counted: Mapping[str, str]
    """Tests that say nothing about the virtual node, with the reason."""
    problems: Sequence[str]
    """Why the whole is not accepted; empty: it is."""

    @property
    def direct(self) -> int:
        """Tests that count."""
        return sum(group.direct for group in self.groups)

    @property
    def through(self) -> int:
        """Those of them that pass through the virtual node."""
        return sum(group.through for group in self.groups)


def compare(
    *,
    direct: Mapping[str, Result],
    through: Mapping[str, Result],
    with_pods: set[str],
    by_design: Sequence[ByDesign],
    whole: bool,
) -> Comparison:
    """Compare two runs; `whole`: all lists ran, so every committed entry must speak of a test."""
    counting = {n: r for n, r in direct.items() if r.passed and n in with_pods}
    differences = [
        Difference(name, _error(through.get(name)), _entry(by_design, name))
        for name in sorted(counting)
        if not _passed(through, name)
    ]
    return Comparison(
        groups=_groups(counting, through),
        differences=differences,
        not_counted=_not_counted(direct, through, with_pods),
        problems=[
            *_unexpected(differences),
            *_superfluous(by_design, direct, through, whole=whole),
            *_too_many(differences, len(counting), whole=whole),
        ],
    )


def _passed(through: Mapping[str, Result], name: str) -> bool:
    return name in through and through[name].passed


def _error(result: Result | None) -> str:
    return "did not run" if result is None else f"{result.state}: {result.reason}"


def _entry(by_design: Sequence[ByDesign], name: str) -> ByDesign | None:
    return next((entry for entry in by_design if entry.covers(name)), None)


def _groups(counting: Mapping[str, Result], through: Mapping[str, Result]) -> list[Group]:
    all_of = Counter(result.group for result in counting.values())
    passed = Counter(r.group for name, r in counting.items() if _passed(through, name))
    return [Group(name, all_of[name], passed[name]) for name in sorted(all_of)]


def _not_counted(
    direct: Mapping[str, Result], through: Mapping[str, Result], with_pods: set[str]
) -> dict[str, str]:
    found = {}
    for name, result in sorted(direct.items()):
        if not result.passed:
            found[name] = f"{result.state} directly too: {result.reason}"
        elif name not in with_pods:
            verdict = "passes" if _passed(through, name) else _error(through.get(name))
            found[name] = f"starts no pod ({verdict} through the virtual node)"
    return found


def _unexpected(differences: Sequence[Difference]) -> list[str]:
    return [f"{d.test}: {d.error}" for d in differences if d.entry is None]


def _superfluous(
    by_design: Sequence[ByDesign],
    direct: Mapping[str, Result],
    through: Mapping[str, Result],
    *,
    whole: bool,
) -> list[str]:
    found = []
    for entry in by_design:
        covered = [name for name in direct if entry.covers(name)]
        found += [
            f"superfluous in by_design.yaml, it passes: {name}"
            for name in covered
            if _passed(through, name)
        ]
        if whole and not covered:
            found.append(f"superfluous in by_design.yaml, no test has that name: {entry.test}")
    return found


def _too_many(differences: Sequence[Difference], counting: int, *, whole: bool) -> list[str]:
    meant = sum(1 for d in differences if d.entry is not None)
    if whole and meant > counting * MOST_SHARE:
        return [f"{meant} of {counting} tests differ by design, more than {MOST_SHARE:.0%}"]
    return []
