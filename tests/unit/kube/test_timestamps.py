"""Times as the Kubernetes API writes them."""

import pytest

from vnode.kube.timestamps import parse, rfc3339, rfc3339_micro


def test_times_are_utc_in_whole_seconds() -> None:
    assert rfc3339(1_800_000_000.9) == "2027-01-15T08:00:00Z"


def test_micro_times_have_six_digits() -> None:
    assert rfc3339_micro(1_800_000_000.25) == "2027-01-15T08:00:00.250000Z"


@pytest.mark.parametrize("text", ["2027-01-15T08:00:00.25Z", "2027-01-15T09:00:00.250000+01:00"])
def test_what_the_api_server_writes_is_read_back(text: str) -> None:
    assert parse(text) == 1_800_000_000.25


def test_what_is_no_time_is_refused() -> None:
    with pytest.raises(ValueError, match="tomorrow"):
        parse("tomorrow")
