"""Which of Kubernetes' tests judge a node.

Names carry their labels in brackets; ginkgo chooses by regular expressions over names. The lists
are all tests of their area that Kubernetes calls conformance of a node or of a cluster.
"""

from __future__ import annotations

from dataclasses import dataclass

_PROCESSES = 8


@dataclass(frozen=True)
class TestList:
    """A choice of tests."""

    __test__ = False  # not one of pytest's

    name: str
    focus: str
    """Regular expression that names of its tests match."""
    processes: int = _PROCESSES
    """How many run at once unless somebody says otherwise."""


SIG_NODE = TestList("sig-node", r"\[sig-node\].*\[(NodeConformance|Conformance)\]")
SIG_STORAGE = TestList(
    "sig-storage",
    r"\[sig-storage\].*\[NodeConformance\]"
    r"|\[sig-storage\] (ConfigMap|Secrets|Projected [a-zA-Z]+|Downward API volume|"
    r"EmptyDir( wrapper)? volumes) .*\[Conformance\]",
    processes=4,
)
LISTS = {chosen.name: chosen for chosen in (SIG_NODE, SIG_STORAGE)}

STANDING_SKIP = (
    (r"\[Serial\]", "changes the whole cluster; cannot run beside others"),
    (r"\[Slow\]", "minutes each, by their authors' word"),
    (r"\[Disruptive\]", "breaks the node for the others"),
    (r"\[Flaky\]", "by their authors' word"),
    (r"\[Feature:", "needs something that is not part of every cluster"),
    (r"\[Alpha\]", "behind a gate that is off"),
    (r"\[FeatureGate:[^]]*\] \[Beta\] .*\[OffByDefault", "behind a gate that is off"),
    (r"\[Windows|LinuxOnly-no", "another operating system"),
    (r"IPv6", "this machine's clusters are IPv4"),
)
"""Never run, directly or through: expression and reason."""


def skip_expression() -> str:
    """STANDING_SKIP as one expression."""
    return "|".join(expression for expression, _ in STANDING_SKIP)
