"""One line for each test that ends."""

from __future__ import annotations

from tests.conformance.kubernetes.progress import ProgressLines

OUTPUT = """\
[SynchronizedBeforeSuite] PASSED [0.041 seconds]
[SynchronizedBeforeSuite]
------------------------------
• [4.058 seconds]
[sig-node] Pods should run [NodeConformance] [sig-node, NodeConformance]
  Timeline >>
------------------------------
• [FAILED] [300.100 seconds]
[sig-node] Probes [It] should restart [NodeConformance] [sig-node, NodeConformance]
S [SKIPPED] [0.500 seconds]
[sig-node] Lease [Conformance] [sig-node, Conformance]
"""


def test_ends_of_tests_are_counted_and_named_without_their_labels() -> None:
    lines = ProgressLines(total=9)
    said = [text for line in OUTPUT.splitlines() if (text := lines.feed(line))]
    assert said == [
        "1/9, 0 failed: [sig-node] Pods should run [NodeConformance]: passed, 4.058 s",
        "2/9, 1 failed: [sig-node] Probes should restart [NodeConformance]: failed, 300.100 s",
        "3/9, 1 failed: [sig-node] Lease [Conformance]: skipped, 0.500 s",
    ]
