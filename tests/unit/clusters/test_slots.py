"""Harnesses keep out of each other's way, and dead ones are cleaned up after."""

import fcntl
import socket
from collections.abc import Iterator
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network
from itertools import combinations
from pathlib import Path

import pytest

from tests.clusters import slots
from tests.clusters.errors import SlotError
from tests.clusters.processes import ProcessTable, Stage
from tests.clusters.slots import (
    LOOPBACK,
    SLOTS,
    Claim,
    PortAllocator,
    Slot,
    SlotRegistry,
    first_address,
    service_cidr,
)


@pytest.fixture
def registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SlotRegistry:
    monkeypatch.setattr(slots, "_usable", lambda slot: True)
    return SlotRegistry(tmp_path / "registry")


class Sweeper:
    def __init__(self) -> None:
        self.swept: list[Path] = []

    def __call__(self, claim: Claim) -> None:
        self.swept.append(claim.state)


def claim(
    registry: SlotRegistry, state: Path, *, detached: bool = False, sweep: Sweeper | None = None
) -> Claim:
    return registry.claim(state, detached=detached, containers=False, sweep=sweep or Sweeper())


def kill_owner(registry: SlotRegistry, dead: Claim) -> None:
    """Makes the record look as if its owner had ended."""
    gone = replace(dead.owner, start_ticks=dead.owner.start_ticks - 1)
    registry._write(replace(dead, owner=gone))


def test_slots_share_nothing() -> None:
    everything = [Slot(index) for index in range(SLOTS)]
    for one, other in combinations(everything, 2):
        assert not one.network.overlaps(other.network)
        assert not set(one.component_ports) & set(other.component_ports)
        assert one.bridge != other.bridge
    for slot in everything:
        assert not set(slot.component_ports) & set(slot.user_ports)
        assert max(slot.user_ports) < 30_000  # NodePorts and ephemeral ports begin there


def test_addresses_of_a_slot_are_all_different_and_inside() -> None:
    slot = Slot(3)
    addresses = [slot.host_address]
    addresses += [slot.control_plane_address(index) for index in range(12)]
    addresses += [slot.node_address(index) for index in range(20)]
    assert len(set(addresses)) == len(addresses)
    on_bridge = IPv4Network("10.203.0.0/18")
    assert all(IPv4Address(address) in on_bridge for address in addresses)
    for node in range(20):
        pods = IPv4Network(slot.pod_cidr(node))
        assert pods.subnet_of(slot.network)
        assert not pods.overlaps(on_bridge)


def test_the_kubernetes_service_has_the_first_address() -> None:
    assert first_address(service_cidr(2)) == "10.98.0.1"


def test_each_harness_gets_a_slot_of_its_own(registry: SlotRegistry, tmp_path: Path) -> None:
    one, other = claim(registry, tmp_path / "a"), claim(registry, tmp_path / "b")
    assert one.slot != other.slot


def test_a_state_folder_is_used_once_at_a_time(registry: SlotRegistry, tmp_path: Path) -> None:
    first = claim(registry, tmp_path / "a")
    with pytest.raises(SlotError, match="take them down first"):
        claim(registry, tmp_path / "a")
    registry.release(first)
    assert claim(registry, tmp_path / "a").slot == first.slot


def test_left_overs_are_swept_before_their_slot_is_used_again(
    registry: SlotRegistry, tmp_path: Path
) -> None:
    dead = claim(registry, tmp_path / "dead")
    kill_owner(registry, dead)
    sweeper = Sweeper()
    new = claim(registry, tmp_path / "new", sweep=sweeper)
    assert sweeper.swept == [tmp_path / "dead"]
    assert (new.slot, registry.find(tmp_path / "dead")) == (dead.slot, None)


def test_living_harnesses_are_not_swept(registry: SlotRegistry, tmp_path: Path) -> None:
    claim(registry, tmp_path / "alive")
    sweeper = Sweeper()
    registry.sweep(sweeper)
    assert sweeper.swept == []


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Path]:
    """A state folder with a process that runs."""
    state = tmp_path / "running"
    state.mkdir()
    table = ProcessTable(state)
    table.spawn("tenant", "p", ["sleep", "600"], stage=Stage.ETCD, log=state / "log")
    yield state
    table.end(Stage.ETCD)


@pytest.mark.parametrize("detached", [True, False])
def test_only_detached_clusters_outlive_their_harness(
    registry: SlotRegistry, running: Path, detached: bool
) -> None:
    dead = claim(registry, running, detached=detached)
    kill_owner(registry, dead)
    sweeper = Sweeper()
    registry.sweep(sweeper)
    assert sweeper.swept == ([] if detached else [running])


def test_detached_clusters_without_any_process_are_left_overs(
    registry: SlotRegistry, tmp_path: Path
) -> None:
    kill_owner(registry, claim(registry, tmp_path / "a", detached=True))
    sweeper = Sweeper()
    registry.sweep(sweeper)
    assert sweeper.swept == [tmp_path / "a"]


def test_when_all_slots_are_taken_it_says_so(registry: SlotRegistry, tmp_path: Path) -> None:
    for index in range(SLOTS):
        claim(registry, tmp_path / str(index))
    with pytest.raises(SlotError, match="all 32 slots"):
        claim(registry, tmp_path / "one more")


def test_a_folder_that_others_can_write_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "open"
    folder.mkdir()
    folder.chmod(0o777)
    with pytest.raises(SlotError, match="somebody else"):
        SlotRegistry(folder)


def test_the_registry_is_locked_for_others(registry: SlotRegistry) -> None:
    with (
        registry.locked(),
        (registry.folder / "lock").open("w") as other,
        pytest.raises(BlockingIOError),
    ):
        fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_a_port_in_use_is_passed_over_and_none_is_given_twice() -> None:
    with socket.socket() as busy:
        busy.bind((LOOPBACK, 0))
        busy.listen()
        taken = busy.getsockname()[1]
        ports = PortAllocator([taken, taken + 1, taken + 2])
        first = ports.take()
    assert first > taken
    with pytest.raises(SlotError, match="every port"):
        [ports.take() for _ in range(3)]
