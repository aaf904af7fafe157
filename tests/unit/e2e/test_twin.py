"""A second tenant with the same names: what it makes, and what it finds wrong."""

from __future__ import annotations

import itertools
import json
from http import HTTPStatus
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import pytest

from tests.agents.join import Terms
from tests.clusters.errors import CommandError
from tests.e2e import twin
from tests.e2e.namesakes import MARK
from tests.e2e.twin import NAME, Twin

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.agents import Federation

NAMESPACE = "team-a"


class Api:
    """As much of an API server as a twin asks for."""

    _uids = itertools.count(1)

    def __init__(self, audit_log: Path) -> None:
        self.audit_log = audit_log
        audit_log.touch()
        self.objects: dict[str, Any] = {}
        """By path."""
        self.away = False

    def status(self, path: str) -> int:
        return HTTPStatus.OK

    def get(self, path: str) -> Any:
        if self.away:
            raise CommandError("no answer")
        where, _, query = path.partition("?")
        of_all = f"/{where.rpartition('/')[2]}/"
        inside = [
            found
            for at, found in self.objects.items()
            if at.startswith(f"{where}/") or ("/namespaces/" not in where and of_all in at)
        ]
        if "labelSelector" in query:
            inside = [o for o in inside if "vnode.dev/tenant" in o["metadata"].get("labels", {})]
        return {"items": inside}

    def find(self, path: str) -> Any:
        return self.objects.get(path)

    def create(self, path: str, body: Any) -> Any:
        metadata = {**body["metadata"], "uid": f"u-{next(self._uids)}"}
        made = {"status": {}, **body, "metadata": metadata}
        self.objects[f"{path}/{metadata['name']}"] = made
        return made

    def delete(self, path: str) -> None:
        del self.objects[path.partition("?")[0]]

    def close(self) -> None: ...


class Site:
    """Two tenants and a compute cluster, all in memory."""

    def __init__(self, folder: Path) -> None:
        self.first, self.second, self.below = (
            Api(folder / name) for name in ("first", "second", "below")
        )
        for tenant in (self.first, self.second):
            tenant.create("/api/v1/namespaces", {"metadata": {"name": NAMESPACE}})
        terms = Terms(namespaces=(NAMESPACE,))
        computes = {"pool": SimpleNamespace(name="pool", audit_log=self.below.audit_log)}
        self._apis = {id(computes["pool"]): self.below}
        made = []
        for api in (self.first, self.second):
            cluster = SimpleNamespace(name="tenant")
            self._apis[id(cluster)] = api
            made.append(SimpleNamespace(tenant=cluster, computes=computes, terms=terms))
        self.federations = cast("list[Federation]", made)

    def client(self, cluster: Any) -> Api:
        return self._apis[id(cluster)]

    def submit(self, kind: str, name: str, **fields: Any) -> Any:
        """As a user of the first tenant."""
        metadata = {"name": name, "namespace": NAMESPACE}
        return self.first.create(
            f"/api/v1/namespaces/{NAMESPACE}/{kind}", {"metadata": metadata, **fields}
        )

    def namesake(self, kind: str, name: str) -> Any:
        return self.second.find(f"/api/v1/namespaces/{NAMESPACE}/{kind}/{name}")

    def copy(self, tenant: str, kind: str, original: Any, **fields: Any) -> None:
        """As the agent of that tenant."""
        space = f"{tenant}--{NAMESPACE}"
        metadata = {
            "name": original["metadata"]["name"],
            "namespace": space,
            "labels": {"vnode.dev/tenant": tenant},
            "annotations": {"vnode.dev/uid": original["metadata"]["uid"]},
        }
        body = {"metadata": metadata, **fields}
        self.below.create(f"/api/v1/namespaces/{space}/{kind}", body)


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Site:
    made = Site(tmp_path)
    monkeypatch.setattr(twin, "_admin", made.client)
    return made


@pytest.fixture
def other(site: Site) -> Twin:
    """It looks when a test says so."""
    made = Twin(*site.federations)
    made.look()
    return made


def test_what_a_user_makes_and_removes_has_a_namesake_that_goes_with_it(
    site: Site, other: Twin
) -> None:
    site.submit("configmaps", "settings", data={"k": "v"})
    other.look()
    assert site.namesake("configmaps", "settings")["data"] == {"k": f"{MARK}k"}
    site.first.delete(f"/api/v1/namespaces/{NAMESPACE}/configmaps/settings")
    other.look()
    assert site.namesake("configmaps", "settings") is None


def test_two_tenants_that_share_nothing_are_content(site: Site, other: Twin) -> None:
    original = site.submit("configmaps", "settings", data={"k": "v"})
    other.look()
    site.copy("demo", "configmaps", original, data={"k": "v"})
    mine = site.namesake("configmaps", "settings")
    site.copy(NAME, "configmaps", mine, data=mine["data"])
    other.look()
    other.judge()
    assert other.tally.beside == {("configmaps", "pool", f"{NAMESPACE}/settings")}


def _of_the_other(site: Site, original: Any, mine: Any) -> None:
    site.copy(NAME, "configmaps", original, data=mine["data"])


def _value_of_the_other(site: Site, original: Any, mine: Any) -> None:
    site.copy(NAME, "configmaps", mine, data=original["data"])


def _value_of_the_twin(site: Site, original: Any, mine: Any) -> None:
    site.copy("demo", "configmaps", original, data=mine["data"])


def _write_elsewhere(site: Site, original: Any, mine: Any) -> None:
    entry = {
        "user": {"username": "system:serviceaccount:vnode-system:vnode-demo"},
        "objectRef": {"namespace": f"{NAME}--{NAMESPACE}"},
        "responseStatus": {"code": 201},
        "verb": "create",
    }
    site.below.audit_log.write_text(json.dumps(entry) + "\n")


def _changed_gang(site: Site, original: Any, mine: Any) -> None:
    for path, found in site.first.objects.items():
        if "podgroups" in path:
            found["spec"] = {"minMember": 1000}


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (_of_the_other, "is of an object of demo"),
        (_value_of_the_other, "holds another k than the twin's"),
        (_value_of_the_twin, "holds the twin's k"),
        (_write_elsewhere, f"vnode-demo wrote to {NAME}--{NAMESPACE}"),
        (_changed_gang, "has other PodGroups"),
    ],
)
def test_what_is_of_the_other_tenant_is_named(
    site: Site, other: Twin, wrong: Callable[[Site, Any, Any], None], said: str
) -> None:
    original = site.submit("configmaps", "settings", data={"k": "v"})
    other.look()
    wrong(site, original, site.namesake("configmaps", "settings"))
    other.look()
    with pytest.raises(AssertionError, match=said):
        other.judge()


def test_a_twin_whose_pods_never_come_below_proves_nothing(site: Site, other: Twin) -> None:
    original = site.submit("pods", "a", spec={"nodeName": "vnode-pool", "containers": []})
    site.copy("demo", "pods", original)
    for _ in range(30):
        other.look()
    with pytest.raises(AssertionError, match="nothing was tried"):
        other.judge()
    site.copy(NAME, "pods", site.namesake("pods", "a"))
    other.look()
    other.judge()


def test_an_api_server_that_is_away_is_looked_at_again(site: Site, other: Twin) -> None:
    site.below.away = True
    with pytest.raises(CommandError):
        other.look()
    site.below.away = False
    other.look()
    other.judge()
