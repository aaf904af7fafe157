from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from tests.chaos.audit import AuditLog
from tests.unit.chaos.stories import line

if TYPE_CHECKING:
    from pathlib import Path


def _text(verb: str, **options: Any) -> str:
    return json.dumps(line(verb, 1.0, **options), separators=(",", ":"))


def test_what_was_read_is_not_read_again(tmp_path: Path) -> None:
    file = tmp_path / "audit.log"
    file.write_text(_text("create") + "\n")
    log = AuditLog("a", file)
    assert [each.verb for each in log.news()] == ["create"]
    with file.open("a") as more:
        more.write(_text("delete") + "\n")
    assert [each.verb for each in log.news()] == ["delete"]


def test_a_line_that_is_not_whole_yet_is_read_when_it_is(tmp_path: Path) -> None:
    file = tmp_path / "audit.log"
    text = _text("create")
    file.write_text(text[:50])
    log = AuditLog("a", file)
    assert not list(log.news())
    file.write_text(text + "\n")
    assert [each.verb for each in log.news()] == ["create"]
    assert not log.garbled


def test_a_line_that_a_kill_cut_off_does_not_swallow_the_next_one(tmp_path: Path) -> None:
    file = tmp_path / "audit.log"
    file.write_text(_text("create")[:90] + _text("delete") + "\n")
    log = AuditLog("a", file)
    assert [each.verb for each in log.news()] == ["delete"]
    assert log.garbled == 1


def test_an_event_in_a_body_is_no_second_line(tmp_path: Path) -> None:
    file = tmp_path / "audit.log"
    body = {"kind": "Event", "apiVersion": "v1"}
    file.write_text(_text("create", body=body) + "\n")
    log = AuditLog("a", file)
    assert [each.body for each in log.news()] == [body]
    assert not log.garbled
