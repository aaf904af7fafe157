"""A tenant whose pods run as container groups: the agent against the emulator of ECI's API.

The groups' containers really run, on this machine.
"""

from __future__ import annotations

import json
from collections import Counter
from hashlib import md5
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from tests.agents import AgentProcess, Federation
from tests.clusters import can_run_containers
from tests.e2e.kubectl.client import Kubectl
from tests.e2e.kubectl.ways import Protocol, Way
from tests.e2e.user import User, until
from tests.e2e.workloads import NAMESPACE, config_map, job, pod
from tests.eci.connecting import KEY
from tests.eci.service import EciService

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.clusters import Harness

pytestmark = [
    pytest.mark.containers,
    pytest.mark.skipif(not can_run_containers()[0], reason="containers cannot run here"),
]

BURST = "burst"
WAY = Way("kubectl", Protocol.WEBSOCKET)
PODS = 20


@pytest.fixture(scope="module")
def account() -> Iterator[EciService]:
    """The service."""
    with EciService("--process", "--pulling", "0.5") as service:
        yield service


@pytest.fixture(scope="module")
def burst(
    harness: Harness,
    federation: Federation,
    account: EciService,
    tmp_path_factory: pytest.TempPathFactory,
) -> Federation:
    """A second agent's configuration: the tenant that there is, and an account as its cluster."""
    folder = tmp_path_factory.mktemp("burst")
    (folder / "accessKeyId").write_text(KEY.id)
    (folder / "accessKeySecret").write_text(KEY.secret)
    config = yaml.safe_load(federation.config.read_text())
    config["clusters"] = [
        {
            "name": BURST,
            "kind": "eci",
            "region": "cn-beijing",
            "endpoint": account.url,
            "credentials": str(folder),
            "vSwitches": ["vsw-1"],
            "securityGroup": "sg-1",
            "tokenTTL": "1h",
            "pools": [
                {
                    "port": harness.free_port(),
                    "limits": {"cpu": "500", "memory": "2Ti", "pods": "1000"},
                }
            ],
        }
    ]
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump(config, sort_keys=False))
    return Federation(federation.tenant, {}, folder, path, (f"vnode-{BURST}",))


@pytest.fixture(scope="module")
def running(burst: Federation) -> Iterator[AgentProcess]:
    with AgentProcess(burst, identity="burst-0") as process:
        process.wait_ready()
        yield process


@pytest.fixture
def user(federation: Federation, running: AgentProcess, account: EciService) -> Iterator[User]:
    """A user of the tenant; what the test leaves in the namespace is removed below too."""
    user = User(federation.tenant)
    yield user
    running.ensure_running()
    user.kubectl("delete", "jobs", "--all", "--wait=false")
    user.kubectl("delete", "pods", "--all", "--wait=false", "--grace-period=1")
    user.kubectl(
        "delete", "configmaps", "--field-selector=metadata.name!=kube-root-ca.crt", "--wait=false"
    )
    until(lambda: not user.items("pods"), "the namespace is empty again", timeout=90)
    until(lambda: not groups(account), "nothing is left in the account", timeout=30)


def groups(account: EciService) -> list[dict[str, Any]]:
    """Those that run, or could."""
    found: list[dict[str, Any]] = account.state()["groups"]
    return [group for group in found if group["status"] != "Terminating"]


def test_a_job_runs_to_its_end_and_its_output_is_read(user: User, account: EciService) -> None:
    user.apply(
        config_map("settings", greeting="hello"),
        job(
            "sum",
            cluster=BURST,
            completions=2,
            command="echo $GREETING from $HOSTNAME; sleep 1",
            container={
                "env": [
                    {
                        "name": "GREETING",
                        "valueFrom": {"configMapKeyRef": {"name": "settings", "key": "greeting"}},
                    }
                ]
            },
        ),
    )
    user.kubectl("wait", "job/sum", "--for=condition=complete", "--timeout=60s")
    pods = user.items("pods", "job-name=sum")
    assert {pod["spec"]["nodeName"] for pod in pods} == {f"vnode-{BURST}"}
    for each in pods:
        name = each["metadata"]["name"]
        [status] = each["status"]["containerStatuses"]
        assert status["state"]["terminated"]["exitCode"] == 0
        assert user.kubectl("logs", name) == f"hello from {name}\n"
    tags = {group["tags"]["vnode.dev/uid"] for group in groups(account)}
    assert {pod["metadata"]["uid"] for pod in pods} <= tags


def test_a_pod_that_is_deleted_goes_on_both_sides(user: User, account: EciService) -> None:
    user.apply(pod("steady", cluster=BURST))
    user.wait_phase("steady", "Running")
    assert len(groups(account)) == 1
    user.kubectl("delete", "pod", "steady", "--wait=false")
    user.wait_gone("pod", "steady")
    assert groups(account) == []


def test_commands_run_in_a_pod_with_and_without_a_terminal(
    user: User, running: AgentProcess
) -> None:
    user.apply(pod("shell", cluster=BURST))
    user.wait_phase("shell", "Running")
    kubectl = Kubectl(user.cluster, WAY, user.cluster.kubectl_program)
    done = kubectl.run("exec", "shell", "--", "sh", "-c", "echo out; echo err >&2; exit 7")
    assert done.stderr == b"err\ncommand terminated with exit code 7\n"
    assert (done.returncode, done.stdout) == (7, b"out\n")
    sent = b"x" * 200_000
    command = ("exec", "-i", "shell", "--", "sh", "-c", "head -c 200000 | md5sum")
    done = kubectl.run(*command, stdin=sent)
    assert (done.returncode, done.stdout.split()[0]) == (0, md5(sent).hexdigest().encode())
    done = kubectl.run("exec", "shell", "--", "no-such-command")
    assert done.returncode not in (0, 7)
    with kubectl.at_terminal("exec", "-it", "shell", "--", "sh") as (terminal, process):
        terminal.type("stty size\n")
        terminal.read_until("24 80")
        terminal.resize(33, 101)
        terminal.type("sleep 0.5; stty size\n")
        terminal.read_until("33 101")
        terminal.type("exit 5\n")
        assert process.wait(20) == 5
    assert kubectl.run("attach", "shell").returncode == 1
    assert "/exec/?s=" not in running.log.read_text()


def test_an_agent_that_is_killed_makes_no_pod_twice_and_loses_none(
    user: User, account: EciService, running: AgentProcess
) -> None:
    before = account.state()["made"]
    user.apply(*(pod(f"w-{i}", cluster=BURST, labels={"app": "w"}) for i in range(PODS)))
    until(lambda: account.state()["made"] >= before + PODS // 3, "some were made", every=0.02)
    running.kill()
    running.start()

    def all_run() -> bool:
        pods = user.items("pods", "app=w")
        return Counter(each["status"].get("phase") for each in pods) == {"Running": PODS}

    until(all_run, "all of them run", timeout=90)
    made = Counter(group["tags"]["vnode.dev/name"] for group in groups(account))
    assert made == {f"w-{i}": 1 for i in range(PODS)}
    assert account.state()["made"] == before + PODS


def test_a_pod_that_needs_what_a_group_cannot_do_is_refused_with_the_field(user: User) -> None:
    volumes = [{"name": "host", "hostPath": {"path": "/"}}]
    user.apply(pod("reaching", cluster=BURST, volumes=volumes, restartPolicy="Never"))
    refused = user.wait_phase("reaching", "Failed")
    assert refused["status"]["reason"] == "PodRejected"
    assert "hostPath" in json.dumps(refused["status"])
    assert refused["metadata"]["namespace"] == NAMESPACE
