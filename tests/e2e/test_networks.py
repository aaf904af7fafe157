"""Where the traffic of tenant Services goes (DESIGN 6, Network).

The tenant has a real node with kube-proxy. Two compute clusters are isolated, and their pods have
the same addresses as the pods on that node; the third one is flat: tenant and compute pods reach
each other.
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network
from typing import TYPE_CHECKING, Any

import pytest

from tests.e2e.user import BELOW, User, until
from tests.e2e.workloads import deployment, own_pod, pod_spec, service

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tests.agents import Federation

pytestmark = pytest.mark.containers

ISOLATED = ("kwok-a", "kwok-b")
UNROUTABLE = IPv4Network("198.18.0.0/15")
COPIES = 30
"""In each cluster: its pods have the first addresses of the block, and so have the strangers."""
STRANGERS = 4
PORT = 8080


@pytest.fixture
def own_node(federation: Federation) -> str:
    """The tenant's own node with real containers and kube-proxy."""
    if not federation.tenant.nodes:
        pytest.skip("the tenant has no node that the harness started")
    return next(iter(federation.tenant.nodes))


def _serving(text: str) -> str:
    """A command that answers every request with that text."""
    return f"mkdir /tmp/www; echo {text} >/tmp/www/index.html; httpd -f -p {PORT} -h /tmp/www"


def _ask(user: User, address: str, *, times: int = 1) -> list[str]:
    """What a pod on the tenant's own node hears there, empty where nobody answers."""
    request = "printf 'GET /index.html HTTP/1.0\\r\\n\\r\\n'"
    once = f"{request} | nc -w 1 {address} {PORT} 2>/dev/null | tail -n 1"
    script = f'for i in $(seq {times}); do echo "<$({once})>"; done'
    heard = user.kubectl("exec", "client", "--", "sh", "-c", script)
    return [line[1:-1] for line in heard.splitlines()]


def _endpoints(user: User, name: str) -> list[str]:
    slices = user.items("endpointslices", f"kubernetes.io/service-name={name}")
    return [address for s in slices for e in s["endpoints"] or [] for address in e["addresses"]]


def _addresses(pods: Iterable[Any]) -> set[str]:
    return {p["status"]["podIP"] for p in pods if p["status"].get("podIP")}


def _ready(user: User, *names: str) -> None:
    for name in names:
        user.kubectl("rollout", "status", f"deployment/{name}", "--timeout=60s")


def test_a_service_never_leads_from_isolated_pods_to_strangers(
    user: User, federation: Federation, own_node: str
) -> None:
    strangers = own_pod("stranger", node=own_node, command=_serving("stranger"))["spec"]
    user.apply(
        own_pod("client", node=own_node),
        deployment("stranger", replicas=STRANGERS, spec={**strangers, "restartPolicy": "Always"}),
        service("known", selector={"app": "stranger"}, port=PORT),
        service("isolated", selector={"network": "isolated"}, port=PORT),
        *(
            deployment(
                name, replicas=COPIES, spec=pod_spec(cluster=name), labels={"network": "isolated"}
            )
            for name in ISOLATED
        ),
    )
    user.wait_phase("client", "Running")
    _ready(user, "stranger", *ISOLATED)
    by_strangers = _addresses(user.items("pods", "app=stranger"))
    for name in ISOLATED:
        native = _addresses(User(federation.computes[name], BELOW).items("pods", f"app={name}"))
        assert native & by_strangers, "a copy and a stranger have the same address"
    first = user.get("service", "known")["spec"]["clusterIP"]
    until(lambda: _ask(user, first) == ["stranger"], "Services lead somewhere at all")

    until(
        lambda: len(_endpoints(user, "isolated")) == COPIES * len(ISOLATED),
        "all pods are behind the Service",
    )
    shown = _endpoints(user, "isolated")
    assert len(set(shown)) == len(shown), "every pod has an address of its own"
    assert all(IPv4Address(address) in UNROUTABLE for address in shown)
    second = user.get("service", "isolated")["spec"]["clusterIP"]
    assert set(_ask(user, second, times=5)) == {""}


def test_a_service_leads_to_pods_of_a_flat_network(
    user: User, federation: Federation, own_node: str, gpu: str
) -> None:
    serving = pod_spec(cluster=gpu, command=_serving("ours"))
    user.apply(
        own_pod("client", node=own_node),
        deployment("flat", replicas=1, spec=serving),
        service("flat", selector={"app": "flat"}, port=PORT),
    )
    user.wait_phase("client", "Running")
    _ready(user, "flat")
    address = user.get("service", "flat")["spec"]["clusterIP"]
    until(lambda: _ask(user, address) == ["ours"], "the pod answers its Service")
    native = _addresses(User(federation.computes[gpu], BELOW).items("pods", "app=flat"))
    assert set(_endpoints(user, "flat")) == native
