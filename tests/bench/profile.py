"""Where the agent's processor time and memory go.

In: a site of our own agent. Out: of the processor's samples (py-spy) the share of each package and
function; of the memory when there was most of it (memray) what each function holds. The same
Deployment runs once for each, the second time with half the pods, since memray makes the agent
several times slower.
"""

from __future__ import annotations

import dataclasses
import re
import subprocess
import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tests.agents import AgentProcess
from tests.bench import one
from tests.measuring.report import Report, Table, mebibytes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from tests.agents import Federation
    from tests.bench.site import Site

_A_SECOND = "200"
_END_SECONDS = 60.0
_SHOWN = 40
_IDLE = re.compile(r"select \(selectors\.py\)|_worker \(concurrent/futures/thread\.py\)")
"""Where threads wait; py-spy takes them for busy on some systems."""
_LINE = re.compile(r":\d+(?=\))")
_FOLDERS = re.compile(r".*/(?:site-packages|lib/python3\.\d+)/|.*/(?=(?:vnode|federation)/)")
_OURS = ("vnode", "federation")


@dataclass(frozen=True)
class Stack:
    """Functions, outermost first, as `name (path)`, and how often or how much they were seen."""

    frames: Sequence[str]
    weight: int


class _Sampled(AgentProcess):
    """The agent, looked at all the time."""

    def __init__(self, joined: Federation, file: Path) -> None:
        super().__init__(joined)
        self._file = file
        self._sampler: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        super().start()
        what = ("--pid", str(self.pid), "--duration", "unlimited", "--rate", _A_SECOND)
        how = ("--format", "raw", "--function", "--output", str(self._file))
        self._sampler = subprocess.Popen(
            [_program("py-spy"), "record", *what, *how],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            start_new_session=True,
        )

    def stop(self) -> int:
        code = super().stop()
        if self._sampler is not None:  # It writes when what it looks at has ended.
            self._sampler.wait(timeout=_END_SECONDS)
        return code


def measure(site: Site, *, pods: int) -> Report:
    """One Deployment for the processor, one for memory."""
    samples, allocations = site.directory / "samples", site.directory / "allocations"
    sampled = dataclasses.replace(site, bridge=_Sampled(site.joined, samples))
    one.run(sampled, "deployment", one.THROUGH, pods=pods)
    memray = [sys.executable, "-m", "memray", "run", "--quiet", "--aggregate"]
    traced = [*memray, "--trace-python-allocators", "-o", str(allocations), _program("vnode")]
    watched = dataclasses.replace(site, bridge=AgentProcess(site.joined, program=traced))
    one.run(watched, "deployment", one.THROUGH, pods=pods // 2)
    return report(list(sampled_stacks(samples.read_text())), list(_held(allocations)), pods=pods)


def report(samples: Sequence[Stack], memory: Sequence[Stack], *, pods: int) -> Report:
    """Of both runs."""
    busy = [stack for stack in samples if not _IDLE.search(stack.frames[-1])]
    time, size = sum(s.weight for s in busy) or 1, sum(s.weight for s in memory) or 1
    packages, functions = _weights(busy, _packages), _weights(busy, _functions)
    leaves, holders = _weights(busy, _leaf), _weights(busy, _holder)
    return Report(
        f"profile: {pods} pods, from their creation until they are gone (memory: half of them)",
        [
            Table(
                ["processor: package", "itself", "with all it calls"],
                [
                    [name, f"{weight / time:.1%}", f"{packages[name] / time:.1%}"]
                    for name, weight in leaves.most_common(_SHOWN)
                ],
            ),
            Table(
                ["processor: our functions", "itself, with other packages", "with all it calls"],
                [
                    [name, f"{holders[name] / time:.1%}", f"{weight / time:.1%}"]
                    for name, weight in functions.most_common(_SHOWN)
                ],
            ),
            Table(
                ["memory at its most: our functions, other packages", "holds", "share"],
                [
                    [name, mebibytes(weight), f"{weight / size:.1%}"]
                    for name, weight in _weights(memory, _holder).most_common(_SHOWN)
                ],
            ),
        ],
        [],
        {"samples": time, "bytes": size},
    )


def sampled_stacks(text: str) -> Iterator[Stack]:
    """Of the format `raw` of py-spy: functions from the outermost on, and how often.

    The lines in which functions begin are left out.
    """
    for line in text.splitlines():
        frames, _, weight = line.rpartition(" ")
        yield Stack(_LINE.sub("", frames).split(";"), int(weight))


def _held(file: Path) -> Iterator[Stack]:
    """What was allocated when there was most of it."""
    import memray  # Not where the other parts run.

    with memray.FileReader(file) as reader:
        for record in reader.get_high_watermark_allocation_records(merge_threads=True):
            found = [f"{name} ({_FOLDERS.sub('', path)})" for name, path, _ in record.stack_trace()]
            yield Stack(found[::-1] or ["the interpreter"], record.size)


def _weights(
    stacks: Iterable[Stack], names: Callable[[Sequence[str]], Iterable[str]]
) -> Counter[str]:
    found: Counter[str] = Counter()
    for stack in stacks:
        for name in set(names(stack.frames)):
            found[name] += stack.weight
    return found


def _package(frame: str) -> str:
    path = frame.rpartition(" (")[2].rstrip(")")
    return path.partition("/")[0].removesuffix(".py")


def _packages(frames: Sequence[str]) -> Iterable[str]:
    return map(_package, frames)


def _leaf(frames: Sequence[str]) -> Iterable[str]:
    return [_package(frames[-1])]


def _functions(frames: Sequence[str]) -> Iterable[str]:
    return [frame for frame in frames if _package(frame) in _OURS and "/" in frame]


def _holder(frames: Sequence[str]) -> Iterable[str]:
    """The innermost function of ours, or else the package of the innermost of all."""
    ours = _functions(frames)
    return [*ours][-1:] or _leaf(frames)


def _program(name: str) -> str:
    return str(Path(sys.executable).with_name(name))
