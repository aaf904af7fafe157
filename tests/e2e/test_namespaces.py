"""Compute namespaces that the agent makes on demand, and the fence around its writes.

A tenant, a compute cluster that knows nothing of the tenant's namespaces, and an agent of their
own: its rights reach further than those of the other tests' agent.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from tests.agents import AgentProcess, Federation, join
from tests.agents.join import join_compute, uid_of
from tests.clusters import ClusterSpec, Harness, NodePool
from tests.clusters.existing import requested
from tests.e2e import twins
from tests.e2e.user import User, until
from tests.e2e.workloads import config_map, pod

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.apart

POOL = "pool"
LEVEL = "pod-security.kubernetes.io/enforce"
TOLERATIONS = [{"key": "vnode.dev/provider", "operator": "Exists"}]
RUNS_FOR = "pod-complete.stage.kwok.x-k8s.io/delay"
RESIZE = '{"spec":{"containers":[{"name":"theirs","resources":{"requests":{"cpu":"1m"}}}]}}'
READY_ACCOUNT = ["get", "serviceaccount", "default", "-o", "name"]


@pytest.fixture(scope="module")
def federation(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Federation]:
    """A tenant whose every namespace may be forwarded, joined to one cluster on demand."""
    if requested():
        pytest.skip("rights in the whole cluster are tried on clusters started here only")
    with Harness(state=tmp_path_factory.mktemp("on-demand") / "state") as harness:
        specs = [ClusterSpec("tenant"), ClusterSpec(POOL, kwok=NodePool(1))]
        clusters = twins.up(harness, specs)
        tenant = clusters.pop("tenant")
        directory = tmp_path_factory.mktemp("agent-on-demand")
        settings = {"namespaces": {"create": "OnDemand", "reclaim": "Delete"}}
        made = join(
            harness,
            tenant,
            clusters,
            directory=directory,
            overrides={POOL: settings},
            namespaces=(),
            on_demand={POOL},
        )
        with twins.beside(harness, made, directory):
            yield made


@pytest.fixture(scope="module", autouse=True)
def process(federation: Federation) -> Iterator[AgentProcess]:
    """The agent, with its virtual node Ready."""
    with AgentProcess(federation) as process:
        process.wait_ready()
        yield process


def user_of(federation: Federation, namespace: str) -> User:
    """A user with a new namespace in the tenant."""
    user = User(federation.tenant, namespace)
    user.kubectl("create", "namespace", namespace)
    until(lambda: user.kubectl(*READY_ACCOUNT, check=False).startswith("service"), "it is usable")
    return user


def forwarded(name: str, namespace: str) -> Any:
    """A pod of that namespace that tolerates virtual nodes."""
    manifest = pod(name, cluster=POOL, tolerations=TOLERATIONS)
    manifest["metadata"]["namespace"] = namespace
    return manifest


@pytest.fixture(scope="module")
def razed(federation: Federation, process: AgentProcess) -> User:
    """Whose compute namespace somebody deleted while the agent was down."""
    user = user_of(federation, "razed")
    ends = forwarded("ends", "razed")
    ends["metadata"]["annotations"] = {RUNS_FOR: "1s"}
    ends["spec"]["restartPolicy"] = "Never"
    user.apply(forwarded("runs", "razed"), ends)
    user.wait_phase("runs", "Running")
    user.wait_phase("ends", "Succeeded")
    process.stop()
    federation.computes[POOL].kubectl("delete", "namespace", "demo--razed", timeout=90)
    process.start()
    process.wait_ready()
    return user


def test_what_a_deleted_compute_namespace_took_with_it_waits_for_certainty(razed: User) -> None:
    razed.kubectl("delete", "pod", "ends", timeout=60)
    assert razed.get("pod", "ends") is None
    until(lambda: "ComputeReplaced" in razed.event_reasons("runs"), "the pod says why it waits")
    assert razed.get("pod", "runs")["status"]["phase"] == "Running"


def test_a_namespace_is_made_when_the_first_pod_needs_it(federation: Federation) -> None:
    user = user_of(federation, "fresh")
    below = User(federation.computes[POOL], "demo--fresh")
    assert below.get("namespace", "demo--fresh") is None
    user.apply(forwarded("first", "fresh"))
    user.wait_phase("first", "Running")
    made = below.get("namespace", "demo--fresh")["metadata"]
    assert made["labels"]["vnode.dev/tenant"] == "demo"
    assert made["labels"]["app.kubernetes.io/managed-by"] == "vnode"
    assert made["labels"]["pod-security.kubernetes.io/enforce"] == "baseline"
    assert made["annotations"]["vnode.dev/namespace"] == "fresh"
    system = user.get("namespace", "kube-system")["metadata"]["uid"]
    assert made["annotations"]["vnode.dev/cluster-uid"] == system
    assert below.get("pod", "first") is not None
    # It was right the first time: nothing had to be tried again.
    about = "involvedObject.name=first,type=Warning"
    assert "No resources" in user.kubectl("get", "events", f"--field-selector={about}", check=False)
    user.kubectl("delete", "pod", "first")
    assert below.get("pod", "first") is None


def test_a_namespace_of_somebody_else_is_refused(federation: Federation) -> None:
    below = User(federation.computes[POOL], "demo--taken")
    below.kubectl("create", "namespace", "demo--taken")
    user = user_of(federation, "taken")
    user.apply(forwarded("first", "taken"))

    def refused() -> bool:
        status = user.get("pod", "first")["status"]
        return status.get("reason") == "NamespaceNotReady" and "somebody else" in status["message"]

    until(refused, "the pod says why it waits")
    assert not below.items("pods")
    below.kubectl("label", "namespace", "demo--taken", "vnode.dev/tenant=demo")
    user.wait_phase("first", "Running", timeout=150)


class TestReclaim:
    """What becomes of a compute namespace when the tenant's is deleted."""

    @staticmethod
    def run_a_pod(federation: Federation, namespace: str) -> User:
        """A pod that runs in a new namespace; returns the onlooker in the compute namespace."""
        user = user_of(federation, namespace)
        user.apply(forwarded("one", namespace))
        user.wait_phase("one", "Running")
        return User(federation.computes[POOL], f"demo--{namespace}")

    def test_it_goes_and_can_come_back(self, federation: Federation) -> None:
        below = self.run_a_pod(federation, "passing")
        before = below.get("namespace", "demo--passing")["metadata"]["uid"]
        federation.tenant.kubectl("delete", "namespace", "passing", timeout=90)
        below.wait_gone("namespace", "demo--passing", timeout=60)
        self.run_a_pod(federation, "passing")
        assert below.get("namespace", "demo--passing")["metadata"]["uid"] != before

    def test_pods_wait_while_the_old_one_terminates(self, federation: Federation) -> None:
        below = self.run_a_pod(federation, "again")
        holding = config_map("holding")
        holding["metadata"] |= {"namespace": "demo--again", "finalizers": ["example.com/hold"]}
        below.apply(holding)
        before = below.get("namespace", "demo--again")["metadata"]
        federation.tenant.kubectl("delete", "namespace", "again", timeout=90)
        until(
            lambda: "deletionTimestamp" in below.get("namespace", "demo--again")["metadata"],
            "the old one terminates",
        )
        user = user_of(federation, "again")
        user.apply(forwarded("two", "again"))
        until(
            lambda: user.get("pod", "two")["status"].get("reason") == "NamespaceTerminating",
            "the pod says why it waits",
        )
        release = '{"metadata": {"finalizers": null}}'
        below.kubectl("patch", "configmap", "holding", "--type=merge", f"--patch={release}")
        user.wait_phase("two", "Running", timeout=150)
        assert below.get("namespace", "demo--again")["metadata"]["uid"] != before["uid"]

    def test_a_foreign_pod_keeps_it(self, federation: Federation, process: AgentProcess) -> None:
        below = self.run_a_pod(federation, "visited")
        below.kubectl("run", "guest", "--image=busybox")
        below.wait_phase("guest", "Running")
        federation.tenant.kubectl("delete", "namespace", "visited", timeout=90)
        until(
            lambda: "compute namespace kept" in process.log_tail(200),
            "the agent says that it stays",
        )
        until(lambda: below.get("pod", "one") is None, "our own pod is gone")
        assert "deletionTimestamp" not in below.get("namespace", "demo--visited")["metadata"]
        assert below.get("pod", "guest") is not None


