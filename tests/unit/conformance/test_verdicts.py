"""The output of `go test -v` is read as verdicts."""

from __future__ import annotations

from tests.conformance.virtual_kubelet.verdicts import Verdict, read_output

OUTPUT = """\
=== RUN   TestVirtualKubelet
    suite.go:62: True
=== RUN   TestVirtualKubelet/TestGetPods
    basic.go:43: Created pod: nginx
=== RUN   TestVirtualKubelet/TestGetStatsSummary
    basic.go:95: an error on the server
=== RUN   TestVirtualKubelet/TestLater
    suite.go:80: Skipped due to shouldSkipTest()
--- FAIL: TestVirtualKubelet (1.20s)
    --- PASS: TestVirtualKubelet/TestGetPods (0.60s)
    --- FAIL: TestVirtualKubelet/TestGetStatsSummary (0.59s)
    --- SKIP: TestVirtualKubelet/TestLater (0.00s)
FAIL
"""


def test_each_test_has_a_verdict_and_what_it_printed() -> None:
    assert read_output(OUTPUT) == [
        Verdict("TestGetPods", True, 0.6, "basic.go:43: Created pod: nginx"),
        Verdict("TestGetStatsSummary", False, 0.59, "basic.go:95: an error on the server"),
        Verdict("TestLater", False, 0.0, "suite.go:80: Skipped due to shouldSkipTest()"),
    ]


def test_a_suite_that_did_not_start_has_no_verdicts() -> None:
    assert read_output("panic: no kubeconfig\n") == []
