"""What a user sees of a pod at one moment, as a line of a table; and the tables on our pages.

In: a pod's status and events as the tenant's API server has them. Out: a line. A `Table` is what a
page holds under one title: tests compare it with what happens, and write it anew when that is
meant.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

HEAD = "| what happens | then | phase | reason and message | containers | conditions | new events |"
_SHOWN = ("Ready", "vnode.dev/ComputeScheduled", "DisruptionTarget")


def line(what: str, then: str, status: Mapping[str, Any], told: Iterable[str]) -> str:
    """A pod at one moment. `told`: events that are new since the last one, by `event_text`."""
    cells = (
        what,
        then,
        status["phase"],
        _flat(": ".join(filter(None, (status.get("reason"), status.get("message"))))) or "-",
        ", ".join(map(_container, status.get("containerStatuses", ()))) or "-",
        ", ".join(_conditions(status)) or "-",
        "; ".join(told) or "-",
    )
    return f"| {' | '.join(cells)} |"


def event_text(event: Mapping[str, Any]) -> str:
    """An event, as it stands in a line."""
    return f"{event['type']} `{event['reason']}`: {_flat(event['message'])}"


def _flat(text: str) -> str:
    return " ".join(text.replace("|", "\\|").split())


def _container(container: Any) -> str:
    [(kind, state)] = container["state"].items()
    more = [state.get("reason")]
    if kind == "terminated":
        more.append(f"exit code {state['exitCode']}")
    return " ".join([kind, *filter(None, more)])


def _conditions(status: Mapping[str, Any]) -> list[str]:
    found = {one["type"]: one for one in status.get("conditions", ())}
    return [
        f"`{kind}` {one['status']}" + (f" ({one['reason']})" if one.get("reason") else "")
        for kind in _SHOWN
        if (one := found.get(kind)) is not None
    ]


@dataclass(frozen=True)
class Table:
    """The table under one title of one page; the first line of each story names it."""

    page: Path
    title: str
    """With its number signs."""
    head: str = HEAD
    """Its first line."""

    def stories(self) -> dict[str, list[str]]:
        """Its lines, by story."""
        found: dict[str, list[str]] = {}
        story = ""
        for each in self._parts()[1].splitlines():
            story = each.split(" | ")[0].removeprefix("|").strip() or story
            found.setdefault(story, []).append(each)
        return found

    def write(self, stories: Mapping[str, list[str]]) -> None:
        """Replace all lines."""
        before, _, after = self._parts()
        lines = "".join(f"{each}\n" for story in stories.values() for each in story)
        self.page.write_text(before + lines + after)

    def _parts(self) -> tuple[str, str, str]:
        """The page before the lines, the lines, and the page behind."""
        text = self.page.read_text()
        start = text.index(f"{self.head}\n", text.index(f"\n{self.title}\n"))
        start = text.index("|\n", start + len(self.head) + 1) + 2
        end = start
        while text.startswith("|", end):
            end = text.index("\n", end) + 1
        return text[:start], text[start:end], text[end:]
