"""docs/kubectl.md has the rows, ways and versions of the tests that it was written from."""

from pathlib import Path

from tests.e2e import test_kubectl as module
from tests.e2e.kubectl.page import render
from tests.e2e.kubectl.ways import PLAIN, STREAMS, Row, Server, rows

PAGE = Path(__file__).resolve().parents[3] / "docs" / "kubectl.md"
ROWS = [row for _, row in rows(module)]


def test_every_test_of_the_module_is_a_row() -> None:
    names = [name for name, _ in rows(module)]
    assert names == [name for name in vars(module) if name.startswith("test_")]
    assert len({row.shows for row in ROWS}) == len(ROWS)


def test_the_page_is_of_these_tests_and_versions() -> None:
    held = {(row.shows, way): True for row in ROWS for way in row.ways}
    assert PAGE.read_text().replace("**no**", "yes") == render(ROWS, held)


def test_what_did_not_hold_stands_out_and_what_is_no_stream_is_not_asked() -> None:
    row = Row("logs", "lines", PLAIN)
    page = render([row], {("lines", PLAIN[0]): False, ("lines", PLAIN[1]): True})
    assert "| `logs` | lines | **no** | - | yes | - |" in page


def test_each_way_says_what_kubectl_and_the_node_are_spoken_to_in() -> None:
    named = [(way.version, way.client.value, way.node.value, way.server) for way in STREAMS]
    assert named == [
        ("v1.36.3", "WebSocket", "WebSocket", Server.NEW),
        ("v1.36.3", "SPDY", "SPDY", Server.NEW),
        ("v1.29.6", "SPDY", "SPDY", Server.NEW),
        ("v1.36.3", "WebSocket", "SPDY", Server.OLD),
    ]
