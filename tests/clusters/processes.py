"""Who runs: every process that the harness starts, and its end.

In: command lines. Out: running processes, one line each in `processes.jsonl` of the state folder,
so that another harness can end them after this one was killed. A process is ended only when its
recorded pid *and* start time *and* boot still match (pids are used again), through a pidfd, so
that nobody else's process can be hit between the check and the signal.

A process that was started but not yet recorded when the harness died, and children that outlive
their parent (containerd's shims), are found by `MARKER` in their environment, which names the
state folder.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import threading
import time
from dataclasses import asdict, dataclass
from enum import IntEnum
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from tests.clusters.errors import HarnessError, StartError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

MARKER = "VNODE_CLUSTERS_STATE"
_LEDGER = "processes.jsonl"
_LOG_TAIL = 12
_KILLED_SECONDS = 60.0
"""What was killed may have to wait in the kernel: for a disk, and to give back its memory. Where
other clusters keep processors and disk busy that takes more than a few seconds."""


class Stage(IntEnum):
    """The order in which processes end: whoever needs another one ends before it."""

    KUBELET = 0
    CONTAINERD = 1
    NODE_SIMULATOR = 2
    CONTROLLER = 3
    API_SERVER = 4
    ETCD = 5


@cache
def boot_id() -> str:
    """Changes with every boot of the machine; start times are counted from it."""
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def parse_stat(text: str) -> tuple[bool, int]:
    """Out of /proc/PID/stat: whether it still runs, and its start (clock ticks since boot).

    A program whose first thread has ended shows as a zombie while others still hold its files
    and ports; it has ended only when one thread, the zombie itself, is left.
    """
    fields = text.rpartition(")")[2].split()  # the command's name may hold blanks and brackets
    ended = fields[0] in "ZX" and int(fields[17]) <= 1
    return not ended, int(fields[19])


@dataclass(frozen=True)
class Identity:
    """One process for ever: a pid alone may belong to somebody else tomorrow."""

    pid: int
    start_ticks: int
    boot: str

    @classmethod
    def of(cls, pid: int) -> Identity | None:
        """The process that has this pid now; None when there is none or it is a zombie."""
        try:
            runs, start_ticks = parse_stat(Path(f"/proc/{pid}/stat").read_text())
        except (FileNotFoundError, ProcessLookupError):
            return None
        return cls(pid, start_ticks, boot_id()) if runs else None

    def alive(self) -> bool:
        """Whether this very process still runs."""
        return Identity.of(self.pid) == self

    def signal(self, number: int) -> bool:
        """Sends a signal to this process and to no other one; False when it is gone."""
        try:
            handle = os.pidfd_open(self.pid)
        except ProcessLookupError:
            return False
        try:
            if not self.alive():
                return False
            signal.pidfd_send_signal(handle, number)
        except ProcessLookupError:
            return False
        finally:
            os.close(handle)
        return True


@dataclass(frozen=True)
class Record:
    """A process as it stands in the ledger."""

    owner: str  # cluster or node that it belongs to
    name: str
    stage: Stage
    identity: Identity
    argv: tuple[str, ...]
    log: str
    environment: Mapping[str, str]

    def to_json(self) -> str:
        """One line of the ledger."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, line: str) -> Record:
        """Reads one line of the ledger."""
        raw = json.loads(line)
        raw["identity"] = Identity(**raw["identity"])
        raw["stage"] = Stage(raw["stage"])
        raw["argv"] = tuple(raw["argv"])
        return cls(**raw)


