"""Slots: what keeps harnesses on one machine apart.

A slot is a number. From it follow a range of TCP ports, the name of a bridge, an address block
and a cgroup, so two harnesses that run at once share nothing. A slot is claimed under a file
lock by writing a record that names the owner; it is taken as long as its owner lives:

- an ordinary harness lives as long as its process;
- a detached one, once it is up, lives as long as one of its clusters' processes.

Records of dead owners are left-overs; `SlotRegistry.claim` hands each to a sweeper that removes
what they left behind, and only then frees the slot.
"""

from __future__ import annotations

import fcntl
import ipaddress
import json
import os
import socket
import stat
import tempfile
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tests.clusters.errors import HarnessError, SlotError
from tests.clusters.host import KernelSettings
from tests.clusters.processes import Identity, ProcessTable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

SLOTS = 32
_FIRST_PORT = 20_000
_PORTS_PER_SLOT = 300
_PORTS_FOR_COMPONENTS = 200
LOOPBACK = "127.0.0.1"


@dataclass(frozen=True)
class Slot:
    """Everything that a slot's number decides."""

    index: int

    @property
    def component_ports(self) -> range:
        """For etcd, API servers and their companions."""
        first = _FIRST_PORT + self.index * _PORTS_PER_SLOT
        return range(first, first + _PORTS_FOR_COMPONENTS)

    @property
    def user_ports(self) -> range:
        """For whoever calls `Harness.free_port`."""
        first = _FIRST_PORT + self.index * _PORTS_PER_SLOT
        return range(first + _PORTS_FOR_COMPONENTS, first + _PORTS_PER_SLOT)

    @property
    def bridge(self) -> str:
        """Name of the host bridge; the nodes' namespaces and links begin with it too."""
        return f"vnc{self.index}"

    @property
    def cgroup(self) -> str:
        """Name of the cgroup above everything that real nodes run."""
        return f"vnode-clusters-{self.index}"

    @property
    def network(self) -> ipaddress.IPv4Network:
        """The block of the bridge (first quarter) and of the pods on real nodes (the rest)."""
        return ipaddress.IPv4Network(f"10.{200 + self.index}.0.0/16")

    @property
    def host_address(self) -> str:
        """The host's own address on the bridge."""
        return str(self.network[1])

    def control_plane_address(self, cluster: int) -> str:
        """The bridge address of cluster number `cluster` (from 0)."""
        return str(self.network[10 + cluster])

    def node_address(self, node: int) -> str:
        """The bridge address of real node number `node` (from 0)."""
        return str(self.network[256 + 1 + node])

    def pod_cidr(self, node: int) -> str:
        """Addresses of the pods on real node number `node` (from 0)."""
        return f"10.{200 + self.index}.{64 + node}.0/24"


def service_cidr(cluster: int) -> str:
    """Service addresses of cluster number `cluster`; never routed, so slots may share them."""
    return f"10.{96 + cluster}.0.0/16"


def simulated_pod_cidr(cluster: int) -> str:
    """Addresses that kwok gives to pods of cluster number `cluster`; nobody answers there."""
    return f"10.{240 + cluster}.0.0/16"


def first_address(cidr: str) -> str:
    """The first host address of a block, e.g. that of the `kubernetes` Service."""
    return str(ipaddress.ip_network(cidr)[1])


@dataclass(frozen=True)
class Claim:
    """Who holds a slot."""

    slot: Slot
    state: Path
    owner: Identity
    detached: bool = False
    containers: bool = False

    def alive(self) -> bool:
        """Whether the owner still lives (see the module's docstring)."""
        return self.owner.alive() or (self.detached and ProcessTable(self.state).any_alive())


