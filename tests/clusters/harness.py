"""`Harness`: the one owner of clusters on this machine.

In: `ClusterSpec`s. Out: running `Cluster`s, and nothing at all after `down`. Claims a slot, gets
programs, starts all clusters in parallel, and takes everything down again: at `down`, at the end
of a `with` block, at interpreter exit, or (after a kill -9) by its guard or the next harness.

Clusters that it does not start itself (CLUSTERS=existing, CLUSTERS=kind) come from `given`.

A detached harness leaves its clusters running; its state folder owns them, and `down` of any
`Harness` with the same state folder ends them.
"""

from __future__ import annotations

import atexit
import shutil
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from tests.clusters import existing, launch, packages
from tests.clusters.errors import HarnessError, SlotError, UnsupportedError
from tests.clusters.given import GivenClusters
from tests.clusters.guard import Guard
from tests.clusters.host import can_run_containers
from tests.clusters.processes import ProcessTable
from tests.clusters.slots import LOOPBACK, Claim, PortAllocator, Slot, SlotRegistry
from tests.clusters.teardown import MARK_FILE, tear_down

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import TracebackType

    from tests.clusters.cluster import Cluster
    from tests.clusters.spec import ClusterSpec

_MOST_CLUSTERS = 12


class Harness:
    """Starts clusters and ends them. Use it as a context manager, or call `down`."""

    def __init__(
        self,
        *,
        state: Path | None = None,
        detached: bool = False,
        progress: Callable[[str], None] = print,
    ) -> None:
        """`state`: an empty or missing folder (default: a temporary one); removed by `down`."""
        if detached and state is None:
            raise UnsupportedError("detached clusters need a state folder, or nobody finds them")
        self._given_state = state.resolve() if state else None
        self._detached = detached
        self._progress = progress
        self._registry = SlotRegistry()
        self._claim: Claim | None = None
        self._given: GivenClusters | None = None
        self._guard: Guard | None = None
        self._table: ProcessTable | None = None
        self._clusters: dict[str, Cluster] = {}
        self._ports: PortAllocator | None = None
        self._before_down: list[Callable[[], None]] = []

    def __enter__(self) -> Harness:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        started_here = self._claim or self._given
        if started_here and not self._detached:
            self.down()

    @property
    def clusters(self) -> dict[str, Cluster]:
        """What `up` returned."""
        return dict(self._clusters)

    @property
    def listen_address(self) -> str:
        """Where a server on this host is reached by API servers and, with real nodes, by pods."""
        if self._given:
            return self._given.listen_address
        claim = self._current_claim()
        return claim.slot.host_address if claim.containers else LOOPBACK

    def free_port(self) -> int:
        """A port of this slot on which nobody listens, each call another one."""
        if self._ports is None:
            slot = Slot(0) if self._given else self._current_claim().slot
            self._ports = PortAllocator(slot.user_ports)
        return self._ports.take({LOOPBACK, self.listen_address})

    def before_down(self, call: Callable[[], None]) -> None:
        """Have something done before everything is taken down: what is in the logs goes with it."""
        self._before_down.append(call)

    def up(self, specs: Sequence[ClusterSpec]) -> dict[str, Cluster]:
        """Starts one cluster per spec and returns them by name, all of them ready for pods.

        On any failure everything is taken down again and a HarnessError is raised.
        """
        names = [spec.name for spec in specs]
        if not names or len(set(names)) != len(names) or len(names) > _MOST_CLUSTERS:
            raise UnsupportedError(f"give 1 to {_MOST_CLUSTERS} clusters, each its own name")
        if self._clusters:
            raise SlotError("this harness is up already")
        if existing.requested():
            return self._open_given(specs)
        containers = any(spec.real_nodes for spec in specs)
        if containers:
            possible, reason = can_run_containers()
            if not possible:
                raise UnsupportedError(f"real nodes cannot run here: {reason}")
            packages.ensure(self._progress)
        ingredients = launch.Ingredients.get(specs, self._progress)
        started = time.monotonic()
        claim = self._claim = self._registry.claim(
            self._choose_state(),
            detached=self._detached,
            containers=containers,
            sweep=self._sweep,
        )
        atexit.register(self.down)
        try:
            if not self._detached:
                self._guard = Guard()
            self._make_state(claim.state)
            self._table = ProcessTable(claim.state)
            launcher = launch.Launcher(claim, self._table, ingredients, self._progress)
            self._clusters = launcher.start(specs)
        except BaseException:
            self._progress("start failed, taking everything down")
            self.down()
            raise
        self._progress(f"{len(specs)} clusters ready in {time.monotonic() - started:.1f} s")
        if self._detached:
            atexit.unregister(self.down)
        return self.clusters

    def down(self) -> None:
        """Ends and removes everything; does nothing when there is nothing."""
        calls, self._before_down = self._before_down, []
        try:
            for call in calls:
                call()
        finally:
            self._end_all()

    def _end_all(self) -> None:
        for cluster in self._clusters.values():
            if cluster.control_plane is not None:
                cluster.control_plane.reader.close()
        claim = self._claim or (self._given_state and self._registry.find(self._given_state))
        if claim:
            tear_down(claim, self._table or ProcessTable(claim.state), self._progress)
            self._registry.release(claim)
        elif self._given_state and (self._given_state / MARK_FILE).exists():
            self._remove_orphan(self._given_state)
        if given := self._given or GivenClusters.left_in(self._given_state, self._progress):
            given.close()
        if self._guard:
            self._guard.dismiss()
        self._claim = None
        self._guard = None
        self._given = None
        self._table = None
        self._clusters = {}
        self._ports = None
        atexit.unregister(self.down)

    def _open_given(self, specs: Sequence[ClusterSpec]) -> dict[str, Cluster]:
        """Clusters of others, or of kind; those of kind go at the interpreter's exit, too."""
        self._given = GivenClusters(self._choose_state(), self._progress)
        if not self._detached:
            atexit.register(self.down)
        self._clusters = self._given.open(specs)
        return self.clusters

    def _choose_state(self) -> Path:
        state = self._given_state
        if state is None:
            return Path(tempfile.mkdtemp(prefix="vnode-clusters-")).resolve()
        if state.exists() and not (state / MARK_FILE).exists() and any(state.iterdir()):
            raise HarnessError(f"{state} holds something else; give an empty or new folder")
        return state

    @staticmethod
    def _remove_orphan(state: Path) -> None:
        """Removes the state folder of a harness that ended with the machine."""
        if ProcessTable(state).any_alive():
            raise SlotError(f"clusters of {state} were started by another user")
        shutil.rmtree(state)

    def _make_state(self, state: Path) -> None:
        if (state / MARK_FILE).exists():
            self._remove_orphan(state)
        state.mkdir(parents=True, mode=0o700, exist_ok=True)
        (state / MARK_FILE).touch()

    def _sweep(self, claim: Claim) -> None:
        self._progress(f"cleaning up after a harness that was killed ({claim.state})")
        tear_down(claim, ProcessTable(claim.state), self._progress)

    def _current_claim(self) -> Claim:
        claim = self._claim or (self._given_state and self._registry.find(self._given_state))
        if not claim:
            raise HarnessError("no clusters are up")
        return claim