class ProcessTable:
    """All processes of one state folder. Methods may be called from several threads."""

    def __init__(self, state: Path) -> None:
        self._state = state
        self._lock = threading.Lock()
        self._closed = threading.Event()
        self._children: dict[int, subprocess.Popen[bytes]] = {}
        self._records: dict[tuple[str, str], Record] = {}
        with contextlib.suppress(FileNotFoundError):
            for line in (state / _LEDGER).read_text().splitlines():
                with contextlib.suppress(ValueError):  # the last line may be cut off
                    self._remember(Record.from_json(line))

    def records(self) -> list[Record]:
        """The latest start of every process, dead or alive, in the order of shutting down."""
        with self._lock:
            return sorted(self._records.values(), key=lambda r: (r.stage, r.owner, r.name))

    def spawn(
        self,
        owner: str,
        name: str,
        argv: Sequence[str | Path | int],
        *,
        stage: Stage,
        log: Path,
        environment: Mapping[str, str] | None = None,
    ) -> Record:
        """Starts a program in a session of its own, its output appended to `log`."""
        self._check_open()
        words = tuple(str(word) for word in argv)
        extra = dict(environment or {})
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("ab") as output:
            child = subprocess.Popen(
                words,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                env={**os.environ, **extra, MARKER: str(self._state)},
            )
        identity = Identity.of(child.pid)
        if identity is None:
            child.wait()
            raise StartError(f"{owner}: {name} ended at once\n{log_tail(log)}")
        record = Record(owner, name, stage, identity, words, str(log), extra)
        with self._lock:
            self._children[child.pid] = child
            self._remember(record)
            with (self._state / _LEDGER).open("a") as ledger:
                ledger.write(record.to_json() + "\n")
        return record

    def get(self, owner: str, name: str) -> Record:
        """The latest start of a process; KeyError when it was never started."""
        with self._lock:
            return self._records[owner, name]

    def restart(self, owner: str, name: str) -> Record:
        """Starts a process again with the command line that it had; no-op while it runs."""
        old = self.get(owner, name)
        if old.identity.alive():
            return old
        return self.spawn(
            owner,
            name,
            old.argv,
            stage=old.stage,
            log=Path(old.log),
            environment=old.environment,
        )

    def stop(self, record: Record, *, hard: bool, grace: float = 10.0) -> None:
        """Ends one process and waits: SIGTERM, after `grace` seconds (or if hard) SIGKILL."""
        if not hard and record.identity.signal(signal.SIGTERM):
            with contextlib.suppress(HarnessError):
                self._wait_gone([record.identity], grace)
                return
        self.kill([record.identity])

    def end(self, stage: Stage) -> None:
        """Kills every process of a stage and waits until all of them are gone."""
        self.kill([record.identity for record in self.records() if record.stage is stage])

    def end_marked(self) -> None:
        """Kills whatever still carries this state folder in its environment."""
        for _ in range(20):  # a shim may start a child while we look
            marked = list(find_marked(self._state))
            if not marked:
                return
            self.kill(marked)
        raise HarnessError(f"processes of {self._state} start faster than they can be ended")

    def kill(self, identities: Iterable[Identity]) -> None:
        """SIGKILL, then waits; raises when one is left (stuck in the kernel)."""
        hit = [identity for identity in identities if identity.signal(signal.SIGKILL)]
        self._wait_gone(hit, _KILLED_SECONDS)

    def wait_until(
        self, what: str, ready: Callable[[], bool], *, watch: Record, timeout: float
    ) -> None:
        """Polls until `ready`; raises StartError when `watch` ended or the time is over."""
        deadline = time.monotonic() + timeout
        while not ready():
            self._check_open()
            if not watch.identity.alive():
                self._reap()
                raise StartError(f"{what}: {watch.name} ended\n{log_tail(Path(watch.log))}")
            if time.monotonic() > deadline:
                raise StartError(
                    f"{what}: not ready after {timeout:.0f} s\n{log_tail(Path(watch.log))}"
                )
            time.sleep(0.05)

    def close(self) -> None:
        """Nothing is started or waited for from now on: other threads get a StartError."""
        self._closed.set()

    def any_alive(self) -> bool:
        """Whether at least one recorded process runs."""
        return any(record.identity.alive() for record in self.records())

    def _check_open(self) -> None:
        if self._closed.is_set():
            raise StartError("given up, since something else did not start")

    def _remember(self, record: Record) -> None:
        self._records[record.owner, record.name] = record

    def _wait_gone(self, identities: Sequence[Identity], timeout: float) -> None:
        deadline = time.monotonic() + timeout
        while left := [identity for identity in identities if identity.alive()]:
            if time.monotonic() > deadline:
                raise HarnessError(f"process {left[0].pid} does not end")
            time.sleep(0.01)
        self._reap()

    def _reap(self) -> None:
        with self._lock:
            gone = [pid for pid, child in self._children.items() if child.poll() is not None]
            for pid in gone:
                del self._children[pid]


def find_marked(state: Path) -> Iterator[Identity]:
    """Processes whose environment names this state folder as their owner."""
    wanted = f"{MARKER}={state}".encode()
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        try:
            variables = (entry / "environ").read_bytes().split(b"\0")
        except OSError:
            continue  # gone meanwhile, or somebody else's
        if wanted in variables and (identity := Identity.of(int(entry.name))):
            yield identity


def log_tail(log: Path) -> str:
    """The last lines of a log, for an error message."""
    try:
        lines = log.read_text(errors="replace").splitlines()[-_LOG_TAIL:]
    except FileNotFoundError:
        return f"(no log at {log})"
    return "\n".join([f"end of {log}:", *(f"  {line[:400]}" for line in lines)])