class TestFence:
    """What the agent's own credential can do."""

    @pytest.fixture
    def agent(self, federation: Federation) -> Any:
        """kubectl with the agent's credential; its answer, errors included."""
        config = federation.directory / f"{POOL}.kubeconfig"
        cluster = federation.computes[POOL]
        for name in ("stranger", "demo--prepared"):
            cluster.kubectl("create", "namespace", name, check=False)
        cluster.kubectl("label", "namespace", "demo--prepared", "vnode.dev/tenant=demo")

        def run(*args: str, **options: Any) -> str:
            return cluster.kubectl(*args, kubeconfig=config, check=False, **options)

        return run

    @pytest.mark.parametrize(
        "command",
        [
            "create configmap theirs -n stranger",
            "create secret generic theirs -n kube-system",
            "run theirs --image=none -n default",
            "create secret generic theirs -n vnode-system",
            "delete configmap kube-root-ca.crt -n stranger",
            "delete namespace stranger",
            "delete namespace vnode-system",
            "delete namespace demo--prepared",
        ],
    )
    def test_a_write_outside_is_refused(self, agent: Any, command: str) -> None:
        answer = agent(*command.split())
        assert "ValidatingAdmissionPolicy 'vnode-demo-fence'" in answer
        assert "denied request" in answer

    @pytest.mark.parametrize(
        "command",
        [
            "exec theirs -- true",
            "attach theirs",
            "port-forward theirs 8080",
            "delete pod theirs",
            "label pod theirs a=b",
            'patch pod theirs --patch={"spec":{"activeDeadlineSeconds":1}}',
            "patch pod theirs --subresource=resize --patch=" + RESIZE,
            "debug theirs --image=none --container=mine",
            "delete secret theirs",
            'patch secret theirs --patch={"data":{}}',
            "replace --filename=-",
        ],
    )
    def test_a_foreign_pod_and_secret_are_out_of_reach(
        self, agent: Any, federation: Federation, command: str
    ) -> None:
        theirs = User(federation.computes[POOL], "stranger")
        if theirs.get("pod", "theirs") is None:
            theirs.kubectl("run", "theirs", "--image=busybox")
            theirs.kubectl("create", "secret", "generic", "theirs", "--from-literal=a=b")
        theirs.wait_phase("theirs", "Running")
        secret = theirs.kubectl("get", "secret", "theirs", "-o", "json")
        answer = agent("-n", "stranger", *command.split(), input=secret)
        # What was never granted is refused before anybody looks at the fence.
        assert "vnode-demo-fence" in answer or "forbidden: User" in answer
        assert theirs.get("pod", "theirs")["status"]["phase"] == "Running"

    def test_of_kubelets_resource_usage_can_be_read_and_nothing_else(
        self, agent: Any, federation: Federation
    ) -> None:
        cluster = federation.computes[POOL]
        kubelet = f"/api/v1/{cluster.kubectl('get', 'nodes', '--output=name').strip()}/proxy"
        kubelet = kubelet.replace("node/", "nodes/")
        join_compute(
            cluster,
            POOL,
            uid=uid_of(federation.tenant),
            config=federation.config,
            directory=federation.directory,
            options=["--usage-kubelet"],
        )

        def ask(path: str) -> Any:
            return agent("get", "--raw", f"{kubelet}/{path}")

        until(lambda: "cannot get resource" not in ask("pods"), "the right is there")
        for path in ("pods", "containerLogs/a/b/c", "exec/a/b/c?command=id", "stats/summary/../.."):
            assert "vnode-demo-fence" in ask(path)
        assert "forbidden" not in ask("stats/summary?only_cpu_and_memory=true").lower()

    @pytest.mark.parametrize(
        ("name", "labels", "policy"),
        [
            ("other--team", {"vnode.dev/tenant": "demo", LEVEL: "baseline"}, "vnode-demo-fence"),
            ("demo--team", {LEVEL: "baseline"}, "vnode-demo-fence"),
            ("demo--team", {"vnode.dev/tenant": "blue", LEVEL: "baseline"}, "vnode-demo-fence"),
            ("demo--team", {"vnode.dev/tenant": "demo"}, "vnode-demo-pod-security"),
        ],
        ids=["another prefix", "no owner", "another owner", "no pod security"],
    )
    def test_a_namespace_that_is_not_like_ours_is_refused(
        self, agent: Any, name: str, labels: dict[str, str], policy: str
    ) -> None:
        metadata = {"name": name, "labels": labels}
        body = {"apiVersion": "v1", "kind": "Namespace", "metadata": metadata}
        assert f"'{policy}'" in agent("create", "-f", "-", input=json.dumps(body))

    @pytest.mark.parametrize(
        ("command", "refused"),
        [
            ("label namespace stranger a=b", "cannot patch resource"),
            ("label namespace demo--prepared a=b", "cannot patch resource"),
            ("create serviceaccount a -n stranger", "cannot create resource"),
            ("create serviceaccount a -n demo--prepared", "cannot create resource"),
            ("create quota a -n demo--prepared", "cannot create resource"),
            ("delete validatingadmissionpolicybinding vnode-demo-fence", "cannot delete resource"),
        ],
    )
    def test_what_nobody_granted_is_refused_before_any_fence(
        self, agent: Any, command: str, refused: str
    ) -> None:
        answer = agent(*command.split())
        assert refused in answer
        assert "ValidatingAdmissionPolicy" not in answer

    @pytest.mark.parametrize("verb", ["update", "patch"])
    def test_the_account_has_no_right_to_change_a_namespace(self, agent: Any, verb: str) -> None:
        for namespace in ("stranger", "demo--prepared"):
            answer = agent("auth", "can-i", verb, "namespaces", "-n", namespace)
            assert answer.split()[0] == "no"

    def test_tenants_are_not_told_what_the_fence_is_called(
        self, agent: Any, federation: Federation
    ) -> None:
        user = user_of(federation, "fenced")
        user.apply(forwarded("one", "fenced"))
        user.wait_phase("one", "Running")
        below = User(federation.computes[POOL], "demo--fenced")
        below.kubectl("label", "namespace", "demo--fenced", "vnode.dev/tenant-")
        probe = ("create", "configmap", "probe", "-n", "demo--fenced", "--dry-run=server")
        until(lambda: "vnode-demo-fence" in agent(*probe), "the fence has heard of it")
        user.apply(forwarded("two", "fenced"))
        until(
            lambda: user.get("pod", "two")["status"].get("reason") == "ComputeForbidden",
            "the pod says why it waits",
        )
        said = user.get("pod", "two")["status"]["message"] + user.kubectl("get", "events")
        assert "a policy of the compute cluster denied request" in said
        assert "vnode-demo-fence" not in said
        assert "demo--" not in said

    def test_a_write_inside_is_allowed(self, agent: Any, federation: Federation) -> None:
        user_of(federation, "inside").apply(forwarded("one", "inside"))
        User(federation.tenant, "inside").wait_phase("one", "Running")
        mine = config_map("mine", a="b")
        mine["metadata"]["namespace"] = "demo--inside"
        assert "created" in agent("create", "-f", "-", input=json.dumps(mine))
        assert "deleted" in agent("delete", "configmap", "mine", "-n", "demo--inside")


def test_what_a_deleted_compute_namespace_took_with_it_is_lost_at_last(
    razed: User, federation: Federation
) -> None:
    """At the end of the module: the minutes until it is certain are filled by the other tests."""
    lost = razed.wait_phase("runs", "Failed", timeout=230)
    assert lost["status"]["reason"] == "Evicted"
    below = User(federation.computes[POOL], "demo--razed")
    assert below.get("namespace", "demo--razed") is None
