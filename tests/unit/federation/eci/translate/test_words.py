"""Commands, variables and `$(NAME)` within ECI's limits."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from federation.backends.eci.translate import limits
from federation.backends.eci.translate.words import expand, split
from federation.backends.translation.rules import Refused

words = st.lists(st.one_of(st.just("w"), st.just("l" * 300)), max_size=34)


@given(words, words)
def test_what_is_split_runs_the_same_words_within_the_limits(
    command: list[str], args: list[str]
) -> None:
    try:
        first, rest = split(command, args)
    except Refused:
        return
    assert first + rest == command + args
    assert bool(first) == bool(command)
    assert len(first) <= limits.WORDS
    assert len(rest) <= limits.ARGUMENTS
    assert all(len(word) <= limits.WORD for word in first)


@given(st.lists(st.just("w"), min_size=1, max_size=20), st.lists(st.just("w"), max_size=10))
def test_what_is_within_the_limits_is_never_refused(command: list[str], args: list[str]) -> None:
    assert split(command, args)


def test_a_long_script_becomes_an_argument() -> None:
    script = "s" * 1000
    assert split(["sh", "-c", script], []) == (["sh", "-c"], [script])


def test_many_arguments_move_to_the_command() -> None:
    command, args = split(["run"], [str(i) for i in range(15)])
    assert (len(command), len(args)) == (6, 10)


@pytest.mark.parametrize(
    ("text", "expanded"),
    [
        # k8s.io/kubernetes third_party/forked/golang/expansion/expand_test.go
        ("$(VAR_A)", "A"),
        ("___$(VAR_B)___", "___B___"),
        ("$(VAR_A)-$(VAR_B)", "A-B"),
        ("f000-$$(VAR_A)", "f000-$(VAR_A)"),
        ("$$$$(VAR_A)", "$$(VAR_A)"),
        ("$$$(VAR_A)", "$A"),
        ("$(VAR_DNE)", "$(VAR_DNE)"),
        ("foo$$(VAR_DNE", "foo$(VAR_DNE"),
        ("$(VAR_A", "$(VAR_A"),
        ("$(VAR_A)$", "A$"),
        ("$VAR_A", "$VAR_A"),
        ("$()", "$()"),
        ("$?_boo_$!", "$?_boo_$!"),
        ("$$(foo)$(VAR_A)", "$(foo)A"),
    ],
)
def test_a_reference_is_expanded_as_a_kubelet_does(text: str, expanded: str) -> None:
    assert expand(text, {"VAR_A": "A", "VAR_B": "B"}.get) == expanded


@given(st.text("$()AB", max_size=12).filter(lambda text: "$$" not in text))
@example("$($(A))")
def test_a_text_without_known_names_and_escapes_stays_as_it_is(text: str) -> None:
    assert expand(text, lambda _: None) == text
