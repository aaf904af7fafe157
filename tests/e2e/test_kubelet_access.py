"""Who may use the kubelet API of a virtual node: every route, asked directly over HTTPS.

The routes are the server's own. What each needs stands here once more, as
kubernetes:pkg/kubelet/server/auth.go has it. What is asked for does not exist, so that whoever is
let in gets an answer of the route itself.
"""

from __future__ import annotations

import http.client
import json
import re
import ssl
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import urlsplit

import pytest
import trustme

from tests.certificates import Issuer
from tests.e2e.credentials import client_certificate, expired
from tests.e2e.user import User, until
from tests.e2e.workloads import pod
from vnode.kubelet.routes import OTHER, ROUTES

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.agents import Federation

REFUSED = (401, 403)
MARK = "vnode.dev/tests=kubelet-access"


class Call(NamedTuple):
    """A request, and the rights on the node of which one is enough for it."""

    method: str
    path: str
    rights: frozenset[str]
    """`verb subresource` each."""


_RIGHTS = {
    "healthz": ("get healthz", "get proxy"),
    "configz": ("get configz", "get proxy"),
    "pods": ("get pods", "get proxy"),
    "runningpods": ("get pods", "get proxy"),
    "metrics": ("get metrics",),
    "metrics/resource": ("get metrics",),
    "stats/summary": ("get stats",),
    "containerLogs": ("get proxy",),
    "exec": ("create proxy",),
    "attach": ("create proxy",),
    "portForward": ("create proxy",),
    "run": ("create proxy",),
}
"""What runs code takes more than the kubelet asks for: `create` over GET too."""
_OTHERS = (
    Call("GET", "/nothing", frozenset({"get proxy"})),
    Call("POST", "/nothing", frozenset({"create proxy"})),
    Call("PUT", "/nothing", frozenset({"update proxy"})),
    Call("PATCH", "/nothing", frozenset({"patch proxy"})),
    Call("DELETE", "/nothing", frozenset({"delete proxy"})),
    Call("GET", "/logs/", frozenset({"get log"})),
    Call("POST", "/checkpoint/team-a/none/main", frozenset({"create checkpoint"})),
    Call("GET", "/stats/", frozenset({"get stats"})),
    Call("POST", "/pods", frozenset({"create pods", "create proxy"})),
)
"""Paths and methods that have no handler, or no longer."""
_VALUES = {"namespace": "team-a", "pod": "none", "uid": "0000", "container": "main"}


def _calls() -> Iterator[Call]:
    for route in ROUTES:
        for path in route.paths:
            filled = re.sub(r"{(\w+)}", lambda found: _VALUES[found[1]], path)
            for method in route.methods:
                yield Call(method, filled, frozenset(_RIGHTS[route.name]))
    yield from _OTHERS


CALLS = tuple(_calls())
NEEDED = sorted(set().union(*(call.rights for call in CALLS)))


@dataclass(frozen=True)
class Caller:
    """Somebody who knocks at the kubelet API of one virtual node."""

    endpoint: str
    token: str = field(default="", repr=False)
    certificate: tuple[Path, Path] | None = None

    def ask(self, method: str, path: str, **headers: str) -> http.client.HTTPResponse:
        """The head of the answer."""
        return self._answer(method, path, headers, body=False)[0]

    def text(self, path: str) -> str:
        """The body of the answer."""
        return self._answer("GET", path, {}, body=True)[1].decode()

    def _answer(
        self, method: str, path: str, headers: dict[str, str], *, body: bool
    ) -> tuple[http.client.HTTPResponse, bytes]:
        context = ssl._create_unverified_context()
        if self.certificate is not None:
            context.load_cert_chain(*self.certificate)
        place = urlsplit(self.endpoint)
        connection = http.client.HTTPSConnection(
            place.hostname or "", place.port, timeout=10, context=context
        )
        if self.token:
            headers["Authorization"] = f"Bearer {self.token}"
        try:
            connection.request(method, path, headers=headers)
            answer = connection.getresponse()
            return answer, answer.read() if body else b""
        finally:
            connection.close()

    def codes(self) -> dict[Call, int]:
        """The answer to every call."""
        return {call: self.ask(call.method, call.path).status for call in CALLS}


