"""The agent's credential goes on without a restart: renewed in time, and after nobody could.

An agent of its own has the kubeconfig out of the Secret that `vnode join` made. `Kubelet` does what
the kubelet does for the agent's pod: it brings the Secret's content into the file.
"""

from __future__ import annotations

import base64
import threading
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from tests.agents import AgentProcess
from tests.agents.join import SYSTEM_NAMESPACE, join_compute, uid_of
from tests.e2e.conftest import KWOK
from tests.e2e.credentials import resigned
from tests.e2e.user import User, until
from tests.e2e.workloads import pod

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.agents import Federation
    from tests.clusters import Cluster, Harness

CLUSTER = "renewed"
NODE = f"vnode-{CLUSTER}"
SECRET = f"vnode-compute-{CLUSTER}"
TENANT = "renewing"
NAMESPACE = "team-a"
BELOW = f"{TENANT}--{NAMESPACE}"
LABELS = {"app": "renewed"}


class Kubelet(threading.Thread):
    """Mounts one key of a Secret as a file, and keeps it in step."""

    def __init__(self, tenant: Cluster, file: Path) -> None:
        super().__init__(daemon=True)
        self._tenant = tenant
        self._file = file
        self._ends = threading.Event()

    def run(self) -> None:
        while not self._ends.wait(1.0):
            self.sync()

    def sync(self) -> None:
        """Write the file if the Secret says something else."""
        text = secret_text(self._tenant)
        if text != self._file.read_text():
            new = self._file.with_suffix(".new")
            new.write_text(text)
            new.replace(self._file)

    def end(self) -> None:
        """Stop, and wait for it."""
        self._ends.set()
        self.join()


def secret_text(tenant: Cluster) -> str:
    """The kubeconfig in the Secret."""
    place = f"--namespace={SYSTEM_NAMESPACE}"
    data = tenant.kubectl("get", "secret", SECRET, place, "-o", "jsonpath={.data.kubeconfig}")
    return base64.b64decode(data).decode()


def token_of(text: str) -> str:
    return str(yaml.safe_load(text)["users"][0]["user"]["token"])


@dataclass
class Site:
    """A tenant and a compute cluster, and an agent that is not running yet."""

    tenant: Cluster
    compute: Cluster
    federation: Federation
    agent: AgentProcess
    file: Path

    def age(self, *, issued: int, ends: int) -> str:
        """Give the agent a token of that time, in seconds from now; returns it."""
        text, now = secret_text(self.tenant), int(time.time())
        token = token_of(text)
        old = resigned(token, self.compute.ca_file, issued=now + issued, ends=now + ends)
        data = base64.b64encode(text.replace(token, old).encode()).decode()
        patch = f'{{"data":{{"kubeconfig":"{data}"}}}}'
        place = f"--namespace={SYSTEM_NAMESPACE}"
        self.tenant.kubectl("patch", "secret", SECRET, place, "--patch", patch)
        self.file.write_text(text.replace(token, old))
        return old

    def join(self) -> None:
        """What an administrator does, on both sides."""
        folder, config = self.federation.directory, self.federation.config
        uid = uid_of(self.tenant)
        join_compute(self.compute, CLUSTER, uid=uid, config=config, directory=folder)
        self.tenant.kubectl("apply", f"--filename={folder / f'{CLUSTER}.secret.yaml'}")

    def is_refused(self, token: str, scratch: Path) -> bool:
        """Whether the compute cluster takes a token no more."""
        kubeconfig = self.compute.kubeconfig_for_token(token, scratch / "old")
        return "Unauthorized" in self.compute.kubectl(
            "auth", "whoami", kubeconfig=kubeconfig, check=False
        )

    def condition(self) -> Any:
        """What the virtual node says of the compute side."""
        node = User(self.tenant, "").get("node", NODE)
        conditions = node["status"]["conditions"] if node else []
        return next((c for c in conditions if c["type"] == "vnode.dev/ComputeReachable"), {})

    def runs(self, name: str) -> None:
        """A new pod gets there and runs."""
        user, wanted = User(self.tenant, NAMESPACE), pod(name, cluster=CLUSTER, labels=LABELS)
        wanted["metadata"]["namespace"] = NAMESPACE
        user.apply(wanted)
        user.wait_phase(name, "Running")


