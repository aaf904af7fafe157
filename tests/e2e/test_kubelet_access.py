"""Who may use the kubelet API of a virtual node, asked directly over HTTPS."""

from __future__ import annotations

import json
import ssl
import urllib.error
import urllib.request
from typing import TYPE_CHECKING

import pytest
import trustme

from tests.e2e.user import until

if TYPE_CHECKING:
    from pathlib import Path

    from tests.agents import Federation
    from tests.e2e.user import User

ROUTES = (
    "/pods",
    "/runningpods/",
    "/containerLogs/team-a/any/main",
    "/exec/team-a/any/main?command=id&output=1",
    "/attach/team-a/any/main?output=1",
    "/portForward/team-a/any",
    "/metrics",
    "/stats/summary",
    "/nothing",
)


@pytest.fixture
def endpoint(user: User, federation: Federation) -> str:
    """Base URL of one virtual node's kubelet API."""
    status = user.get("node", federation.nodes[0])["status"]
    address = next(a["address"] for a in status["addresses"] if a["type"] == "InternalIP")
    return f"https://{address}:{status['daemonEndpoints']['kubeletEndpoint']['Port']}"


def _ask(url: str, *, token: str = "", context: ssl.SSLContext | None = None) -> int:
    context = context or ssl._create_unverified_context()
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    try:
        request = urllib.request.Request(url, headers=headers)
        with urllib.request.urlopen(request, context=context, timeout=10) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code


@pytest.mark.parametrize("route", ROUTES)
def test_nobody_is_let_in_without_credentials(endpoint: str, route: str) -> None:
    assert _ask(endpoint + route) == 401


def test_an_unknown_token_is_refused(endpoint: str) -> None:
    assert _ask(f"{endpoint}/pods", token="nonsense") == 401


def test_a_token_without_rights_is_refused_and_with_rights_let_in(
    endpoint: str, user: User
) -> None:
    user.kubectl("create", "serviceaccount", "reader")
    try:
        token = user.kubectl("create", "token", "reader").strip()
        assert _ask(f"{endpoint}/pods", token=token) == 403
    finally:
        user.kubectl("delete", "serviceaccount", "reader")
    rules = ("--verb=get", "--resource=nodes/proxy,nodes/pods")
    user.kubectl("create", "clusterrole", "kubelet-reader", *rules)
    user.kubectl("create", "serviceaccount", "granted")
    account = f"--serviceaccount={user.namespace}:granted"
    user.kubectl(
        "create", "clusterrolebinding", "kubelet-reader", "--clusterrole=kubelet-reader", account
    )
    try:
        token = user.kubectl("create", "token", "granted").strip()
        assert _ask(f"{endpoint}/pods", token=token) == 200
    finally:
        user.kubectl("delete", "clusterrolebinding,clusterrole", "kubelet-reader")
        user.kubectl("delete", "serviceaccount", "granted")


def test_a_certificate_of_a_foreign_ca_is_refused(endpoint: str, tmp_path: Path) -> None:
    foreign = trustme.CA().issue_cert("kube-apiserver-kubelet-client", common_name="admin")
    context = ssl._create_unverified_context()
    foreign.configure_cert(context)
    with pytest.raises((urllib.error.URLError, ssl.SSLError, ConnectionError)):
        _ask(f"{endpoint}/pods", context=context)


def test_every_virtual_node_asks_for_a_certificate_and_waits_for_no_approval(
    user: User, federation: Federation
) -> None:
    def requests() -> dict[str, str]:
        found = user.items("csr", "app.kubernetes.io/managed-by=vnode")
        return {r["metadata"]["name"].rpartition("-")[0]: r["spec"]["username"] for r in found}

    until(lambda: requests().keys() >= set(federation.nodes), "each of them asked")
    assert set(requests().values()) == {"system:serviceaccount:vnode-system:vnode"}


def test_the_tenants_api_server_lists_the_pods_of_the_node(
    endpoint: str, user: User, federation: Federation
) -> None:
    if "//127." in endpoint:
        pytest.skip("API servers do not proxy to loopback addresses")
    node = federation.nodes[0]
    listed = json.loads(user.kubectl("get", "--raw", f"/api/v1/nodes/{node}/proxy/pods"))
    assert listed["kind"] == "PodList"
    assert all(p["spec"]["nodeName"] == node for p in listed["items"])
