"""Where a user looks, and what only kubectl knows."""

import json
from typing import TYPE_CHECKING, Any, cast

from tests.e2e.user import User

if TYPE_CHECKING:
    from tests.clusters import Cluster


class _Cluster:
    def __init__(self, found: Any = None) -> None:
        self.read: list[str] = []
        self.ran: list[tuple[str, ...]] = []
        self._found = found

    def find(self, path: str) -> Any:
        self.read.append(path)
        return self._found

    def kubectl(self, *arguments: str, **_: object) -> str:
        self.ran.append(arguments)
        return json.dumps(self._found)


def _user(cluster: _Cluster) -> User:
    return User(cast("Cluster", cluster), "team-a")


def test_objects_are_read_where_they_are() -> None:
    cluster = _Cluster()
    user = _user(cluster)
    assert user.get("pod", "web") is None
    user.get("deployment", "web")
    user.get("nodes", "n")
    assert cluster.read == [
        "/api/v1/namespaces/team-a/pods/web",
        "/apis/apps/v1/namespaces/team-a/deployments/web",
        "/api/v1/nodes/n",
    ]


def test_entries_of_lists_say_what_they_are_as_kubectl_has_it() -> None:
    listed = {"apiVersion": "v1", "kind": "PodList", "items": [{"metadata": {"name": "web"}}]}
    cluster = _Cluster(listed)
    assert _user(cluster).items("pods", "app in (a,b)") == [
        {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "web"}}
    ]
    assert cluster.read == ["/api/v1/namespaces/team-a/pods?labelSelector=app+in+%28a%2Cb%29"]


def test_kubectl_is_asked_for_other_kinds() -> None:
    cluster = _Cluster({"items": [1]})
    assert _user(cluster).items("datasets.data.fluid.io") == [1]
    assert not cluster.read
    assert cluster.ran[0][:3] == ("--namespace=team-a", "get", "datasets.data.fluid.io")
