"""Addresses of pods in isolated networks."""

from ipaddress import ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.builders import make_uid
from vnode.pods.status.addresses import AddressPool


def test_a_pod_gets_the_same_address_each_time() -> None:
    pool = AddressPool("198.18.0.0/24")
    assert pool.allocate(make_uid(1)) == pool.allocate(make_uid(1))
    assert len(pool) == 1


def test_a_restarted_pool_gives_a_pod_the_same_address_where_it_is_free() -> None:
    first, second = AddressPool("198.18.0.0/16"), AddressPool("198.18.0.0/16")
    assert first.allocate(make_uid(1)) == second.allocate(make_uid(1))


@given(st.integers(24, 30))
def test_every_address_of_the_network_is_used_once(prefix: int) -> None:
    network = ip_network(f"198.18.0.0/{prefix}")
    pool = AddressPool(str(network))
    room = network.num_addresses - 2
    given_out = {pool.allocate(make_uid(number)) for number in range(room)}
    assert len(given_out) == room
    assert all(ip_address(address) in network for address in given_out)
    assert str(network.network_address) not in given_out
    assert str(network.broadcast_address) not in given_out
    with pytest.raises(LookupError, match="in use"):
        pool.allocate(make_uid(room))


def test_a_released_address_is_free_again() -> None:
    pool = AddressPool("198.18.0.0/30")
    pool.allocate(make_uid(1))
    second = pool.allocate(make_uid(2))
    pool.release(make_uid(2))
    assert pool.allocate(make_uid(3)) == second


def test_a_learned_address_is_not_given_to_another() -> None:
    pool = AddressPool("198.18.0.0/30")
    pool.learn(make_uid(1), "198.18.0.1")
    assert pool.allocate(make_uid(1)) == "198.18.0.1"
    assert pool.allocate(make_uid(2)) == "198.18.0.2"


def test_who_learns_a_taken_address_does_not_free_it() -> None:
    pool = AddressPool("198.18.0.0/30")
    pool.learn(make_uid(1), "198.18.0.1")
    pool.learn(make_uid(2), "198.18.0.1")
    pool.release(make_uid(2))
    assert pool.allocate(make_uid(3)) == "198.18.0.2"


def test_who_is_unknown_can_be_released() -> None:
    AddressPool("198.18.0.0/24").release(make_uid(1))


def test_a_network_without_room_is_refused() -> None:
    with pytest.raises(ValueError, match="no room"):
        AddressPool("198.18.0.0/31")
