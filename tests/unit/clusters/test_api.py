"""The harness's own calls."""

from collections.abc import Callable
from pathlib import Path

import pytest
import trustme

from tests.clusters.api import AdminClient
from tests.clusters.errors import CommandError
from tests.clusters.pki import Pair

CA = trustme.CA()


class Connection:
    """An API server that ends it when it was idle for 90 s."""

    def __init__(self, *_: object, **__: object) -> None:
        self.now = self.used = 0.0

    def close(self) -> None:
        self.used = self.now

    def request(self, *_: object, **__: object) -> None:
        if self.now - self.used > 90:
            raise ConnectionResetError("ended while idle")

    def getresponse(self) -> "Connection":
        self.used = self.now
        return self

    status = 200

    def read(self) -> bytes:
        return b"{}"


class Restarted(Connection):
    """An API server that answers what is asked first after a new connection."""

    def __init__(self, status: int, *, fails: int = 0) -> None:
        super().__init__()
        self.status = status
        self._fails = fails

    def request(self, *_: object, **__: object) -> None:
        if self._fails:
            self._fails -= 1
            raise ConnectionResetError("restarted")


@pytest.fixture
def client(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[Connection], AdminClient]:
    """Makes a client on a connection."""
    CA.cert_pem.write_to_path(str(tmp_path / "ca"))
    issued = CA.issue_cert("admin.example")
    issued.private_key_pem.write_to_path(str(tmp_path / "key"))
    issued.cert_chain_pems[0].write_to_path(str(tmp_path / "cert"))
    pair = Pair(cert=tmp_path / "cert", key=tmp_path / "key")

    def make(connection: Connection) -> AdminClient:
        monkeypatch.setattr("http.client.HTTPSConnection", lambda *_, **__: connection)
        return AdminClient("https://h:1", ca_file=tmp_path / "ca", pair=pair)

    return make


@pytest.mark.parametrize("idle", [1, 80, 100])
def test_a_connection_may_be_idle_between_calls(
    idle: float, client: Callable[[Connection], AdminClient], monkeypatch: pytest.MonkeyPatch
) -> None:
    connection = Connection()
    monkeypatch.setattr("time.monotonic", lambda: connection.now)
    with client(connection) as connected:
        connected.delete("/a")
        connection.now += idle
        connected.delete("/a")


def test_what_is_not_there_is_none(client: Callable[[Connection], AdminClient]) -> None:
    assert client(Restarted(404)).find("/a") is None
    assert client(Restarted(200)).find("/a") == {}
    with pytest.raises(CommandError, match="GET /a: 403"):
        client(Restarted(403)).find("/a")


def test_a_server_that_was_restarted_is_read_on_a_new_connection(
    client: Callable[[Connection], AdminClient],
) -> None:
    assert client(Restarted(200, fails=1)).find("/a") == {}
    with pytest.raises(CommandError, match="restarted"):
        client(Restarted(200, fails=2)).find("/a")
