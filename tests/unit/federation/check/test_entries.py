"""Two entries of a configuration that are one API server."""

from federation.check.findings import Level
from federation.check.namespaces import other_entries
from federation.check.site import Peer
from tests.builders import make_error
from tests.unit.federation.check.api import Api
from vnode.kube.config import Connection

SYSTEM = "/api/v1/namespaces/kube-system"


def entry(name: str, server: str, uid: str = "") -> Peer:
    """A cluster of the configuration; `uid`: of its kube-system, empty: not to be seen."""
    api = Api()
    api.server = server
    metadata = {"name": "kube-system", "uid": uid}
    api.answers[SYSTEM] = {"metadata": metadata} if uid else make_error(403)
    return Peer(name, Connection(name), opened=api.client)


async def test_an_api_server_that_is_there_twice_is_wrong() -> None:
    mine = entry("gpu-a", "https://a:6443", "u-1")
    others = [entry("gpu-b", "https://b:6443", "u-1"), entry("gpu-c", "https://a:6443")]
    findings = await other_entries(mine, others)
    assert [finding.level for finding in findings] == [Level.WRONG] * 2
    assert [finding.text.split()[0] for finding in findings] == ["gpu-b", "gpu-c"]


async def test_entries_of_other_api_servers_are_nothing_to_say() -> None:
    mine = entry("gpu-a", "https://a:6443")
    closed = Peer("gpu-d", Connection("gpu-d"), problem="no file")
    others = [entry("gpu-b", "https://b:6443"), entry("gpu-c", "https://c:6443", "u-2"), closed]
    assert await other_entries(mine, others) == []
