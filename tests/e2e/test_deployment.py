"""The agent as its users run it: the image and the Deployment of deploy/tenant on a tenant's node.

Two replicas, on a read-only root, as nobody, with a ServiceAccount and Secrets alone. All clusters
have real containers.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import threading
import time
import urllib.request
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import yaml
from rich.console import Console

from demo.story import Story
from tests.agents.deployment import Deployed, deploy
from tests.clusters import ClusterSpec, CommandError, Harness, can_run_containers
from tests.e2e import twins
from tests.e2e.user import BELOW, User, until
from tests.e2e.workloads import pod
from tests.reliability.evidence import AuditMark, uids

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.clusters import Cluster

pytestmark = [pytest.mark.apart, pytest.mark.containers]

CLUSTERS = ("gpu-a", "gpu-b")
NAMESPACE = "team-a"
USER = "65532"
LINE = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\S* \[(info|warning) *\] ")
BACK = 12.0
"""Most seconds without logs and exec: 2 on an idle machine, and less than a Lease that nobody gave
back lives (15)."""


@pytest.fixture(scope="module")
def deployed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployed]:
    possible, why = can_run_containers()
    if not possible:
        pytest.skip(f"no real containers: {why}")
    own = ClusterSpec("tenant", real_nodes=1, gpus_per_real_node=0, cluster_ips=True, agent=True)
    computes = [ClusterSpec(name, real_nodes=1) for name in CLUSTERS]
    with Harness(progress=lambda _: None) as mine:
        clusters = twins.up(mine, [own, *computes])
        tenant = clusters.pop("tenant")
        began = time.monotonic()
        directory = tmp_path_factory.mktemp("deployment")
        made = deploy(mine, tenant, clusters, directory=directory)
        made.wait_ready(timeout=90)
        print(f"two replicas are ready {time.monotonic() - began:.1f} s after kubectl apply")
        with twins.beside(mine, made.federation, directory):
            yield made


@pytest.fixture
def user(deployed: Deployed) -> User:
    return User(deployed.federation.tenant)


def _in_agent(deployed: Deployed, name: str, command: str) -> str:
    return deployed.kubectl("exec", name, "--", "sh", "-c", command, check=False)


def test_a_replica_is_nobody_can_write_nothing_and_has_no_capabilities(deployed: Deployed) -> None:
    for replica in deployed.replicas():
        name = replica["metadata"]["name"]
        assert _in_agent(deployed, name, "id -u; id -g").split() == [USER, USER]
        assert "Read-only file system" in _in_agent(deployed, name, "touch /opt/vnode/x")
        status = _in_agent(deployed, name, "cat /proc/1/status")
        shown = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
        assert int(shown["CapBnd"], 16) == 0
        assert shown["NoNewPrivs"] == "1"
        assert shown["Seccomp"] == "2"
        assert "No module named" in _in_agent(deployed, name, "python3 -m pip")
        assert _in_agent(deployed, name, "/opt/vnode/bin/python -c 'import pytest'").count("Error")


def test_the_demos_story_is_told(deployed: Deployed, tmp_path: Path) -> None:
    with (tmp_path / "story.txt").open("w") as out:
        Story(Console(file=out), deployed.federation.tenant, containers=True).tell()


@pytest.fixture
def running(user: User) -> Iterator[User]:
    """A pod of each compute cluster runs, one of them with a container that serves something."""
    say = "echo hello; mkdir /tmp/www; echo served >/tmp/www/x; httpd -f -p 8080 -h /tmp/www"
    user.apply(pod("web", cluster=CLUSTERS[0], command=say), pod("far", cluster=CLUSTERS[1]))
    user.wait_phase("web", "Running")
    user.wait_phase("far", "Running")
    yield user
    user.remove("pods", "web", "far")


def test_logs_exec_cp_and_port_forward_work(running: User, tmp_path: Path) -> None:
    assert running.kubectl("logs", "web") == "hello\n"
    assert running.kubectl("exec", "web", "--", "echo", "hi") == "hi\n"
    (tmp_path / "there").write_text("and back")
    running.kubectl("cp", str(tmp_path / "there"), "web:/tmp/file")
    running.kubectl("cp", "web:/tmp/file", str(tmp_path / "again"))
    assert (tmp_path / "again").read_text() == "and back"
    forward = running.command("port-forward", "pod/web", ":8080")
    with subprocess.Popen(forward, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        port = process.stdout.readline().split(":")[1].split()[0]
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/x", timeout=20) as answer:
            assert answer.read() == b"served\n"
        process.kill()


def test_check_finds_nothing_wrong_from_inside_a_replica(deployed: Deployed) -> None:
    shown = deployed.kubectl("exec", "deploy/vnode", "--", "vnode", "check", "--output=json")
    checks = json.loads(shown)["checks"]
    assert {each["where"] for each in checks} >= {"tenant", *CLUSTERS, f"vnode-{CLUSTERS[0]}"}
    (account,) = (
        each for each in checks if (each["where"], each["check"]) == ("tenant", "credential")
    )
    assert account["text"].startswith("system:serviceaccount:vnode-system:vnode;")


def test_check_reads_a_log_through_the_api_server(
    deployed: Deployed, running: User, tmp_path: Path
) -> None:
    made = deployed.federation
    config = yaml.safe_load(made.config.read_text())
    agent = tmp_path / "tenant.kubeconfig"
    made.tenant.service_account_kubeconfig("vnode-system", "vnode", agent)
    config["tenant"]["kubeconfig"] = str(agent)
    for cluster in config["clusters"]:
        cluster["kubeconfig"] = str(made.directory / f"{cluster['name']}.kubeconfig")
    file = tmp_path / "config.yaml"
    file.write_text(yaml.safe_dump(config))
    vnode = Path(sys.executable).with_name("vnode")
    options = [f"--config={file}", f"--kubeconfig={made.tenant.kubeconfig}"]
    done = subprocess.run(
        [vnode, "check", *options], capture_output=True, text=True, timeout=90, check=False
    )
    assert done.returncode == 0, done.stdout
    assert f"logs of pod {NAMESPACE}/web come" in done.stdout
    assert f"logs of pod {NAMESPACE}/far come" in done.stdout


@dataclass(frozen=True)
class Copies:
    """All pods of the users, above and below, and what was done to them since."""

    tenant: Cluster
    below: dict[str, Cluster]
    before: dict[str, dict[str, str]]
    marks: list[AuditMark]

    @classmethod
    def of(cls, deployed: Deployed) -> Copies:
        tenant, below = deployed.federation.tenant, dict(deployed.federation.computes)
        marks = [AuditMark(cluster) for cluster in (tenant, *below.values())]
        return cls(tenant, below, _uids(tenant, below), marks)

    def see_that_all_stayed(self) -> None:
        assert _uids(self.tenant, self.below) == self.before
        written = [mark.of_pods({NAMESPACE, BELOW}) for mark in self.marks]
        assert not any(written), written


def _uids(tenant: Cluster, below: dict[str, Cluster]) -> dict[str, dict[str, str]]:
    found = {name: uids(User(cluster, BELOW).items("pods")) for name, cluster in below.items()}
    return {"tenant": uids(User(tenant).items("pods")), **found}


class Absence:
    """How long a command of a user that is tried again and again was of no use at most."""

    def __init__(self, user: User, *command: str) -> None:
        self._user = user
        self._command = command
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._try)
        self.longest = 0.0

    def __enter__(self) -> Absence:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Ends after a last success."""
        self._over.set()
        self._thread.join()

    def _try(self) -> None:
        worked_at = time.monotonic()
        while True:
            over = self._over.is_set()
            try:
                self._user.kubectl(*self._command, timeout=5)
            except CommandError:
                assert time.monotonic() < worked_at + 5 * BACK, "it never came back"
                continue
            self.longest = max(self.longest, time.monotonic() - worked_at)
            worked_at = time.monotonic()
            if over:
                return


