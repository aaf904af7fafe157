"""A tenant whose API server verifies kubelets: virtual nodes ask for certificates, admins approve.

A tenant and a compute cluster with a real node of their own. Certificates live for little more than
a minute here, so that they are renewed, and run out, while a test looks.
"""

from __future__ import annotations

import json
import os
import ssl
import subprocess
from typing import TYPE_CHECKING

import pytest
from cryptography import x509

from tests.agents import AgentProcess, Federation, join
from tests.clusters import ClusterSpec, Harness, can_run_containers
from tests.clusters.existing import requested
from tests.e2e import twins
from tests.e2e.user import User, until
from tests.e2e.workloads import pod

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

pytestmark = [pytest.mark.apart, pytest.mark.containers]

GPU = "gpu"
NODE = f"vnode-{GPU}"
LIFE = 75
AGENT = "system:serviceaccount:vnode-system:vnode"
NOTICED = 30.0
"""Seconds; a request is looked at every 10 s."""


@pytest.fixture(scope="module")
def federation(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Federation]:
    """A tenant that verifies, joined to one cluster with real containers."""
    possible, why = can_run_containers()
    if requested() or not possible:
        pytest.skip(f"tried on real nodes started here only: {why or 'clusters given'}")
    with Harness(state=tmp_path_factory.mktemp("verifying") / "state") as harness:
        signing = f"--cluster-signing-duration={LIFE}s"
        strict = ClusterSpec("tenant", verifies_kubelets=True, controller_manager_args=(signing,))
        clusters = twins.up(harness, [strict, ClusterSpec(GPU, real_nodes=1)])
        tenant = clusters.pop("tenant")
        directory = tmp_path_factory.mktemp("agent-verifying")
        made = join(harness, tenant, clusters, directory=directory)
        with twins.beside(harness, made, directory):
            yield made


@pytest.fixture(scope="module")
def agent(federation: Federation) -> Iterator[AgentProcess]:
    """The agent, with its virtual node Ready."""
    with AgentProcess(federation) as process:
        process.wait_ready()
        yield process


@pytest.fixture(scope="module")
def user(federation: Federation, agent: AgentProcess) -> User:
    """An administrator of the tenant, with a pod that runs on the virtual node."""
    user = User(federation.tenant)
    until(lambda: user.get("serviceaccount", "default"), "the namespace is usable")
    user.apply(pod("talker", cluster=GPU, command="echo hello; sleep 3600"))
    user.wait_phase("talker", "Running", timeout=90)
    return user


def _waiting(user: User) -> list[str]:
    """Names of the requests that nobody decided about, oldest first."""
    found = sorted(user.items("csr"), key=lambda r: str(r["metadata"]["creationTimestamp"]))
    return [r["metadata"]["name"] for r in found if not r["status"].get("conditions")]


def _newest(user: User, agent: AgentProcess) -> str:
    """The request whose approval the agent's log asks for last, once it is made."""
    lines = agent.log.read_text().splitlines()
    asked = [line.split("kubectl certificate approve ")[1] for line in lines if "approve " in line]
    name = asked[-1].split("'")[0].split()[0] if asked else ""
    return name if name in _waiting(user) else ""


def _approve(user: User, agent: AgentProcess) -> str:
    """Approve what the agent asks for now; returns the request's name."""
    name: str = until(lambda: _newest(user, agent), "a certificate is asked for", timeout=LIFE)
    user.kubectl("certificate", "approve", name)
    return name


def _shown(user: User) -> x509.Certificate:
    """The certificate that the virtual node shows now."""
    status = user.get("node", NODE)["status"]
    address = next(a["address"] for a in status["addresses"] if a["type"] == "InternalIP")
    port = status["daemonEndpoints"]["kubeletEndpoint"]["Port"]
    return x509.load_pem_x509_certificate(ssl.get_server_certificate((address, port)).encode())


def _is_issued(user: User) -> bool:
    shown = _shown(user)
    return shown.issuer != shown.subject


def _issued(user: User, agent: AgentProcess) -> datetime:
    """See that an approved certificate is shown; returns when it ends."""
    if not _is_issued(user):
        _approve(user, agent)
        until(lambda: _is_issued(user), "it is shown", timeout=NOTICED)
    return _shown(user).not_valid_after_utc


