"""What the emulator has seen, for people: groups with their makers, and calls by action."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tests.eci.server import Emulator


def state(emulator: "Emulator") -> dict[str, Any]:
    """Everything as JSON has it. No environment, file or credential is in it."""
    now = emulator.clock.time()
    groups = [
        {
            "id": group.id,
            "name": group.asked["ContainerGroupName"],
            "status": group.status(now),
            "containers": [one["Name"] for one in group.asked["Container"]],
            "age": round(now - group.created, 1),
            "made_by": group.maker,
            "tags": group.tags,
        }
        for group in emulator.groups.at(now)
    ]
    throttled = emulator.throttle.by_action
    calls = {
        action: {"made": count, "throttled": throttled[action]}
        for action, count in sorted((emulator.counted + throttled).items())
    }
    return {"groups": groups, "made": emulator.groups.made, "calls": calls}


def journal(emulator: "Emulator") -> list[dict[str, Any]]:
    """Every group that was ever made, in order, with the time of each change: the evidence."""
    emulator.groups.at(emulator.clock.time())
    return [
        {
            "id": group.id,
            "token": group.token,
            "repeats": group.repeats,
            "tags": group.tags,
            "made_at": group.created,
            "steps": [[step.at, step.status] for step in group.life.steps],
        }
        for group in emulator.groups.ever
    ]


def table(state: dict[str, Any]) -> str:
    """The state as two tables in text."""
    rows = [["GROUP", "NAME", "STATUS", "AGE", "MADE BY", "TAGS"]]
    rows += [
        [
            group["id"],
            group["name"],
            group["status"],
            f"{group['age']:.0f}s",
            group["made_by"],
            ",".join(f"{key}={value}" for key, value in group["tags"].items()),
        ]
        for group in state["groups"]
    ]
    calls = [["ACTION", "CALLS", "THROTTLED"]]
    calls += [
        [action, str(count["made"]), str(count["throttled"])]
        for action, count in state["calls"].items()
    ]
    return f"{_aligned(rows)}\n\n{_aligned(calls)}\n"


def _aligned(rows: list[list[str]]) -> str:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    )