@pytest.fixture(scope="module")
def site(
    federation: Federation, harness: Harness, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Site]:
    """Joined, with a Secret in the tenant."""
    folder, compute = tmp_path_factory.mktemp("renewed"), federation.computes[KWOK[1]]
    document = yaml.safe_load(federation.config.read_text())
    pool = {"name": "default", "port": harness.free_port()}
    file = folder / f"{CLUSTER}.kubeconfig"
    cluster = {
        "name": CLUSTER,
        "kubeconfig": str(file),
        "kubeconfigSecret": SECRET,
        "pools": [pool],
    }
    document["tenant"] |= {"name": TENANT, "namespaces": [NAMESPACE]}
    document["clusters"] = [cluster]
    config = folder / "config.yaml"
    config.write_text(yaml.safe_dump(document))
    own = replace(
        federation, config=config, directory=folder, nodes=(NODE,), computes={CLUSTER: compute}
    )
    made = Site(federation.tenant, compute, own, AgentProcess(own, identity="renewed-0"), file)
    made.join()
    # After an outage, which tests before this one bring, its controllers look again only when their
    # backoff is over; until then pods are refused in a new namespace.
    below = User(compute, BELOW)
    until(lambda: below.get("serviceaccount", "default"), "pods can be made below", timeout=180)
    kubelet = Kubelet(federation.tenant, file)
    kubelet.start()
    yield made
    kubelet.end()
    user = User(federation.tenant, NAMESPACE)
    made.agent.ensure_running()
    user.kubectl("delete", "pods", "--selector=app=renewed", "--grace-period=1")
    made.agent.stop()
    federation.tenant.kubectl("delete", "node", NODE)


@pytest.fixture
def agent(site: Site) -> Iterator[AgentProcess]:
    """The agent; started by the test when its credential is as it should be."""
    yield site.agent
    site.agent.stop()


def test_a_token_is_renewed_before_it_ends_and_the_agent_goes_on(
    site: Site, agent: AgentProcess, scratch: Path
) -> None:
    # An API server takes a token for another minute: this one is refused in half of it.
    old = site.age(issued=-3600, ends=-30)
    agent.start()
    agent.wait_ready()
    pid = agent.pid
    until(lambda: token_of(secret_text(site.tenant)) != old, "the Secret has another token")
    until(lambda: token_of(site.file.read_text()) != old, "the file has it too")
    until(lambda: site.is_refused(old, scratch), "the old token is over", timeout=90, every=2)
    site.runs("renewed-one")
    assert agent.pid == pid
    assert agent.alive
    log = agent.log.read_text()
    assert "token renewed" in log
    assert old not in log
    assert token_of(site.file.read_text()) not in log
    assert site.condition()["status"] == "True"


def test_after_an_absence_longer_than_the_tokens_life_joining_again_mends_it(
    site: Site, agent: AgentProcess
) -> None:
    site.age(issued=-7200, ends=-3600)
    agent.start()
    pid = agent.pid
    said = until(
        lambda: site.condition().get("reason") == "ComputeRefusesAgent" and site.condition(),
        "the node says what is wrong",
        timeout=90,
    )
    assert "vnode join" in said["message"]
    assert BELOW not in said["message"]
    log = agent.log.read_text()
    assert f"vnode join --config FILE --cluster {CLUSTER} --tenant-uid UID --secret-file" in log
    events = until(lambda: _node_events(site), "an event says so too")
    assert "has to renew it (vnode join)" in events[0]
    site.join()
    until(lambda: site.condition().get("status") == "True", "the link holds again", timeout=90)
    site.runs("renewed-two")
    assert agent.pid == pid
    assert agent.alive


def _node_events(site: Site) -> list[str]:
    events = User(site.tenant, "default").items("events")
    return [e["message"] for e in events if e["reason"] == "ComputeRefusesAgent"]
