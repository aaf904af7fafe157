"""exec and attach on a virtual node whose backend has sessions, through a real API server."""

from __future__ import annotations

import os
import subprocess
from typing import TYPE_CHECKING

import pytest

from tests.agents.memory_node import MemoryNode
from tests.clusters import Cluster, ClusterSpec, Harness
from tests.clusters.existing import requested
from tests.e2e.user import User, until

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.apart

NODE = "vnode-memory"
OLD_NODE = "vnode-memory-old"


@pytest.fixture(scope="module")
def harness(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Harness]:
    """Beside the one of the other tests."""
    if requested():
        pytest.skip("sessions are tried on a control plane started here only: clusters given")
    with Harness(state=tmp_path_factory.mktemp("sessions") / "state") as made:
        yield made


@pytest.fixture(scope="module")
def cluster(harness: Harness) -> Cluster:
    (made,) = harness.up([ClusterSpec("sessions")]).values()
    return made


@pytest.fixture(scope="module")
def node(
    harness: Harness, cluster: Cluster, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[MemoryNode]:
    log = tmp_path_factory.mktemp("memory") / "log"
    with MemoryNode(
        cluster, NODE, address=harness.listen_address, port=harness.free_port(), log=log
    ) as made:
        yield made


@pytest.fixture(scope="module")
def old_node(
    harness: Harness, cluster: Cluster, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[MemoryNode]:
    log = tmp_path_factory.mktemp("old") / "log"
    address, port = harness.listen_address, harness.free_port()
    with MemoryNode(
        cluster, OLD_NODE, address=address, port=port, log=log, websockets=False
    ) as made:
        yield made


@pytest.fixture(scope="module")
def user(cluster: Cluster, node: MemoryNode, old_node: MemoryNode) -> Iterator[User]:
    """With pods `web` and `left` on a node that declares WebSocket, `old` on one that does not."""
    user = User(cluster, "default")
    until(lambda: len(user.items("nodes")) == 2, "the nodes are there")
    user.apply(pod("web", NODE), pod("left", NODE), pod("old", OLD_NODE))
    for name in ("web", "left", "old"):
        user.wait_phase(name, "Running")
    yield user
    user.remove("pods", "--all")


def pod(name: str, node: str) -> object:
    container = {"name": "main", "image": "none"}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name},
        "spec": {
            "nodeName": node,
            "automountServiceAccountToken": False,
            "tolerations": [{"operator": "Exists"}],
            "terminationGracePeriodSeconds": 1,
            "containers": [container],
        },
    }


def run(
    user: User, *args: str, stdin: bytes | None = None, spdy: bool = False
) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        user.command(*args),
        input=stdin,
        stdin=subprocess.DEVNULL if stdin is None else None,
        capture_output=True,
        timeout=60,
        check=False,
        env={**os.environ, "KUBECTL_REMOTE_COMMAND_WEBSOCKETS": "false" if spdy else "true"},
    )


class TestThroughWebSocket:
    """kubectl -> API server of 1.36 -> our kubelet API, unchanged."""

    def test_the_node_declares_what_it_can(self, user: User) -> None:
        declared = user.get("node", NODE)["status"]["declaredFeatures"]
        assert declared == ["ExtendWebSocketsToKubelet"]
        assert "declaredFeatures" not in user.get("node", OLD_NODE)["status"]

    def test_output_errors_and_exit_code_arrive(self, user: User) -> None:
        done = run(user, "exec", "web", "--", "say", "out", "err", "3")
        assert done.returncode == 3
        assert done.stdout == b"out"
        assert done.stderr == b"errcommand terminated with exit code 3\n"
        assert run(user, "exec", "web", "--", "say", "fine", "", "0").returncode == 0

    def test_input_and_its_end_reach_the_process(self, user: User) -> None:
        sent = bytes(range(256)) * 12_000
        done = run(user, "exec", "-i", "web", "--", "cat", stdin=sent)
        assert (done.returncode, done.stdout == sent) == (0, True)

    def test_much_output_arrives_whole(self, user: User) -> None:
        done = run(user, "exec", "web", "--", "flood", "32")
        assert (done.returncode, len(done.stdout)) == (0, 32 << 20)

    def test_attach_finds_the_main_process(self, user: User) -> None:
        done = run(user, "attach", "-q", "-i", "web", stdin=b"hello")
        assert (done.returncode, done.stdout) == (0, b"hello")

    def test_a_command_that_cannot_start_says_why(self, user: User) -> None:
        done = run(user, "exec", "web", "--", "none")
        assert done.returncode == 1
        assert b'executable "none" not found' in done.stderr

    def test_a_user_who_leaves_ends_the_process(self, user: User, node: MemoryNode) -> None:
        def served() -> list[str]:
            lines = node.log.read_text().splitlines()
            return [line for line in lines if "Served a stream" in line and "left" in line]

        command = user.command("exec", "-i", "left", "--", "cat")
        pipe = subprocess.PIPE
        with subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe) as cat:
            assert cat.stdin is not None
            assert cat.stdout is not None
            cat.stdin.write(b"hello\n")
            cat.stdin.flush()
            assert cat.stdout.readline() == b"hello\n"
            assert not served()
            cat.kill()
        until(served, "the session has ended", timeout=10)

    def test_port_forward_is_refused_in_plain_words(self, user: User) -> None:
        done = run(user, "port-forward", "web", ":80")
        assert done.returncode == 1
        assert b"portforward is not supported on this node" in done.stderr


class TestOverSpdy:
    """What clients and API servers without WebSocket to the kubelet are told."""

    def test_an_old_client_is_told_the_version(self, user: User) -> None:
        done = run(user, "exec", "web", "--", "say", "out", "", "0", spdy=True)
        assert done.returncode == 1
        assert b"Kubernetes 1.36 or later" in done.stderr

    def test_a_node_that_declares_nothing_is_asked_over_spdy(self, user: User) -> None:
        done = run(user, "exec", "old", "--", "say", "out", "", "0")
        assert done.returncode == 1
        assert b"Kubernetes 1.36 or later" in done.stderr