@contextmanager
def _nothing_is_lost(deployed: Deployed, user: User, what: str) -> Iterator[None]:
    """While something is done to the agent's replicas."""
    copies = Copies.of(deployed)
    logs, commands = ("logs", "web"), ("exec", "web", "--", "true")
    with Absence(user, *logs) as silent, Absence(user, *commands) as deaf:
        yield
    print(f"{what}: no logs for {silent.longest:.1f} s, no exec for {deaf.longest:.1f} s at most")
    assert max(silent.longest, deaf.longest) < BACK
    deployed.wait_ready()
    copies.see_that_all_stayed()


def test_another_replica_goes_on_where_the_leaders_pod_was_deleted(
    deployed: Deployed, running: User
) -> None:
    leader = deployed.leader(CLUSTERS[0])
    before = running.get("node", f"vnode-{CLUSTERS[0]}")["status"]["addresses"]
    with _nothing_is_lost(deployed, running, "leader deleted"):
        deployed.kubectl("delete", "pod", leader)
        until(lambda: deployed.leader(CLUSTERS[0]) not in ("", leader), "another replica leads")
        until(
            lambda: running.get("node", f"vnode-{CLUSTERS[0]}")["status"]["addresses"] != before,
            "the virtual node has the new replica's address",
        )


def test_a_rolling_restart_leaves_all_pods_as_they_are(deployed: Deployed, running: User) -> None:
    before = uids(deployed.replicas())
    with _nothing_is_lost(deployed, running, "rolling restart"):
        deployed.kubectl("rollout", "restart", "deployment/vnode")
        deployed.kubectl("rollout", "status", "deployment/vnode", "--timeout=90s", timeout=100)
        until(lambda: len(deployed.replicas()) == 2, "the old replicas are gone")
    assert not before.keys() & uids(deployed.replicas()).keys()


def test_its_pods_never_restarted_and_their_logs_are_plain_lines(deployed: Deployed) -> None:
    for replica in deployed.replicas():
        (container,) = replica["status"]["containerStatuses"]
        assert container["restartCount"] == 0
        lines = deployed.kubectl("logs", replica["metadata"]["name"]).splitlines()
        assert any("starting" in line for line in lines)
        odd = [line for line in lines if not LINE.match(line)]
        assert odd == []
