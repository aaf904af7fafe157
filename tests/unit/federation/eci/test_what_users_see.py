"""The table of docs/eci.md is what happens."""

import pytest

from tests.unit.federation.eci.what_users_see import STORIES, TABLE, act

pytestmark = pytest.mark.looptime

RENEW = "run: python -m tests.unit.federation.eci.what_users_see, and read what has changed"


@pytest.mark.parametrize("story", list(STORIES))
async def test_users_see_what_the_page_says(story: str) -> None:
    assert await act(story) == TABLE.stories().get(story), RENEW


def test_the_page_tells_no_other_story() -> None:
    assert list(TABLE.stories()) == list(STORIES), RENEW
