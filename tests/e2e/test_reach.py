"""How far the credential that `vnode join` makes reaches: its tenant's namespaces, and no further.

Everything that discovery names is tried (`tests.e2e.walk`) in another tenant's namespace with pods,
Secrets and events in it, in kube-system, in the namespace of all accounts and in the whole cluster.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import http.client
import ssl
import urllib.parse
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest
import yaml

from tests.agents.join import join_compute, uid_of, vnode_join
from tests.e2e.conftest import KWOK
from tests.e2e.user import User, until
from tests.e2e.walk import Attempt, Resource, answers, attempts, discovered, pretending

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from tests.agents import Federation
    from tests.clusters import Cluster

CLUSTER = KWOK[0]
OTHER = "stranger"
THEIRS = f"{OTHER}--team-a"
OTHERS = (THEIRS, "kube-system", "kube-public", "kube-node-lease", "vnode-system", "default")
"""Namespaces in which nothing is granted but what stands in `ALLOWED`."""
ALLOWED = {
    # Everybody may ask about himself: the questions of `kubectl auth can-i` and `whoami`.
    ("create", "selfsubjectaccessreviews.authorization.k8s.io"),
    ("create", "selfsubjectrulesreviews.authorization.k8s.io"),
    ("create", "selfsubjectreviews.authentication.k8s.io"),
}
OWN = {
    # Which cluster this is (join/identity.yaml): the object kube-system, and nothing in it.
    "/api/v1/namespaces/kube-system",
}


@dataclass(frozen=True)
class Site:
    """A compute cluster with two tenants, and the credential of one."""

    cluster: Cluster
    token: str
    resources: list[Resource]

    def walk(self, wanted: Iterable[Attempt]) -> dict[Attempt, int]:
        """The answers to all of them."""
        cluster = self.cluster
        sent = answers(wanted, server=cluster.server, ca=cluster.ca_file, token=self.token)
        # A thread of its own, since pytest-asyncio keeps a loop for this one.
        with ThreadPoolExecutor(1) as thread:
            return thread.submit(asyncio.run, sent).result()


@pytest.fixture(scope="module")
def site(federation: Federation, tmp_path_factory: pytest.TempPathFactory) -> Site:
    """Another tenant's namespace is prepared, and holds what must not be seen."""
    cluster, folder = federation.computes[CLUSTER], tmp_path_factory.mktemp("reach")
    vnode_join(cluster, f"--tenant={OTHER}", f"--cluster={CLUSTER}", "--namespaces=team-a")
    theirs = User(cluster, THEIRS)
    if theirs.get("pod", "x") is None:
        theirs.kubectl("run", "x", "--image=none")
        theirs.kubectl("create", "secret", "generic", "x", "--from-literal=password=theirs")
        theirs.kubectl("create", "configmap", "x", "--from-literal=a=b")
        theirs.kubectl("create", "service", "clusterip", "x", "--tcp=80")
    until(lambda: theirs.items("events"), "there are events of theirs")
    uid = uid_of(federation.tenant)
    made = join_compute(cluster, CLUSTER, uid=uid, config=federation.config, directory=folder)
    token = _token(made)
    return Site(cluster, token, discovered(cluster))


def _token(kubeconfig: Path) -> str:
    return str(yaml.safe_load(kubeconfig.read_text())["users"][0]["user"]["token"])


def names(cluster: Cluster) -> dict[str, str]:
    """Objects of the cluster that exist, so that a name tells nothing by itself."""
    node = cluster.kubectl("get", "nodes", "-o", "name").split()[0].partition("/")[2]
    return {"nodes": node, "namespaces": THEIRS, "serviceaccounts": "default"}


def passed(codes: dict[Attempt, int]) -> list[str]:
    """What was not refused although nothing allows it."""
    return [
        f"{code}: {attempt}"
        for attempt, code in codes.items()
        if code != 403
        and (attempt.verb, attempt.resource) not in ALLOWED
        and not (attempt.verb == "get" and attempt.path in OWN)
    ]