def _endpoint(user: User, node: str) -> str:
    status = user.get("node", node)["status"]
    address = next(a["address"] for a in status["addresses"] if a["type"] == "InternalIP")
    return f"https://{address}:{status['daemonEndpoints']['kubeletEndpoint']['Port']}"


@pytest.fixture
def endpoint(user: User, federation: Federation) -> str:
    """Base URL of one virtual node's kubelet API."""
    return _endpoint(user, federation.nodes[0])


class Accounts:
    """ServiceAccounts and users with rights on nodes."""

    def __init__(self, user: User) -> None:
        self._user = user

    def token(self, name: str, *rights: str) -> str:
        """A token of a new ServiceAccount that has these rights."""
        self._user.kubectl("create", "serviceaccount", name)
        self._user.kubectl("label", "serviceaccount", name, MARK)
        subject = f"system:serviceaccount:{self._user.namespace}:{name}"
        self.grant(name, {"kind": "User", "name": subject}, *rights)
        return self._user.kubectl("create", "token", name).strip()

    def grant(self, name: str, subject: dict[str, str], *rights: str) -> None:
        """Give a user rights on every node, and wait until the API server knows."""
        if not rights:
            return
        rbac = "rbac.authorization.k8s.io"
        metadata = {"name": f"kubelet-access-{name}", "labels": dict([MARK.split("=")])}
        rules = [
            {"apiGroups": [""], "verbs": [verb], "resources": [f"nodes/{subresource}"]}
            for verb, subresource in (right.split() for right in rights)
        ]
        self._user.apply(
            {
                "apiVersion": f"{rbac}/v1",
                "kind": "ClusterRole",
                "metadata": metadata,
                "rules": rules,
            },
            {
                "apiVersion": f"{rbac}/v1",
                "kind": "ClusterRoleBinding",
                "metadata": metadata,
                "roleRef": {"apiGroup": rbac, "kind": "ClusterRole", "name": metadata["name"]},
                "subjects": [{"apiGroup": rbac, **subject}],
            },
        )
        verb, subresource = rights[-1].split()
        asked = ("auth", "can-i", verb, "nodes", f"--subresource={subresource}")
        until(
            lambda: "yes" in self._user.kubectl(*asked, f"--as={subject['name']}", check=False),
            f"{name} has its rights",
        )


@pytest.fixture
def accounts(user: User) -> Iterator[Accounts]:
    yield Accounts(user)
    user.kubectl("delete", "serviceaccounts,clusterrolebindings,clusterroles", f"--selector={MARK}")


def test_every_route_has_its_rights_written_here() -> None:
    assert _RIGHTS.keys() == {route.name for route in ROUTES} - {OTHER.name}
    assert len({call.path for call in CALLS}) >= 20


class TestNobodyIsLetInUnknown:
    def test_without_credentials(self, endpoint: str) -> None:
        assert set(Caller(endpoint).codes().values()) == {401}

    def test_with_an_unknown_token(self, endpoint: str) -> None:
        assert set(Caller(endpoint, token="nonsense").codes().values()) == {401}

    def test_with_a_token_whose_time_is_over(
        self, endpoint: str, user: User, accounts: Accounts
    ) -> None:
        token = accounts.token("late", *NEEDED)
        assert Caller(endpoint, token=token).ask("GET", "/pods").status == 200
        over = expired(token, user.cluster.ca_file)
        assert set(Caller(endpoint, token=over).codes().values()) == {401}

    def test_with_the_certificate_of_a_foreign_ca(
        self, endpoint: str, accounts: Accounts, tmp_path: Path
    ) -> None:
        name = "kubelet-admin"
        accounts.grant("foreign", {"kind": "User", "name": name}, *NEEDED)
        files = Issuer.of(trustme.CA()).issue(("CN", name)).write(tmp_path)
        assert set(Caller(endpoint, certificate=files).codes().values()) == {401}
        useless = accounts.token("useless")
        caller = Caller(endpoint, certificate=files, token=useless)
        assert set(caller.codes().values()) == {403}, "it is the token that counts"


