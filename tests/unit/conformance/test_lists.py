"""The lists choose what they say."""

from __future__ import annotations

import re

import pytest

from tests.conformance.kubernetes.lists import SIG_NODE, SIG_STORAGE, TestList, skip_expression
from tests.conformance.kubernetes.run import focus


@pytest.mark.parametrize(
    ("chosen", "name"),
    [
        (SIG_NODE, "[sig-node] Pods should be updated [NodeConformance] [Conformance]"),
        (SIG_NODE, "[sig-node] PodTemplates should replace a template [Conformance]"),
        (SIG_STORAGE, "[sig-storage] HostPath should give a mode [NodeConformance]"),
        (SIG_STORAGE, "[sig-storage] EmptyDir wrapper volumes should not conflict [Conformance]"),
        (SIG_STORAGE, "[sig-storage] Projected secret should work [Conformance]"),
    ],
)
def test_conformance_tests_of_nodes_and_their_volumes_are_chosen(
    chosen: TestList, name: str
) -> None:
    assert re.search(chosen.focus, name)
    assert not re.search(skip_expression(), name)


@pytest.mark.parametrize(
    "name",
    [
        "[sig-storage] CSIStorageCapacity should support operations [Conformance]",
        "[sig-network] DNS should provide DNS [Conformance]",
        "[sig-node] Pods should cap back-off",
    ],
)
def test_others_are_not(name: str) -> None:
    assert not re.search(SIG_NODE.focus, name)
    assert not re.search(SIG_STORAGE.focus, name)


@pytest.mark.parametrize("label", ["[Serial]", "[Feature:SCTP]", "[Slow]", "IPv6"])
def test_what_cannot_run_here_is_left_out(label: str) -> None:
    assert re.search(skip_expression(), f"[sig-node] Pods {label} should [NodeConformance]")


def test_a_few_tests_are_chosen_by_name_and_many_by_the_lists_expression() -> None:
    names = ["a (b) c", "d.e"]
    assert focus(SIG_NODE, names) == [r"--focus= a \(b\) c$", r"--focus= d\.e$"]
    assert focus(SIG_NODE, names, most=1) == [f"--focus={SIG_NODE.focus}"]