def test_nothing_of_other_tenants_or_of_the_cluster_is_reached(site: Site) -> None:
    wanted = [*attempts(site.resources, namespaces=OTHERS, names=names(site.cluster))]
    # What is granted in a cluster-scoped form stays to be tried by its name.
    own = ("vnode-system", "serviceaccounts")
    wanted += [
        Attempt("create", "serviceaccounts/token", own[0], "POST", _token_path(*place))
        for place in (
            (own[0], f"vnode-{OTHER}"),
            (own[0], "default"),
            ("kube-system", "default"),
            (THEIRS, "default"),
        )
    ]
    wanted += pretending(
        f"/api/v1/namespaces/{THEIRS}/secrets",
        {"Impersonate-User": "system:admin"},
        {"Impersonate-User": "x", "Impersonate-Group": "system:masters"},
        {"Impersonate-User": f"system:serviceaccount:vnode-system:vnode-{OTHER}"},
        {"Impersonate-User": "system:serviceaccount:vnode-system:vnode-demo"},
        {"Impersonate-User": "x", "Impersonate-Uid": "1"},
        {"Impersonate-User": "x", "Impersonate-Extra-Scopes": "all"},
    )
    codes = site.walk(wanted)

    assert passed(codes) == []
    kinds = len({attempt.resource for attempt in wanted})
    pairs = len({(a.resource, a.verb, a.where) for a in wanted})
    print(f"{len(codes)} requests: {kinds} resources, {pairs} combinations with verb and place")
    assert kinds > 90
    assert len(codes) > 3000


def _token_path(namespace: str, account: str) -> str:
    return f"/api/v1/namespaces/{namespace}/serviceaccounts/{account}/token"


@pytest.mark.parametrize(
    "path",
    [
        f"/api/v1/namespaces/demo--team-a/../{THEIRS}/secrets",
        f"/api/v1/namespaces/demo--team-a/%2e%2e/{THEIRS}/secrets",
        f"/api/v1/namespaces/demo--team-a/secrets/..%2f..%2f{THEIRS}%2fsecrets%2fx",
        f"/api/v1//namespaces/{THEIRS}/secrets",
        f"/api/v1/watch/namespaces/{THEIRS}/secrets",
        f"/api/v1/namespaces/{THEIRS}/secrets/x?namespace=demo--team-a",
        "/metrics",
        "/logs/",
        "/debug/pprof/",
        "/debug/flags/v",
        "/configz",
        "/statusz",
        "/flagz",
    ],
)
def test_other_ways_to_the_same_lead_nowhere(site: Site, path: str) -> None:
    code, answer = _raw(site, path)
    assert code in (301, 400, 403, 404), answer
    assert "theirs" not in answer
    assert base64.b64encode(b"theirs").decode() not in answer


def _raw(site: Site, path: str) -> tuple[int, str]:
    """Ask for exactly that path, as no well-behaved client would."""
    parts = urllib.parse.urlsplit(site.cluster.server)
    tls = ssl.create_default_context(cafile=str(site.cluster.ca_file))
    connection = http.client.HTTPSConnection(parts.netloc, context=tls, timeout=20)
    with contextlib.closing(connection):
        connection.request("GET", path, headers={"Authorization": f"Bearer {site.token}"})
        response = connection.getresponse()
        return response.status, response.read().decode(errors="replace")


def test_what_is_its_tenants_is_reached(site: Site) -> None:
    def get(path: str) -> Attempt:
        return Attempt("get", "own", "", "GET", path)

    paths = ["pods", "secrets", "configmaps", "events", "resourcequotas"]
    own = [get(f"/api/v1/namespaces/demo--team-a/{each}") for each in paths]
    mine = Attempt(
        "create", "own", "", "POST", _token_path("vnode-system", "vnode-demo"), (("dryRun", "All"),)
    )
    codes = site.walk([*own, get("/api/v1/namespaces/demo--team-a"), *(get(p) for p in OWN), mine])
    assert set(codes.values()) <= {200, 201, 400}, codes


def test_a_wider_credential_would_be_found_out(site: Site) -> None:
    """That the walk can fail: with a right in the other namespace it names what is reached."""
    account = "--serviceaccount=vnode-system:vnode-demo"
    binding = ("rolebinding", "too-much", f"--namespace={THEIRS}")
    site.cluster.kubectl("create", *binding, "--clusterrole=view", account)
    try:
        pods = [each for each in site.resources if each.name in ("pods", "secrets", "pods/log")]
        wanted = [*attempts(pods, namespaces=[THEIRS], names={})]
        found = until(lambda: passed(site.walk(wanted)), "the walk sees what was granted")
    finally:
        site.cluster.kubectl("delete", *binding)
    text = "\n".join(found)
    assert "list pods in stranger--team-a" in text
    assert "get pods/log in stranger--team-a" in text
    assert "secrets" not in text
