"""What stands before replicas leaves no connection open."""

import socket
import threading
from collections.abc import Iterator

import pytest

from tests.agents.balancer import Balancer

HERE = "127.0.0.1"
THERE = "127.0.0.2"


class _Slow(Balancer):
    """Is told when it may go on to connect."""

    def __init__(self, port: int) -> None:
        super().__init__(HERE, port, [THERE])
        self.dialling, self.may_go_on = threading.Event(), threading.Event()

    def _dial(self) -> socket.socket | None:
        self.dialling.set()
        assert self.may_go_on.wait(10)
        return super()._dial()


@pytest.fixture
def target() -> Iterator[socket.socket]:
    with socket.create_server((THERE, 0)) as listener:
        listener.settimeout(10)
        yield listener


def _ends(connection: socket.socket) -> bool:
    connection.settimeout(10)
    try:
        return connection.recv(1) == b""
    except ConnectionResetError:
        return True


def test_connections_are_passed_on_and_can_be_cut(target: socket.socket) -> None:
    port = target.getsockname()[1]
    with (
        Balancer(HERE, port, [THERE]) as balancer,
        socket.create_connection((HERE, port)) as near,
        target.accept()[0] as far,
    ):
        near.sendall(b"hello")
        assert far.recv(5) == b"hello"
        balancer.cut()
        assert _ends(near)
        assert _ends(far)
    assert balancer.taken == {THERE: 1}


def test_a_connection_that_is_being_made_at_the_end_is_ended_too(target: socket.socket) -> None:
    port = target.getsockname()[1]
    balancer = _Slow(port)
    with balancer:
        near = socket.create_connection((HERE, port))
        assert balancer.dialling.wait(10)
        later = threading.Timer(0.05, balancer.may_go_on.set)
        later.start()
    later.join()
    with near, target.accept()[0] as far:
        assert _ends(near)
        assert _ends(far)
