"""docs/eci.md has the stories that are acted out on ECI nodes, and no other."""

from tests.e2e.test_eci_nodes import STORIES
from tests.e2e.what_users_see import ECI_NODES


def test_the_page_tells_every_story_and_no_other() -> None:
    assert set(ECI_NODES.stories()) == set(STORIES)
