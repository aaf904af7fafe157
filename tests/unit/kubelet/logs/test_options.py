from urllib.parse import parse_qsl

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vnode.backend import LogOptions
from vnode.kubelet.logs.lines import choose
from vnode.kubelet.logs.options import InvalidLogQuery, parse_log_options


def parse(query: str) -> LogOptions:
    return parse_log_options(parse_qsl(query, keep_blank_values=True), container="main")


@pytest.mark.parametrize(
    ("query", "options"),
    [
        ("", LogOptions("main")),
        ("follow=true", LogOptions("main", follow=True)),
        ("follow=1", LogOptions("main", follow=True)),
        ("follow=", LogOptions("main", follow=True)),
        ("follow=yes", LogOptions("main", follow=True)),
        ("follow=false", LogOptions("main")),
        ("follow=FALSE", LogOptions("main")),
        ("follow=0", LogOptions("main")),
        ("previous=true", LogOptions("main", previous=True)),
        ("timestamps=true", LogOptions("main", timestamps=True)),
        ("tailLines=0", LogOptions("main", tail_lines=0)),
        ("tailLines=%2B5", LogOptions("main", tail_lines=5)),
        ("tailLines=5&tailLines=x", LogOptions("main", tail_lines=5)),
        ("tail=7", LogOptions("main", tail_lines=7)),
        ("tail=all&tailLines=3", LogOptions("main")),
        ("tail=", LogOptions("main")),
        ("limitBytes=1", LogOptions("main", limit_bytes=1)),
        ("limitBytes=9223372036854775807", LogOptions("main", limit_bytes=2**63 - 1)),
        ("sinceSeconds=1", LogOptions("main", since_seconds=1)),
        (
            "sinceTime=2024-02-29T01:02:03Z",
            LogOptions("main", since_time="2024-02-29T01:02:03Z"),
        ),
        (
            "sinceTime=2024-02-29T01:02:03.123456789%2B02:00",
            LogOptions("main", since_time="2024-02-29T01:02:03.123456789+02:00"),
        ),
        ("sinceTime=", LogOptions("main")),
        ("sinceTime=null", LogOptions("main")),
        ("stream=All&tailLines=1", LogOptions("main", tail_lines=1)),
        ("container=other&unknown=x", LogOptions("main")),
    ],
)
def test_a_query_means_what_it_means_to_the_kubelet(query: str, options: LogOptions) -> None:
    assert parse(query) == options


@pytest.mark.parametrize(
    "query",
    [
        "tailLines=",
        "tailLines=1.5",
        "tailLines=1_0",
        "tailLines=%C2%B2",
        "tail=few",
        "limitBytes=9223372036854775808",
        "sinceSeconds=1s",
        "sinceTime=yesterday",
        "sinceTime=2023-02-29T01:02:03Z",
        "sinceTime=2024-02-29T25:02:03Z",
        "sinceTime=2024-02-29",
        "sinceTime=2024-02-29T01:02:03",
        "sinceTime=2024-02-29T01:02:03%2B99:00",
    ],
)
def test_what_cannot_be_read_is_400(query: str) -> None:
    with pytest.raises(InvalidLogQuery, match="Unable to decode query") as caught:
        parse(query)
    assert caught.value.code == 400


def test_more_seconds_than_a_duration_holds_are_400() -> None:
    assert parse("sinceSeconds=9223372036").since_seconds == 9223372036
    with pytest.raises(InvalidLogQuery, match="sinceSeconds may be at most") as caught:
        parse("sinceSeconds=9223372037")
    assert caught.value.code == 400


@pytest.mark.parametrize(
    "query",
    [
        "tailLines=-1",
        "limitBytes=0",
        "limitBytes=-5",
        "sinceSeconds=0",
        "sinceSeconds=-1",
        "sinceSeconds=5&sinceTime=2024-02-29T01:02:03Z",
        "sinceSeconds=5&sinceTime=",
        "stream=Both",
        "stream=Stdout&tailLines=5",
    ],
)
def test_what_makes_no_sense_is_422(query: str) -> None:
    with pytest.raises(InvalidLogQuery, match="Invalid request") as caught:
        parse(query)
    assert caught.value.code == 422


def test_a_single_stream_is_refused_as_by_a_kubelet_without_that_feature() -> None:
    with pytest.raises(InvalidLogQuery, match='log stream: "Stdout"') as caught:
        parse("stream=Stdout")
    assert caught.value.code == 400


_NAMES = st.sampled_from(
    ["follow", "tailLines", "tail", "limitBytes", "sinceSeconds", "sinceTime", "stream", "previous"]
)
_VALUES = st.one_of(
    st.text(),
    st.integers().map(str),
    st.datetimes().map(lambda time: f"{time.isoformat()}Z"),
    st.from_regex(r"\A[0-9]{4}-0[1-9]-0[1-9]T0[1-9]:0[1-9]:0[1-9][+-][0-9]{2}:[0-9]{2}\Z"),
)


@given(st.lists(st.tuples(_NAMES, _VALUES), max_size=6))
def test_any_query_is_either_sound_or_refused(query: list[tuple[str, str]]) -> None:
    try:
        options = parse_log_options(query, container="main")
    except InvalidLogQuery:
        return
    assert options.tail_lines is None or options.tail_lines >= 0
    assert options.limit_bytes is None or options.limit_bytes >= 1
    assert options.since_seconds is None or options.since_seconds >= 1
    assert options.since_seconds is None or options.since_time is None
    choose(b"2024-02-29T01:02:03Z word\n", options, now=1_795_395_630.0)
