"""What runs, for people: a table of processes with memory and processor time."""

from __future__ import annotations

import os
import re
from pathlib import Path

from tests.clusters.processes import ProcessTable, find_marked


def process_table(state: Path) -> str:
    """One line per process that the harness of this state folder started, and their sum.

    Lines without an owner are children that outlive their parents: one shim per pod.
    """
    lines = [f"{'OWNER':16} {'PROCESS':26} {'PID':>8} {'MEMORY':>9} {'CPU':>9}"]
    memory = 0
    known = set()
    for record in reversed(ProcessTable(state).records()):
        pid = record.identity.pid
        known.add(pid)
        if record.identity.alive() and (used := _usage(pid)):
            memory += used[0]
            lines.append(_line(record.owner, record.name, pid, used))
        else:
            lines.append(f"{record.owner:16} {record.name:26} {pid:8} {'ended':>9}")
    for pid in sorted({identity.pid for identity in find_marked(state)} - known):
        if used := _usage(pid):
            memory += used[0]
            lines.append(_line("", _command(pid), pid, used))
    lines.append(f"{'':16} {'sum':26} {'':8} {memory:5} MiB")
    return "\n".join(lines)


def _line(owner: str, name: str, pid: int, used: tuple[int, float]) -> str:
    return f"{owner:16} {name:26} {pid:8} {used[0]:5} MiB {used[1]:7.1f} s"


def _command(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except (FileNotFoundError, ProcessLookupError):
        return "?"


def _usage(pid: int) -> tuple[int, float] | None:
    """Resident memory in MiB and processor seconds; None when the process is gone."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    resident = re.search(r"^VmRSS:\s+(\d+) kB", status, re.MULTILINE)
    ticks = int(fields[11]) + int(fields[12])
    return int(resident[1]) // 1024 if resident else 0, ticks / os.sysconf("SC_CLK_TCK")
