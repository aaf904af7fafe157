"""What processes use: memory and descriptors, from /proc.

In: process ids. Out: numbers as of now; zero for a process that has ended.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_RESIDENT = re.compile(r"^VmRSS:\s+(\d+) kB$", re.MULTILINE)
_PEAK = re.compile(r"^VmHWM:\s+(\d+) kB$", re.MULTILINE)
_EVERY = 1.0


@dataclass(frozen=True)
class Footprint:
    """One process, at one moment."""

    resident: int
    """Bytes."""
    descriptors: int


NONE = Footprint(0, 0)


def of(pid: int) -> Footprint:
    """Look at one process."""
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        status = Path(f"/proc/{pid}/status").read_text()
        found = _RESIDENT.search(status)
        open_files = len(list(Path(f"/proc/{pid}/fd").iterdir()))
        return Footprint(int(found[1]) * 1024 if found else 0, open_files)
    return NONE


def peak_resident(pid: int) -> int:
    """Bytes of memory that a process has had at most since it began, or since `forget_peak`."""
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        found = _PEAK.search(Path(f"/proc/{pid}/status").read_text())
        return int(found[1]) * 1024 if found else 0
    return 0


def forget_peak(pid: int) -> None:
    """Let the peak begin anew, at what the process has now; proc(5), clear_refs."""
    with contextlib.suppress(FileNotFoundError, ProcessLookupError, PermissionError):
        Path(f"/proc/{pid}/clear_refs").write_text("5")


def processor_seconds(pid: int) -> float:
    """Processor time that a process has had."""
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return 0.0


def resident(groups: Mapping[str, Iterable[int]]) -> dict[str, int]:
    """Bytes per group of processes."""
    return {name: sum(of(pid).resident for pid in pids) for name, pids in groups.items()}


async def settled(pid: int, *, most: int, timeout: float) -> Footprint:
    """Wait until a process has at most so many descriptors; what it has in the end.

    Idle connections may be kept for a while: the kubelet API keeps them for 90 s.
    """
    deadline = time.monotonic() + timeout
    while True:
        now = of(pid)
        if now.descriptors <= most or time.monotonic() >= deadline:
            return now
        await asyncio.sleep(_EVERY)
