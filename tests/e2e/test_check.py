"""`vnode check` on a set-up that works, and on twelve that are broken in one way each.

Each breakage is named where it is, with what mends it; where that is a command, it is run here as
it stands, and the check is content again. The agent has the rights that it is given elsewhere.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
import yaml

from tests.agents import AgentProcess, Federation, join
from tests.agents.join import vnode_join
from tests.clusters import ClusterSpec, Harness, NodePool
from tests.clusters.existing import requested
from tests.e2e import twins
from tests.e2e.api_pretender import pretender
from tests.e2e.credentials import expired
from tests.e2e.user import BELOW, User, until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.clusters import Cluster

pytestmark = pytest.mark.apart

POOL = "pool"
NODE = f"vnode-{POOL}"
ROOT = Path(__file__).resolve().parents[2]
TOLERATIONS = "vnode-tolerations"


class Finding(NamedTuple):
    """One line of the check."""

    where: str
    check: str
    result: str
    text: str
    mend: str


class Checked(NamedTuple):
    """What one run of the check said."""

    code: int
    findings: list[Finding]

    @property
    def wrong(self) -> list[Finding]:
        return [each for each in self.findings if each.result == "WRONG"]

    def only(self, where: str, check: str) -> Finding:
        """The one thing that is wrong, which is of this check."""
        assert self.code == 1, self.wrong
        assert {(each.where, each.check) for each in self.wrong} == {(where, check)}, self.wrong
        return self.wrong[0]


class Site:
    """A joined tenant with its agent, the check, and the mends."""

    def __init__(self, federation: Federation, agent: AgentProcess, scratch: Path) -> None:
        self.federation = federation
        self.agent = agent
        self.scratch = scratch
        self.tenant = federation.tenant
        self.pool = federation.computes[POOL]

    def check(self, config: Path | None = None) -> Checked:
        """Run it as people do, with administrators' kubeconfigs."""
        command = [
            str(Path(sys.executable).with_name("vnode")),
            "check",
            f"--config={config or self.federation.config}",
            f"--kubeconfig={self.tenant.kubeconfig}",
            f"--compute-kubeconfig={POOL}={self.pool.kubeconfig}",
            "--output=json",
        ]
        done = subprocess.run(command, capture_output=True, text=True, timeout=90, check=False)
        assert done.stdout, done.stderr
        assert "Traceback" not in done.stderr
        checks = json.loads(done.stdout)["checks"]
        findings = [Finding(*(each[key] for key in _KEYS)) for each in checks]
        return Checked(done.returncode, findings)

    def mend(self, finding: Finding, cluster: Cluster, *, folder: Path = ROOT) -> None:
        """Run the command of a finding as an administrator of a cluster."""
        if finding.mend.startswith("vnode join "):
            vnode_join(cluster, *finding.mend.split()[2:])
            return
        command = finding.mend[finding.mend.index("kubectl ") :]
        path = f"{cluster.kubectl_program.parent}{os.pathsep}{os.environ['PATH']}"
        environment = {**os.environ, "PATH": path, "KUBECONFIG": str(cluster.kubeconfig)}
        done = subprocess.run(
            ["sh", "-c", command], cwd=folder, env=environment, capture_output=True, text=True,
            timeout=60, check=False,
        )  # fmt: skip
        assert done.returncode == 0, (command, done.stderr)

    def whole(self, config: Path | None = None) -> None:
        """See that nothing is wrong (any more); what was mended may take some seconds to act."""
        last: list[Finding] = []

        def green() -> bool:
            checked = self.check(config)
            last[:] = checked.wrong
            return checked.code == 0

        try:
            until(green, "nothing is wrong", timeout=30, every=0.5)
        except AssertionError:
            raise AssertionError(last) from None

    def changed(self, name: str, change: Callable[[dict[str, Any]], None]) -> Path:
        """Another configuration, and kubeconfigs of its own."""
        folder = self.scratch / name
        shutil.copytree(self.federation.directory, folder, ignore=shutil.ignore_patterns("*.log"))
        path = folder / "config.yaml"
        text = path.read_text().replace(str(self.federation.directory), str(folder))
        document = yaml.safe_load(text)
        change(document)
        path.write_text(yaml.safe_dump(document))
        return path


_KEYS = ("where", "check", "result", "text", "mend")