def test_before_approval_the_api_server_says_what_is_wrong_and_afterwards_all_works(
    user: User, agent: AgentProcess
) -> None:
    pid = agent.pid
    for command in (("logs", "talker"), ("exec", "talker", "--", "echo", "hi")):
        said = user.kubectl(*command, check=False)
        assert "tls: failed to verify certificate" in said, said
        assert "signed by unknown authority" in said, said

    (name,) = _waiting(user)
    request = user.get("csr", name)
    assert request["spec"]["signerName"] == "kubernetes.io/kubelet-serving"
    assert request["spec"]["username"] == AGENT
    assert "forbidden" in user.kubectl("certificate", "approve", name, f"--as={AGENT}", check=False)
    assert _approve(user, agent) == name

    until(lambda: _is_issued(user), "the certificate is shown", timeout=NOTICED)
    assert user.kubectl("logs", "talker") == "hello\n"
    assert user.kubectl("exec", "talker", "--", "echo", "hi") == "hi\n"
    listed = json.loads(user.kubectl("get", "--raw", f"/api/v1/nodes/{NODE}/proxy/pods"))
    assert [p["metadata"]["name"] for p in listed["items"]] == ["talker"]
    assert agent.pid == pid
    assert agent.log.read_text().count(f"kubectl certificate approve {name}") == 1


def test_the_agent_can_neither_approve_nor_sign_nor_remove_requests(
    user: User, agent: AgentProcess
) -> None:
    def may(verb: str, what: str) -> bool:
        said = user.kubectl("auth", "can-i", verb, what, f"--as={AGENT}", "-A", check=False)
        return said.splitlines()[-1].startswith("yes")

    signers = "signers.certificates.k8s.io/kubernetes.io/kubelet-serving"
    requests = "certificatesigningrequests.certificates.k8s.io"
    assert may("create", requests)
    assert not any(may(verb, signers) for verb in ("approve", "sign", "attest"))
    assert not any(may(verb, requests) for verb in ("update", "patch", "delete"))


def test_a_certificate_is_renewed_while_a_session_is_open_and_the_session_stays(
    user: User, agent: AgentProcess
) -> None:
    first_end = _issued(user, agent)
    command = user.command("exec", "-i", "talker", "--", "cat")
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as session:
        try:
            assert _echo(session, "before") == "before"
            _approve(user, agent)
            until(
                lambda: _is_issued(user) and _shown(user).not_valid_after_utc > first_end,
                "another certificate is shown",
                timeout=NOTICED,
            )
            assert _echo(session, "after") == "after"
        finally:
            session.kill()
    assert user.kubectl("exec", "talker", "--", "echo", "hi") == "hi\n"


def _echo(session: subprocess.Popen[bytes], text: str) -> str:
    assert session.stdin is not None
    assert session.stdout is not None
    session.stdin.write(f"{text}\n".encode())
    session.stdin.flush()
    return os.read(session.stdout.fileno(), 100).decode().strip()


def test_while_a_renewal_is_denied_the_certificate_runs_out_and_another_is_asked_for(
    user: User, agent: AgentProcess
) -> None:
    _issued(user, agent)
    denied = until(lambda: _newest(user, agent), "the next one is asked for", timeout=LIFE)
    user.kubectl("certificate", "deny", denied)
    until(lambda: not _is_issued(user), "it ran out", timeout=LIFE + NOTICED)
    assert "Denied" in agent.log.read_text()
    until(lambda: _newest(user, agent), "another is asked for", timeout=110)
    _issued(user, agent)
    assert user.kubectl("logs", "talker") == "hello\n"


def test_after_a_restart_one_more_request_is_made_and_the_lost_one_stays(
    user: User, agent: AgentProcess
) -> None:
    until(lambda: _newest(user, agent), "a certificate is asked for", timeout=LIFE)
    before = _waiting(user)
    agent.kill()
    agent.start()
    until(lambda: _newest(user, agent) not in {"", *before}, "another is asked for")
    assert len(_waiting(user)) == len(before) + 1
    _approve(user, agent)
    until(lambda: _is_issued(user), "it is shown", timeout=NOTICED)
    assert user.kubectl("logs", "talker") == "hello\n"
