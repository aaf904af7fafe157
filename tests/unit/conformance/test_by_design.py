"""The committed list of differences is read strictly."""

from __future__ import annotations

import pytest

from tests.conformance.kubernetes.by_design import FILE, ByDesign, ListError, read


def test_the_committed_file_can_be_read() -> None:
    read(FILE.read_text())


def test_an_entry_has_a_pattern_a_row_of_the_design_and_a_reason() -> None:
    (entry,) = read("- {test: 'a.*b', design: '6, PVC', reason: 'no\n  claims'}")
    assert entry == ByDesign("a.*b", "6, PVC", "no claims")


@pytest.mark.parametrize(
    "text",
    [
        "- {test: a, design: b}",
        "- {test: a, design: b, reason: ''}",
        "- {test: a, design: b, reason: c, until: d}",
        "- a",
        "- {test: '(', design: b, reason: c}",
    ],
)
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(ListError, match="entry 1"):
        read(text)


def test_a_pattern_speaks_of_whole_names_only() -> None:
    entry = ByDesign("a b", "6", "c")
    assert entry.covers("a b")
    assert not entry.covers("a b c")