def _address() -> str:
    """An address of this machine to which API servers may proxy: not a loopback one."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # nothing is sent
        except OSError:
            pytest.skip("this machine has no network: API servers do not proxy to 127.0.0.1")
        return str(probe.getsockname()[0])


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """One tenant, one compute cluster, one agent."""
    if requested():
        pytest.skip("breaks what is not its own")
    scratch = tmp_path_factory.mktemp("check")
    address = _address()
    with Harness(state=scratch / "state") as harness:
        specs = [ClusterSpec("tenant"), ClusterSpec(POOL, kwok=NodePool(1))]
        clusters = twins.up(harness, specs)
        tenant = clusters.pop("tenant")
        kubelet = {"listen": "0.0.0.0", "advertise": address}
        made = join(
            harness, tenant, clusters, directory=scratch / "joined", settings={"kubelet": kubelet}
        )
        with twins.beside(harness, made, scratch), AgentProcess(made) as agent:
            agent.wait_ready()
            yield Site(made, agent, scratch)


@pytest.fixture(autouse=True)
def left_as_it_was(site: Site) -> Iterator[None]:
    """What a test breaks it mends; the next one begins with a whole set-up."""
    yield
    site.agent.ensure_running()


def _kubeconfig(config: Path, name: str, change: Callable[[dict[str, Any]], None]) -> None:
    """Change a kubeconfig beside a configuration."""
    path = config.with_name(f"{name}.kubeconfig")
    document = yaml.safe_load(path.read_text())
    change(document)
    path.write_text(yaml.safe_dump(document))


def _set_server(url: str) -> Callable[[dict[str, Any]], None]:
    def change(kubeconfig: dict[str, Any]) -> None:
        cluster = kubeconfig["clusters"][0]["cluster"]
        cluster.pop("certificate-authority-data", None)
        cluster["server"] = url

    return change


def test_a_whole_set_up_is_content(site: Site) -> None:
    checked = site.check()
    assert checked.code == 0, checked.wrong
    assert {each.check for each in checked.findings} >= {
        "clocks", "link", "credential", "version", "rights", "namespaces", "capacity", "kubelet",
        "network", "tolerations", "DaemonSets", "NetworkPolicies", "tenant name",
    }  # fmt: skip
    said = {(each.where, each.check): each.text for each in checked.findings}
    assert said[POOL, "rights"].startswith("all ")
    assert any("the API server reaches" in each.text for each in checked.findings)
    assert any("does not verify kubelets" in each.text for each in checked.findings)


def test_without_an_administrator_it_says_what_it_may_not_see(site: Site) -> None:
    vnode = Path(sys.executable).with_name("vnode")
    done = subprocess.run(
        [vnode, "check", "--config", site.federation.config],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
    assert "needs the right to get nodes/proxy" in done.stdout
    assert "needs the right to create pods (dry run)" in done.stdout
    for kubeconfig in site.federation.directory.glob("*.kubeconfig"):
        token = yaml.safe_load(kubeconfig.read_text())["users"][0]["user"]["token"]
        assert token not in done.stdout + done.stderr


def test_what_works_but_should_be_known_is_a_warning(site: Site) -> None:
    tenant, pool = site.tenant, site.pool
    account = "vnode-system:vnode-demo"
    policy = {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"name": "closed"},
        "spec": {"podSelector": {}},
    }
    daemon = {
        "apiVersion": "apps/v1",
        "kind": "DaemonSet",
        "metadata": {"name": "everywhere"},
        "spec": {
            "selector": {"matchLabels": {"app": "everywhere"}},
            "template": {
                "metadata": {"labels": {"app": "everywhere"}},
                "spec": {
                    "tolerations": [{"operator": "Exists"}],
                    "containers": [{"name": "main", "image": "none"}],
                },
            },
        },
    }
    user = User(tenant)
    user.kubectl("create", "-f", "-", input=json.dumps(policy))
    user.kubectl("create", "-f", "-", input=json.dumps(daemon))
    pool.kubectl("create", "clusterrole", "wide", "--verb=list", "--resource=secrets")
    pool.kubectl(
        "create", "clusterrolebinding", "wide", "--clusterrole=wide", f"--serviceaccount={account}"
    )
    try:
        until(lambda: user.items("pods", "app=everywhere"), "the DaemonSet has a pod")
        checked = site.check()
        warned = {each.check: each for each in checked.findings if each.result == "WARN"}
        assert checked.code == 0, checked.wrong
        assert "team-a/closed" in warned["NetworkPolicies"].text
        assert "team-a/everywhere" in warned["DaemonSets"].text
        texts = " ".join(each.text for each in checked.findings if each.check == "more rights")
        assert "read every Secret of the cluster" in texts
    finally:
        user.kubectl("delete", "networkpolicy/closed", "daemonset/everywhere", "--wait=false")
        pool.kubectl("delete", "clusterrole/wide", "clusterrolebinding/wide")


def test_a_wrong_ca(site: Site) -> None:
    def change(kubeconfig: dict[str, Any]) -> None:
        cluster = kubeconfig["clusters"][0]["cluster"]
        cluster.pop("certificate-authority-data")  # which would win
        cluster["certificate-authority"] = str(site.tenant.ca_file)

    config = site.changed("wrong-ca", lambda document: None)
    _kubeconfig(config, POOL, change)
    finding = site.check(config).only(POOL, "link")
    assert "not signed by the CA" in finding.text
    shutil.copy(site.pool.ca_file, config.with_name("CA.crt"))
    site.mend(finding, site.pool, folder=config.parent)
    site.whole(config)


def test_a_missing_right_above(site: Site) -> None:
    role = json.loads(site.tenant.kubectl("get", "clusterrole", "vnode-namespace", "-o", "json"))
    rules = [rule for rule in role["rules"] if rule["resources"] != ["pods/status"]]
    patch = json.dumps({"rules": rules})
    site.tenant.kubectl("patch", "clusterrole", "vnode-namespace", "--type=merge", "-p", patch)
    finding = until(lambda: site.check().wrong, "it is missed")[0]
    assert (finding.where, finding.check) == ("tenant", "rights")
    assert (
        finding.text == "may not patch pods/status in namespace default (show the status of pods)"
    )
    site.mend(finding, site.tenant)
    site.whole()


def test_a_missing_right_below(site: Site) -> None:
    below = User(site.pool, BELOW)
    rules = [r for r in below.get("role", "vnode")["rules"] if r["resources"] != ["pods/log"]]
    role = below.get("role", "vnode")
    role["metadata"] = {"name": "vnode", "labels": role["metadata"]["labels"]}
    # As an older version of the manifests would: what others changed, join leaves to them.
    older = ("--server-side", "--force-conflicts", "--field-manager=vnode-join", "--filename=-")
    below.kubectl("apply", *older, input=json.dumps({**role, "rules": rules}))
    finding = until(lambda: site.check().wrong, "it is missed")[0]
    assert (finding.where, finding.check) == (POOL, "rights")
    assert finding.text == f"may not get pods/log in namespace {BELOW} (kubectl logs)"
    site.mend(finding, site.pool)
    site.whole()


def test_a_missing_namespace(site: Site) -> None:
    site.pool.kubectl("delete", "namespace", BELOW)
    checked = site.check()
    assert checked.code == 1
    finding = next(each for each in checked.wrong if each.check == "namespaces")
    assert (finding.where, finding.text.split()[0]) == (POOL, BELOW)
    assert "does not exist" in finding.text
    site.mend(finding, site.pool)
    site.whole()


def test_a_blocked_kubelet_port(site: Site) -> None:
    def change(document: dict[str, Any]) -> None:
        document["kubelet"]["listen"] = "127.0.0.1"

    config = site.changed("blocked", change)
    site.agent.stop()
    blocked = Federation(
        site.tenant, site.federation.computes, config.parent, config, site.federation.nodes
    )
    with AgentProcess(blocked, identity="blocked") as agent:
        agent.wait_ready()
        finding = site.check(config).only(NODE, "kubelet")
    assert "the API server does not reach the kubelet port" in finding.text
    assert "connection refused" in finding.text
    assert "correct kubelet.advertise and kubelet.listen" in finding.mend
    site.agent.ensure_running()
    site.agent.wait_ready()
    site.whole()


def test_an_expired_credential(site: Site) -> None:
    def change(kubeconfig: dict[str, Any]) -> None:
        user = kubeconfig["users"][0]["user"]
        user["token"] = expired(user["token"], site.pool.ca_file)

    config = site.changed("expired", lambda document: None)
    _kubeconfig(config, POOL, change)
    finding = site.check(config).only(POOL, "credential")
    assert "its token ended at 20" in finding.text
    site.mend(finding, site.pool)
    site.whole(config)


def test_a_clock_ten_minutes_off(site: Site) -> None:
    config = site.changed("clock", lambda document: None)
    with pretender(site.pool, ahead=600) as url:
        _kubeconfig(config, POOL, _set_server(url))
        finding = site.check(config).only("all", "clocks")
    assert finding.text == f"the clock of {POOL} is 10 min ahead of the others"
    assert finding.mend == f"timedatectl set-ntp true  # on the control plane of {POOL}"


def test_a_quota_of_zero(site: Site) -> None:
    below = User(site.pool, BELOW)
    zero = {"spec": {"hard": {"pods": "0"}}}
    below.kubectl("patch", "resourcequota", "vnode", "--type=merge", "-p", json.dumps(zero))
    finding = site.check().only(POOL, "namespaces")
    assert finding.text == f"quota vnode of {BELOW} is 0 for pods: no pod fits"
    site.mend(finding, site.pool)
    site.whole()


def test_ranges_that_overlap_in_a_flat_network(site: Site) -> None:
    def node(cidr: str) -> str:
        spec = {"podCIDR": cidr, "podCIDRs": [cidr]}
        body = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": "extra"}, "spec": spec}
        return json.dumps(body)

    def network(mode: str) -> Callable[[dict[str, Any]], None]:
        return lambda document: document["clusters"][0].update(network=mode)

    flat = site.changed("flat", network("flat"))
    site.tenant.kubectl("create", "-f", "-", input=node("10.244.7.0/24"))
    site.pool.kubectl("create", "-f", "-", input=node("10.244.0.0/16"))
    try:
        finding = site.check(flat).only(POOL, "network")
        assert "10.244.7.0/24 and 10.244.0.0/16" in finding.text
        assert f"set in {flat}: clusters: {{name: {POOL}, network: isolated}}" in finding.mend
        site.whole(site.changed("isolated", network("isolated")))
    finally:
        for cluster in (site.tenant, site.pool):
            cluster.kubectl("delete", "node", "extra", "--wait=false")


def test_a_missing_tolerations_policy(site: Site) -> None:
    site.tenant.kubectl("delete", "mutatingadmissionpolicy", TOLERATIONS)
    until(lambda: site.check().code == 1, "admission has noticed")
    finding = site.check().only("tenant", "tolerations")
    assert "do not tolerate vnode.dev/provider" in finding.text
    assert f"there is no MutatingAdmissionPolicy {TOLERATIONS}" in finding.text
    site.mend(finding, site.tenant)
    site.whole()


def test_an_api_version_that_is_too_old(site: Site) -> None:
    config = site.changed("old", lambda document: None)
    with pretender(site.pool, version="v1.24.17") as url:
        _kubeconfig(config, POOL, _set_server(url))
        finding = site.check(config).only(POOL, "version")
    assert finding.text.startswith("v1.24.17 is older than 1.28")
    assert finding.mend == "upgrade its control plane to 1.28 or newer"


def test_a_tenant_name_that_is_used_twice(site: Site) -> None:
    other = "5e1f0000-0000-4000-8000-000000000001"
    mark = f"vnode.dev/cluster-uid={other}"
    site.pool.kubectl("annotate", "--overwrite", "namespace", BELOW, mark)
    finding = site.check().only(POOL, "namespaces")
    assert finding.text.startswith('tenant name "demo" is used twice')
    assert other in finding.text
    site.mend(finding, site.pool)
    site.whole()


def test_copies_of_another_tenant_cluster_with_the_same_name(site: Site) -> None:
    other = "5e1f0000-0000-4000-8000-000000000001"
    body = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": "stranger",
            "labels": {"vnode.dev/tenant": "demo"},
            "annotations": {"vnode.dev/cluster-uid": other},
        },
        "spec": {
            "containers": [{"name": "main", "image": "none"}],
            "terminationGracePeriodSeconds": 0,
        },
    }
    User(site.pool, BELOW).kubectl("create", "-f", "-", input=json.dumps(body))
    finding = site.check().only(POOL, "tenant name")
    assert finding.text.startswith('tenant name "demo" is used twice')
    site.mend(finding, site.pool)
    site.whole()
