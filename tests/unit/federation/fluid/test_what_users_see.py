"""The table of docs/data.md is what happens."""

import pytest

from tests.unit.federation.fluid.builders import BELOW
from tests.unit.federation.fluid.what_users_see import STORIES, TABLE, act
from tests.unit.federation.fluid.world import DS

pytestmark = pytest.mark.looptime

RENEW = "run: python -m tests.unit.federation.fluid.what_users_see, and read what has changed"


@pytest.mark.parametrize("story", list(STORIES))
async def test_users_see_what_the_page_says(story: str) -> None:
    row = await act(story)
    assert [row] == TABLE.stories().get(story), RENEW
    assert BELOW not in row
    assert DS not in row


def test_the_page_tells_no_other_story() -> None:
    assert list(TABLE.stories()) == list(STORIES), RENEW
