"""The fence list as an annotation."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.builders import UID_1, make_uid
from vnode.kube.types import UID, ObjectKey
from vnode.pods.partition.fence_list import MOST_BYTES, Fence, decode, encode, size

NAMES = st.from_regex(r"[a-z0-9]([-a-z0-9.]{0,20}[a-z0-9])?", fullmatch=True)
FENCES = st.builds(
    Fence,
    key=st.builds(ObjectKey, NAMES, NAMES),
    uid=st.uuids().map(lambda uid: UID(str(uid))),
    since=st.integers(0, 2**33),
    place=st.sampled_from(["", "1a2b3c4d", "1a2b3c4d.0011223344556677"]),
    accepted=st.booleans(),
)


@given(st.lists(FENCES, max_size=30, unique_by=lambda fence: fence.uid))
def test_what_is_written_is_read(fences: list[Fence]) -> None:
    assert set(decode(encode(fences))) == set(fences)


@given(st.lists(FENCES, max_size=30, unique_by=lambda fence: fence.uid), FENCES)
def test_a_fence_makes_the_text_no_longer_than_it_says(fences: list[Fence], one: Fence) -> None:
    assert len(encode([*fences, one])) <= len(encode(fences)) + size(one)


def test_no_annotation_is_an_empty_list() -> None:
    assert decode("") == ()


@pytest.mark.parametrize(
    "text",
    [
        "yes",
        "[]",
        '{"team-a":[]}',
        '{"team-a":{"":["job-0"]}}',
        '{"team-a":{"":["job-0 uid soon"]}}',
        '{"team-a":{"":["job-0 uid 1 refused"]}}',
    ],
)
def test_a_list_that_somebody_edited_is_a_value_error(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        decode(text)


def test_two_thousand_pods_of_usual_names_fit() -> None:
    fences = [
        Fence(
            ObjectKey("team-a", f"pytorchjob-training-resnet-worker-{i:04}"),
            make_uid(i),
            1_800_000_000,
            place="1a2b3c4d.0011223344556677",
        )
        for i in range(2000)
    ]
    assert len(encode(fences)) < MOST_BYTES


def test_an_entry_can_be_found_by_eye() -> None:
    fence = Fence(ObjectKey("team-a", "job-0"), UID_1, 1_800_000_000, accepted=True)
    assert encode([fence]) == f'{{"team-a":{{"":["job-0 {UID_1} 1800000000 accepted"]}}}}'
