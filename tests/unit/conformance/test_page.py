"""The page says what the judges said."""

from __future__ import annotations

from tests.conformance.kubernetes.by_design import ByDesign
from tests.conformance.kubernetes.compare import Comparison, Difference, Group
from tests.conformance.page import render
from tests.conformance.virtual_kubelet.verdicts import Verdict

MEANT = Difference("[sig-node] Pods a|b", "failed", ByDesign(".*", "6, PVC", "no claims"))


def _page(*differences: Difference) -> str:
    comparison = Comparison(
        groups=[Group("[sig-node] Pods", 4, 3), Group("[sig-storage] Secrets", 2, 2)],
        differences=differences,
        not_counted={"[sig-node] Lease": "starts no pod"},
        problems=[],
    )
    return render(
        virtual_kubelet=[Verdict("TestGetPods", True, 1.0), Verdict("TestX", False, 1.0, "no")],
        virtual_kubelet_version="v1.13.0",
        kubernetes=comparison,
        kubernetes_version="v1.36.3",
    )


def test_the_totals_of_each_list_and_of_both_are_shown() -> None:
    page = _page(MEANT)
    assert "| sig-node | 4 | 3 | 1 |" in page
    assert "| sig-storage | 2 | 2 | 0 |" in page
    assert "| together | 6 | 5 | 1 |" in page


def test_each_group_and_each_test_that_does_not_count_is_shown() -> None:
    page = _page()
    assert "| `[sig-node] Pods` | 4 | 3 |" in page
    assert "| `[sig-node] Lease` | starts no pod |" in page


def test_a_difference_shows_its_reason_and_row() -> None:
    assert "| `[sig-node] Pods a\\|b` | no claims | DESIGN 6, PVC |" in _page(MEANT)


def test_a_difference_that_is_not_meant_stands_out() -> None:
    page = _page(Difference("[sig-node] Pods c", "failed: why", None))
    assert "| `[sig-node] Pods c` | **not by design** failed: why |  |" in page


def test_virtual_kubelets_verdicts_are_shown() -> None:
    page = _page()
    assert "1 of 2 pass." in page
    assert "| `TestX` | **fails** |" in page
