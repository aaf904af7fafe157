"""Two replicas behind one stable address: whichever a connection comes to, it is served."""

from __future__ import annotations

import ssl
import subprocess
import time
import urllib.request
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest
import yaml
from cryptography import x509

from tests.agents import AgentProcess, join
from tests.agents.balancer import Balancer
from tests.agents.replica import replica
from tests.clusters import ClusterSpec, Harness, NodePool, can_run_containers
from tests.e2e import twins
from tests.e2e.user import User, until
from tests.e2e.workloads import pod

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.agents import Federation

pytestmark = pytest.mark.apart

NODE, STABLE, SECOND = "vnode-gpu", "127.0.0.3", "127.0.0.2"
TIMES = 6
"""Half of the connections come to the replica that does not serve the node."""


@dataclass(frozen=True)
class Behind:
    """The two replicas, and what stands before them."""

    federation: Federation
    agents: dict[str, AgentProcess]
    """By address."""
    port: int
    balancer: Balancer

    @property
    def user(self) -> User:
        return User(self.federation.tenant)

    @property
    def holder(self) -> str:
        """Address of the replica that serves the node, by its own word."""
        path = "jsonpath={.spec.holderIdentity}"
        lease = ("get", "lease", "vnode-gpu", "--ignore-not-found", "-o", path)
        identity = self.federation.tenant.kubectl("--namespace=vnode-system", *lease)
        return next((a for a, agent in self.agents.items() if agent.identity == identity), "")

    def certificates(self) -> dict[str, str]:
        """What each replica shows on the node's port; only who has the key can."""
        return {a: ssl.get_server_certificate((a, self.port)) for a in self.agents}

    def wait_same(self) -> str:
        """The certificate of the holder, when both replicas show it."""

        def same() -> str | None:
            try:
                first, second = self.certificates().values()
            except OSError:
                return None
            return first if first == second else None

        found: str = until(same, "both replicas answer for the node", timeout=60)
        return found


@pytest.fixture(scope="module")
def behind(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Behind]:
    real = can_run_containers()[0]
    compute = ClusterSpec("gpu", real_nodes=1) if real else ClusterSpec("gpu", kwok=NodePool(1))
    with Harness(progress=lambda _: None) as mine:
        clusters = twins.up(mine, [ClusterSpec("tenant"), compute])
        tenant = clusters.pop("tenant")
        directory = tmp_path_factory.mktemp("stable")
        settings = {"kubelet": {"advertise": STABLE, "passedPort": mine.free_port()}}
        joined = join(mine, tenant, clusters, directory=directory, settings=settings)
        second = replica(joined, "agent-1", SECOND, advertise=STABLE)
        config = yaml.safe_load(joined.config.read_text())
        first_address = str(config["kubelet"]["listen"])
        port = int(config["clusters"][0]["pools"][0]["port"])
        views = {first_address: joined, SECOND: second}
        with ExitStack() as stack:
            stack.enter_context(twins.beside(mine, joined, directory))
            balancer = stack.enter_context(Balancer(STABLE, port, list(views)))
            agents = {
                address: stack.enter_context(AgentProcess(view, identity=f"agent-{number}"))
                for number, (address, view) in enumerate(views.items())
            }
            agents[first_address].wait_ready(timeout=60)
            yield Behind(joined, agents, port, balancer)


def _asked_again_and_again(behind: Behind) -> None:
    """Over connections that come to both in turn."""
    if not behind.federation.computes["gpu"].nodes:
        return  # Nothing real to ask: the certificates have to do.
    user = behind.user
    taken = dict(behind.balancer.taken)
    for number in range(TIMES):
        behind.balancer.cut()  # The API server keeps connections.
        assert user.kubectl("logs", "web") == "hello\n"
        behind.balancer.cut()
        assert user.kubectl("exec", "web", "--", "echo", str(number)) == f"{number}\n"
    grown = {target: n - taken[target] for target, n in behind.balancer.taken.items()}
    assert all(n >= TIMES // 2 for n in grown.values()), grown


def _forwarded(behind: Behind) -> bytes:
    """What a web server in the pod says through port-forward."""
    behind.balancer.cut()
    command = behind.user.command("port-forward", "pod/web", ":8080")
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as forward:
        try:
            assert forward.stdout is not None
            port = forward.stdout.readline().decode().split(":")[1].split()[0]
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/index.html", timeout=20) as page:
                body: bytes = page.read()
                return body
        finally:
            forward.kill()


def test_any_replica_answers_for_a_node_before_and_after_a_takeover(behind: Behind) -> None:
    user = behind.user
    web = "echo hello; cd /tmp; echo page > index.html; httpd -f -p 8080"
    user.apply(pod("web", cluster="gpu", command=web))
    user.wait_phase("web", "Running", timeout=90)
    before = behind.wait_same()
    names = x509.load_pem_x509_certificate(before.encode()).extensions.get_extension_for_class(
        x509.SubjectAlternativeName
    )
    assert [str(a) for a in names.value.get_values_for_type(x509.IPAddress)] == [STABLE]
    assert NODE in names.value.get_values_for_type(x509.DNSName)
    _asked_again_and_again(behind)
    _both_forward(behind)

    killed = behind.holder
    staying = next(address for address in behind.agents if address != killed)
    behind.agents[killed].kill()
    began = time.monotonic()
    until(lambda: behind.holder == staying, "the other replica has the Lease", timeout=60)
    behind.agents[killed].start()
    after = behind.wait_same()
    print(f"both answer again {time.monotonic() - began:.1f} s after a kill")
    assert after != before, "each replica has a key of its own"
    assert behind.holder == staying
    _asked_again_and_again(behind)
    _both_forward(behind)


def _both_forward(behind: Behind) -> None:
    if behind.federation.computes["gpu"].nodes:
        assert {_forwarded(behind) for _ in behind.agents} == {b"page\n"}