class SlotRegistry:
    """The records of all harnesses of this user: a file a slot, in a folder that boots clear."""

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = folder or _default_folder()
        self._settings = KernelSettings(self.folder / "kernel-settings.json")
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = self.folder.stat()
        if found.st_uid != os.getuid() or stat.S_IMODE(found.st_mode) & 0o022:
            raise SlotError(f"{self.folder} belongs to, or can be written by, somebody else")

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Holds the lock that every change of records and of shared host settings needs."""
        with (self.folder / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def claims(self) -> list[Claim]:
        """All records, of living and of dead owners."""
        return [self._read(path) for path in sorted(self.folder.glob("slot-*.json"))]

    def find(self, state: Path) -> Claim | None:
        """The slot that belongs to a state folder."""
        return next((claim for claim in self.claims() if claim.state == state), None)

    def claim(
        self,
        state: Path,
        *,
        detached: bool,
        containers: bool,
        sweep: Callable[[Claim], None],
    ) -> Claim:
        """Takes the first free slot, after sweeping the left-overs of dead owners.

        Raises SlotError when `state` is in use or no slot is free.
        """
        owner = Identity.of(os.getpid())
        assert owner is not None
        with self.locked():
            self._sweep(sweep)
            taken = {claim.slot.index: claim for claim in self.claims()}
            if any(claim.state == state for claim in taken.values()):
                raise SlotError(f"clusters of {state} are running; take them down first")
            free = (Slot(index) for index in range(SLOTS) if index not in taken)
            slot = next(filter(_usable, free), None)
            if slot is None:
                raise SlotError(f"all {SLOTS} slots are taken, see {self.folder}")
            claim = Claim(slot, state, owner, detached, containers)
            self._write(claim)
            if containers:
                self._settings.prepare()
            return claim

    def sweep(self, sweep: Callable[[Claim], None]) -> None:
        """Has the left-overs of dead owners removed, and frees their slots."""
        with self.locked():
            self._sweep(sweep)

    def release(self, claim: Claim) -> None:
        """Gives a slot back; the last one with real nodes puts the kernel's settings back."""
        with self.locked():
            self._drop(claim)

    def _sweep(self, sweep: Callable[[Claim], None]) -> None:
        for claim in self.claims():
            if not claim.alive():
                sweep(claim)
                self._drop(claim)

    def _drop(self, claim: Claim) -> None:
        self._path(claim.slot).unlink(missing_ok=True)
        if not any(other.containers for other in self.claims()):
            self._settings.restore()

    def _path(self, slot: Slot) -> Path:
        return self.folder / f"slot-{slot.index:02}.json"

    def _write(self, claim: Claim) -> None:
        raw = {**asdict(claim), "slot": claim.slot.index, "state": str(claim.state)}
        temporary = self._path(claim.slot).with_suffix(".new")
        temporary.write_text(json.dumps(raw))
        temporary.replace(self._path(claim.slot))

    @staticmethod
    def _read(path: Path) -> Claim:
        raw = json.loads(path.read_text())
        try:
            return Claim(
                slot=Slot(raw["slot"]),
                state=Path(raw["state"]),
                owner=Identity(**raw["owner"]),
                detached=raw["detached"],
                containers=raw["containers"],
            )
        except (KeyError, TypeError) as error:
            raise HarnessError(f"{path} was not written by this version; remove it") from error


class PortAllocator:
    """Hands out ports of a range that nobody listens on, each once."""

    def __init__(self, ports: Iterable[int]) -> None:
        self._ports = iter(ports)

    def take(self, addresses: Iterable[str] = (LOOPBACK,)) -> int:
        """The next port that can be bound on all of the addresses."""
        addresses = tuple(addresses)
        for port in self._ports:
            if all(_can_bind(address, port) for address in addresses):
                return port
        raise SlotError("every port of this slot is in use")


def _can_bind(address: str, port: int) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((address, port))
        except OSError:
            return False
    return True


def _usable(slot: Slot) -> bool:
    """Whether somebody else (another user's harness, a container engine) is in the way."""
    if Path(f"/sys/class/net/{slot.bridge}").exists():
        return False
    if any(slot.network.overlaps(route) for route in _host_routes()):
        return False
    return all(_can_bind(LOOPBACK, port) for port in slot.component_ports[:4])


def _host_routes() -> Iterator[ipaddress.IPv4Network]:
    """Routes of this host that are narrower than a whole 10.0.0.0/8."""
    for line in Path("/proc/net/route").read_text().splitlines()[1:]:
        fields = line.split()
        target, mask = (int(fields[i], 16).to_bytes(4, "little") for i in (1, 7))
        route = ipaddress.IPv4Network((target, int.from_bytes(mask, "big").bit_count()))
        if route.prefixlen > 8:
            yield route


def _default_folder() -> Path:
    if os.getuid() == 0:
        return Path("/run/vnode-clusters")
    return Path(tempfile.gettempdir()) / f"vnode-clusters-{os.getuid()}"