class TestNobodyIsLetInWithoutTheRight:
    def test_with_a_token(self, endpoint: str, accounts: Accounts) -> None:
        caller = Caller(endpoint, token=accounts.token("nobody"))
        assert set(caller.codes().values()) == {403}

    def test_with_a_client_certificate(
        self, endpoint: str, federation: Federation, tmp_path: Path
    ) -> None:
        certificate = client_certificate(federation.tenant, "kubelet-nobody", tmp_path)
        caller = Caller(endpoint, certificate=certificate)
        assert set(caller.codes().values()) == {403}

    @pytest.mark.parametrize("right", NEEDED)
    def test_with_one_right_only_what_it_is_for_opens(
        self, endpoint: str, accounts: Accounts, right: str
    ) -> None:
        caller = Caller(endpoint, token=accounts.token(right.replace(" ", "-"), right))
        for call, code in caller.codes().items():
            if right in call.rights:
                assert code not in REFUSED, (call, code)
            else:
                assert code == 403, (call, code)


class TestWithRights:
    def test_a_client_certificate_opens_every_route(
        self, endpoint: str, federation: Federation, accounts: Accounts, tmp_path: Path
    ) -> None:
        name = "kubelet-admin"
        accounts.grant(name, {"kind": "User", "name": name}, *NEEDED)
        certificate = client_certificate(federation.tenant, name, tmp_path)
        codes = Caller(endpoint, certificate=certificate).codes()
        assert not {call: code for call, code in codes.items() if code in REFUSED}
        named = {call.path: code for call, code in codes.items() if call.method == "GET"}
        for path in ("/healthz", "/configz", "/pods", "/runningpods/", "/metrics"):
            assert named[path] == 200
        for path in ("/metrics/resource", "/stats/summary"):
            assert named[path] == 200
        assert named["/nothing"] == 404
        assert named["/containerLogs/team-a/none/main"] == 404

    def test_metrics_tell_how_late_the_event_loop_is(
        self, endpoint: str, accounts: Accounts
    ) -> None:
        caller = Caller(endpoint, token=accounts.token("scraper", "get metrics"))
        found = re.search(
            r"^vnode_event_loop_lag_seconds_count (\S+)$", caller.text("/metrics"), re.MULTILINE
        )
        assert found is not None
        assert float(found[1]) > 0

    @pytest.mark.containers
    def test_a_token_reaches_a_real_container(
        self, user: User, gpu: str, accounts: Accounts
    ) -> None:
        user.apply(pod("open", cluster=gpu, command="echo said; sleep 3600"))
        user.wait_phase("open", "Running")
        token = accounts.token("operator", "get proxy", "create proxy")
        caller = Caller(_endpoint(user, f"vnode-{gpu}"), token=token)
        assert caller.ask("GET", "/containerLogs/team-a/open/main").status == 200
        upgrade = {"Connection": "Upgrade", "Upgrade": "SPDY/3.1"}
        streams = {
            "/exec/team-a/open/main?command=id&output=1": "v4.channel.k8s.io",
            "/attach/team-a/open/main?output=1": "v4.channel.k8s.io",
            "/portForward/team-a/open": "portforward.k8s.io",
        }
        for path, protocol in streams.items():
            headers = {**upgrade, "X-Stream-Protocol-Version": protocol}
            assert caller.ask("POST", path, **headers).status == 101, path
            assert Caller(caller.endpoint).ask("POST", path, **headers).status == 401, path


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
