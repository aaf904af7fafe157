"""Connections of those who look again and again."""

import threading
from typing import Any, cast

from tests.clusters.api import AdminClient
from tests.clusters.reading import Reader


class _Client:
    def __init__(self) -> None:
        self.closed = False

    def find(self, path: str) -> Any:
        return self, path

    def close(self) -> None:
        self.closed = True


def _reader() -> tuple[Reader, list[_Client]]:
    made: list[_Client] = []

    def connect() -> AdminClient:
        made.append(_Client())
        return cast("AdminClient", made[-1])

    return Reader(connect), made


def test_a_thread_keeps_its_connection_and_shares_it_with_none() -> None:
    reader, made = _reader()
    assert reader.find("/a") == (made[0], "/a")
    assert reader.find("/b") == (made[0], "/b")
    other = threading.Thread(target=reader.find, args=["/c"])
    other.start()
    other.join()
    assert len(made) == 2


def test_all_connections_are_closed_at_the_end() -> None:
    reader, made = _reader()
    other = threading.Thread(target=reader.find, args=["/a"])
    other.start()
    other.join()
    reader.find("/a")
    reader.close()
    assert [client.closed for client in made] == [True, True]
