"""Two tenants in one compute cluster, and a malicious user of one of them (DESIGN 11).

Two tenant clusters with agents of their own; `demo` and `demo-b` have namespaces, pods, ConfigMaps,
Secrets, ServiceAccounts and virtual nodes of the same names. Where this machine can run containers
one compute node is real, for logs and exec; what is only tried and refused uses a simulated one.
What `attempts` lists is written by a user who is nothing but an admin of his namespace, and judged
by what exists below and by what he is told.
"""

from __future__ import annotations

import base64
import http.client
import json
import ssl
import subprocess
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest
import yaml

from tests.agents import AgentProcess, Federation, join
from tests.agents.join import NAMESPACES
from tests.clusters import ClusterSpec, Harness, NodePool, can_run_containers
from tests.clusters.existing import requested
from tests.e2e import pod_groups
from tests.e2e.attempts import (
    FORBIDDEN,
    HARMLESS,
    MARK,
    NEIGHBOUR,
    REFUSED,
    ZONE,
    harmless_manifest,
    manifest,
)
from tests.e2e.user import BELOW, User, until
from tests.e2e.workloads import IMAGE, config_map, deployment, secret
from vnode.kube.quantity import Quantity

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.clusters import Cluster

pytestmark = pytest.mark.apart

POOL = "pool"
NODE, SIMULATED = f"vnode-{POOL}", f"vnode-{POOL}-simulated"
TENANTS = {"demo": "tenant", NEIGHBOUR: "neighbour"}
MEMBERS = {"demo": 1, NEIGHBOUR: 1000}
"""What the gangs of the same name need: one of them could never start."""
SELECTOR = "=".join(next(iter(MARK.items())))
NEIGHBOUR_BELOW = f"{NEIGHBOUR}--team-a"
SESSIONS, PODS, FLOOD = 4, 100, 160
SECONDS = 60.0
"""In which all attempts are answered."""


@dataclass(frozen=True)
class Site:
    """The clusters, with agents that run."""

    harness: Harness
    federations: dict[str, Federation]
    compute: Cluster
    real: bool

    def user(self, tenant: str, namespace: str = "team-a") -> User:
        """An administrator of a tenant."""
        return User(self.federations[tenant].tenant, namespace)

    def below(self, tenant: str) -> User:
        """An onlooker in a tenant's compute namespace."""
        return User(self.compute, f"{tenant}--team-a")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """Both tenants, joined to one compute cluster."""
    if requested():
        pytest.skip("tenants attack each other on clusters started here only")
    real, _ = can_run_containers()
    simulated = NodePool(1, labels={"example.com/kind": "simulated"})
    pool = ClusterSpec(POOL, kwok=simulated, real_nodes=1 if real else 0)
    with Harness(state=tmp_path_factory.mktemp("tenants") / "state") as harness:
        clusters = harness.up([*map(ClusterSpec, TENANTS.values()), pool])
        compute = clusters[POOL]
        for cluster in clusters.values():
            _serve_pod_groups(cluster)
        federations = {
            name: join(
                harness,
                clusters[cluster],
                {POOL: compute},
                directory=tmp_path_factory.mktemp(name),
                name=name,
                overrides={POOL: _settings(harness, name, real=real)},
                settings={
                    "kubelet": {"sessionsPerNamespace": SESSIONS},
                    "limits": {"podsPerNamespace": PODS, "referencesPerPod": 20},
                },
            )
            for name, cluster in TENANTS.items()
        }
        yield Site(harness, federations, compute, real)


def _serve_pod_groups(cluster: Cluster) -> None:
    admin = User(cluster, "default")
    admin.apply(*pod_groups.definitions())
    for name in pod_groups.RESOURCES:
        admin.kubectl("wait", "--for=condition=Established", f"crd/{name}", timeout=30)


def _settings(harness: Harness, tenant: str, *, real: bool) -> dict[str, Any]:
    """A pool with real containers where there are any, and one whose pods only seem to run."""
    simulated = {"example.com/kind": "simulated"}
    first = {
        "name": "default",
        "port": harness.free_port(),
        "nodeSelector": {"nvidia.com/gpu.present": "true"} if real else simulated,
    }
    # Only the account of `demo` may see all nodes and pods.
    room: dict[str, Any] = {"sources": ["nodes"]}
    if tenant == NEIGHBOUR:
        room = {"sources": ["static"], "static": {"pods": "100", "cpu": "64"}}
    second = {
        "name": "simulated",
        "port": harness.free_port(),
        "nodeSelector": simulated,
        "capacity": room,
    }
    policy = {"schedulingKeys": [ZONE], "overlay": {"labels": {"cost-centre": "of-demo"}}}
    return {"pools": [first, second], "policy": policy}


@pytest.fixture(scope="module", autouse=True)
def agents(site: Site) -> Iterator[dict[str, AgentProcess]]:
    """One agent for each tenant."""
    running = {name: AgentProcess(each) for name, each in site.federations.items()}
    try:
        for process in running.values():
            process.start()
        for process in running.values():
            process.wait_ready()
        yield running
    finally:
        for process in running.values():
            process.stop()


def _pod(name: str, node: str, **container: Any) -> Any:
    main = {
        "name": "main",
        "image": IMAGE,
        "command": ["sleep", "3600"],
        "resources": {"requests": {"cpu": "1m", "memory": "1Mi"}},
        **container,
    }
    spec = {"nodeName": node, "terminationGracePeriodSeconds": 1, "containers": [main]}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec}


def _worker(tenant: str) -> list[Any]:
    """The same names in every tenant; only values differ."""
    pod = _pod(
        "worker",
        NODE,
        command=["sh", "-c", 'echo "$OWNER has $PASSWORD"; sleep 3600'],
        env=[
            {"name": "OWNER", "valueFrom": _key("configMap", "settings", "OWNER")},
            {"name": "PASSWORD", "valueFrom": _key("secret", "access", "password")},
        ],
        volumeMounts=[{"name": "settings", "mountPath": "/settings"}],
    )
    pod["spec"] |= {
        "serviceAccountName": "worker",
        "volumes": [{"name": "settings", "configMap": {"name": "settings"}}],
    }
    account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "worker"}}
    objects = [config_map("settings", OWNER=tenant), secret("access", password=f"of-{tenant}")]
    pod["metadata"] |= {"labels": pod_groups.LABELS, "annotations": pod_groups.ANNOTATIONS}
    gangs = pod_groups.pod_groups("team-a", members=MEMBERS[tenant])
    return [account, *objects, *gangs, pod]


def _key(kind: str, name: str, key: str) -> Any:
    return {f"{kind}KeyRef": {"name": name, "key": key}}


@pytest.fixture(scope="module")
def workers(site: Site) -> dict[str, Any]:
    """The pod `worker` of each tenant, running."""
    for tenant in TENANTS:
        site.user(tenant).apply(*_worker(tenant))
    return {t: site.user(t).wait_phase("worker", "Running", timeout=90) for t in TENANTS}


class TestEqualNames:
    """Two tenants with the same names of everything."""

    @pytest.fixture(autouse=True)
    def real(self, site: Site, workers: dict[str, Any], request: pytest.FixtureRequest) -> None:
        if request.node.get_closest_marker("containers") and not site.real:
            pytest.skip(f"no real containers: {can_run_containers()[1]}")

    @pytest.mark.containers
    @pytest.mark.parametrize("tenant", TENANTS)
    def test_each_sees_its_own_logs_values_and_files(self, site: Site, tenant: str) -> None:
        user = site.user(tenant)
        until(lambda: user.kubectl("logs", "worker"), "it has said something")
        assert user.kubectl("logs", "worker").strip() == f"{tenant} has of-{tenant}"
        assert user.kubectl("exec", "worker", "--", "cat", "/settings/OWNER") == tenant

    @pytest.mark.containers
    @pytest.mark.parametrize("tenant", TENANTS)
    def test_each_has_a_token_of_its_own_pod(
        self, site: Site, workers: dict[str, Any], tenant: str
    ) -> None:
        path = "/var/run/secrets/kubernetes.io/serviceaccount/token"
        user = site.user(tenant)
        token = until(lambda: user.kubectl("exec", "worker", "--", "cat", path), "it has a token")
        body = token.split(".")[1]
        claims = json.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))
        bound = claims["kubernetes.io"]["pod"]
        assert bound == {"name": "worker", "uid": workers[tenant]["metadata"]["uid"]}

    @pytest.mark.parametrize("tenant", TENANTS)
    def test_each_has_its_own_copies(
        self, site: Site, workers: dict[str, Any], tenant: str
    ) -> None:
        below = site.below(tenant)
        copy = below.get("pod", "worker")["metadata"]
        assert copy["labels"]["vnode.dev/tenant"] == tenant
        assert copy["annotations"]["vnode.dev/uid"] == workers[tenant]["metadata"]["uid"]
        assert below.get("configmap", "settings")["data"] == {"OWNER": tenant}
        password = below.get("secret", "access")["data"]["password"]
        assert base64.b64decode(password).decode() == f"of-{tenant}"

    @pytest.mark.parametrize("tenant", TENANTS)
    def test_each_has_its_own_gang_and_none_of_it_reaches_the_compute_cluster(
        self, site: Site, workers: dict[str, Any], tenant: str
    ) -> None:
        user, below = site.user(tenant), site.below(tenant)
        assert pod_groups.keys_of(workers[tenant]) == pod_groups.KEYS
        assert not pod_groups.keys_of(below.get("pod", "worker"))
        for kind in pod_groups.RESOURCES:
            mine = user.get(kind, pod_groups.NAME)
            assert mine["spec"] == {"minMember": MEMBERS[tenant]}
            assert "status" not in mine
            assert below.kubectl("get", kind, "--all-namespaces", "-o", "name") == ""

    def test_what_one_changes_or_deletes_stays_with_the_other(self, site: Site) -> None:
        mine, theirs = site.user("demo"), site.below(NEIGHBOUR)
        before = {kind: theirs.get(kind, name) for kind, name in _THEIRS}
        mine.apply(config_map("settings", OWNER="changed"))
        changed = {"OWNER": "changed"}
        below = site.below("demo")
        until(lambda: below.get("configmap", "settings")["data"] == changed, "it has changed below")
        mine.kubectl("delete", "pod", "worker", timeout=60)
        until(lambda: below.get("secret", "access") is None, "its objects have gone")
        after = {kind: theirs.get(kind, name) for kind, name in _THEIRS}
        for kind, found in before.items():
            assert after[kind]["metadata"]["uid"] == found["metadata"]["uid"]
        assert after["configmap"]["data"] == {"OWNER": NEIGHBOUR}
        assert after["pod"]["status"]["phase"] == "Running"
        mine.apply(*_worker("demo"))
        mine.wait_phase("worker", "Running", timeout=60)


_THEIRS = (("pod", "worker"), ("configmap", "settings"), ("secret", "access"))


class TestCredentials:
    """What the agent of `demo` could do if it were not honest."""

    @pytest.mark.parametrize(
        "asked",
        [
            "get pods", "list pods", "create pods", "delete pods", "create pods/exec",
            "get secrets", "list secrets", "create secrets", "get configmaps", "get namespaces",
            "watch events",
        ],
    )  # fmt: skip
    @pytest.mark.parametrize("namespace", [NEIGHBOUR_BELOW, "kube-system", "vnode-system"])
    def test_nothing_in_namespaces_of_others(self, site: Site, namespace: str, asked: str) -> None:
        verb, _, resource = asked.partition(" ")
        if (verb, resource) == ("list", "pods"):
            pytest.skip("granted by join for capacity from nodes")
        plural, _, subresource = resource.partition("/")
        question = ("auth", "can-i", verb, plural, f"--subresource={subresource}", "-n", namespace)
        answer = site.compute.kubectl(*question, kubeconfig=_credential(site, "demo"), check=False)
        assert answer.split()[0] == "no"


def _credential(site: Site, tenant: str) -> Path:
    return site.federations[tenant].directory / f"{POOL}.kubeconfig"


@dataclass(frozen=True)
class Mallory:
    """A user of `demo` who is an admin of his namespace and no more."""

    user: User
    kubeconfig: Path

    def kubectl(self, *args: str, **options: Any) -> str:
        """What kubectl says, errors included."""
        return self.user.kubectl(*args, kubeconfig=self.kubeconfig, check=False, **options)


@pytest.fixture(scope="module")
def mallory(site: Site, workers: dict[str, Any]) -> Mallory:
    user = site.user("demo")
    user.kubectl("create", "serviceaccount", "mallory")
    account = "--serviceaccount=team-a:mallory"
    user.kubectl("create", "rolebinding", "mallory", "--clusterrole=admin", account)
    user.kubectl("create", "serviceaccount", "vnode-demo")
    runtime = {"apiVersion": "node.k8s.io/v1", "kind": "RuntimeClass", "handler": "runc"}
    user.apply({**runtime, "metadata": {"name": "unconfined"}}, secret("vnode-token-1", k="v"))
    path = site.federations["demo"].directory / "mallory.kubeconfig"
    user.cluster.service_account_kubeconfig("team-a", "mallory", path)
    return Mallory(user, path)


@dataclass(frozen=True)
class Tried:
    """What became of the attempts."""

    pods: dict[str, Any]
    events: dict[str, list[str]]
    below: dict[str, Any]
    secrets: frozenset[str]
    """Words that no tenant may read."""

    def said(self, name: str) -> str:
        """All that the user is told about a pod."""
        status = self.pods[name]["status"]
        return " ".join([json.dumps(status), *self.events.get(name, [])])


@pytest.fixture(scope="module")
def tried(site: Site, mallory: Mallory) -> Tried:
    """All attempts, made at once."""
    items = [manifest(name, node=SIMULATED, refused=r) for name, r in REFUSED.items()]
    items += [harmless_manifest(name, node=SIMULATED, harmless=h) for name, h in HARMLESS.items()]
    body = json.dumps({"apiVersion": "v1", "kind": "List", "items": items})
    print(mallory.kubectl("create", "-f", "-", input=body)[-3000:])
    user, below = mallory.user, site.below("demo")

    def told() -> dict[str, list[str]]:
        events: dict[str, list[str]] = {}
        for event in user.items("events"):
            text = f"{event['reason']}: {event['message']}"
            events.setdefault(event["involvedObject"]["name"], []).append(text)
        return events

    def running() -> bool:
        copies = {copy["metadata"]["name"]: copy for copy in below.items("pods")}
        return all(
            copies.get(name, {}).get("status", {}).get("phase") == "Running" for name in HARMLESS
        )

    # What is missing then, each attempt's own test says.
    deadline = time.monotonic() + SECONDS
    while REFUSED.keys() - told().keys() or not running():
        if time.monotonic() > deadline:
            break
        time.sleep(0.5)
    nodes = site.compute.kubectl("get", "nodes", "-o", "name").replace("node/", "").split()
    hidden = {"demo--", "vnode-system", urlsplit(site.compute.server).netloc, *nodes}
    return Tried(
        pods={pod["metadata"]["name"]: pod for pod in user.items("pods", SELECTOR)},
        events=told(),
        below={copy["metadata"]["name"]: copy for copy in below.items("pods")},
        secrets=frozenset(hidden),
    )


def test_there_are_enough_attempts() -> None:
    assert len(REFUSED) >= 30


@pytest.mark.parametrize("name", REFUSED)
def test_is_refused_with_the_reason(tried: Tried, name: str) -> None:
    said = tried.said(name)
    assert name not in tried.below
    assert REFUSED[name].word.lower() in " ".join(tried.events[name]).lower()
    assert tried.pods[name]["status"].get("phase") in ("Pending", "Failed", None)
    assert not [word for word in tried.secrets if word in said]


@pytest.mark.parametrize("name", HARMLESS)
def test_comes_down_without_what_it_asked_for(tried: Tried, name: str) -> None:
    assert name in tried.below, tried.said(name)
    assert HARMLESS[name].good(tried.below[name])
    assert not [word for word in tried.secrets if word in tried.said(name)]


def test_a_secret_for_a_service_account_is_none_below(site: Site, mallory: Mallory) -> None:
    note = {"kubernetes.io/service-account.name": "default"}
    kind = "kubernetes.io/service-account-token"
    body = secret("mint", k="v")
    body["metadata"]["annotations"] = note
    mallory.user.apply({**body, "type": kind})
    mallory.user.apply(_pod("minting", SIMULATED, envFrom=[{"secretRef": {"name": "mint"}}]))
    copy = until(lambda: site.below("demo").get("secret", "mint"), "it is copied")
    assert copy["type"] == "Opaque"
    assert note.keys().isdisjoint(copy["metadata"]["annotations"])


@pytest.mark.parametrize("name", FORBIDDEN)
def test_is_refused_by_the_api_server(mallory: Mallory, name: str) -> None:
    body = json.dumps(manifest(name, node=SIMULATED, refused=FORBIDDEN[name]))
    answer = mallory.kubectl("create", "-f", "-", input=body)
    assert FORBIDDEN[name].word.lower() in answer.lower()
    assert mallory.user.get("pod", name) is None


@pytest.mark.parametrize(
    "command",
    [
        'patch pod worker --subresource=status --type=merge -p {"status":{"phase":"Failed"}}',
        "get secrets -n vnode-system",
        "get pods -n default",
        "logs worker -n default",
        "create token vnode -n vnode-system",
        f"get --raw /api/v1/nodes/{NODE}/proxy/pods",
        f"get --raw /api/v1/nodes/{NODE}/proxy/containerLogs/team-a/worker/main",
        "get --raw /api/v1/namespaces/team-a/pods/..%2f..%2fdefault%2fpods%2fworker/log",
        "get --raw /api/v1/namespaces/team-a/pods/worker/..%2f..%2f..%2fsecrets",
        f"patch node {NODE} -p {{}}",
        "get certificatesigningrequests",
    ],
)
def test_is_forbidden_to_users(mallory: Mallory, command: str) -> None:
    assert mallory.kubectl(*command.split()).lower().startswith("error")


@pytest.fixture(scope="module")
def small(site: Site, mallory: Mallory) -> User:
    """A user with a pod that runs."""
    mallory.user.apply(_pod("small", SIMULATED))
    mallory.user.wait_phase("small", "Running")
    return mallory.user


def test_a_privileged_debug_container_is_refused(site: Site, small: User) -> None:
    debug = ("debug", "small", f"--image={IMAGE}", "--profile=sysadmin", "--container=dbg")
    small.kubectl(*debug, "--", "sleep", "1")
    until(lambda: "UpdateRejected" in small.event_reasons("small"), "it is refused")
    about = "involvedObject.name=small,reason=UpdateRejected"
    assert "privileged" in small.kubectl("get", "events", f"--field-selector={about}")
    assert "ephemeralContainers" not in site.below("demo").get("pod", "small")["spec"]


@pytest.mark.containers
def test_a_resize_beyond_the_quota_is_refused(site: Site, mallory: Mallory) -> None:
    if not site.real:
        pytest.skip(f"no real containers: {can_run_containers()[1]}")
    user, below = mallory.user, site.below("demo")
    _set_quota(below, "256Mi")
    more = [{"name": "main", "resources": {"requests": {"memory": "512Mi"}}}]
    patch = json.dumps({"spec": {"containers": more}})
    user.kubectl("patch", "pod", "worker", "--subresource=resize", f"--patch={patch}")
    events = ("get", "events", "--field-selector=involvedObject.name=worker")
    until(lambda: "exceeded quota" in user.kubectl(*events), "it is told")
    copy = below.get("pod", "worker")["spec"]["containers"][0]
    assert copy["resources"]["requests"]["memory"] == "1Mi"
    _set_quota(below, "2Ti")


def _set_quota(below: User, memory: str) -> None:
    patch = json.dumps({"spec": {"hard": {"requests.memory": memory}}})
    below.kubectl("patch", "resourcequota", "vnode", "--type=merge", f"--patch={patch}")


def test_a_pod_of_somebody_else_below_is_left_alone(site: Site, mallory: Mallory) -> None:
    below = site.below("demo")
    theirs = _pod("squatted", "", command=["sleep", "1"])
    del theirs["spec"]["nodeName"]
    theirs["spec"]["nodeSelector"] = {"example.com/kind": "simulated"}
    theirs["metadata"]["labels"] = {"vnode.dev/tenant": "demo"}
    below.apply(theirs)
    before = below.get("pod", "squatted")["metadata"]["uid"]
    mallory.user.apply(_pod("squatted", SIMULATED))
    until(lambda: "NameConflict" in mallory.user.event_reasons("squatted"), "it is told")
    mallory.user.kubectl("delete", "pod", "squatted", timeout=60)
    assert below.get("pod", "squatted")["metadata"]["uid"] == before


@pytest.mark.parametrize("kind", ["configmap", "secret"])
def test_an_object_of_somebody_else_below_is_left_alone(
    site: Site, mallory: Mallory, kind: str
) -> None:
    below, name = site.below("demo"), f"squatted-{kind}"
    make = config_map if kind == "configmap" else secret
    for user, value in ((below, "theirs"), (mallory.user, "mine")):
        body = make(name, a=value)
        del body["metadata"]["namespace"]
        user.apply(body)
    before = below.get(kind, name)
    reference = f"{'configMap' if kind == 'configmap' else kind}Ref"
    mallory.user.apply(_pod(name, SIMULATED, envFrom=[{reference: {"name": name}}]))
    until(lambda: "NameConflict" in mallory.user.event_reasons(name), "it is told")
    after = below.get(kind, name)
    assert (after["data"], after["metadata"]["uid"]) == (before["data"], before["metadata"]["uid"])
    assert below.get("pod", name) is None


@pytest.fixture
def impostor(site: Site, agents: dict[str, AgentProcess]) -> Iterator[User]:
    """The neighbour, with an agent that has the name and the credential of `demo`."""
    mine, theirs = site.federations["demo"], site.federations[NEIGHBOUR]
    config = yaml.safe_load(mine.config.read_text())
    config["tenant"]["kubeconfig"] = str(theirs.directory / "tenant.kubeconfig")
    (cluster,) = config["clusters"]
    cluster["name"] = "impostor"
    for pool in cluster["pools"]:
        pool["port"] = site.harness.free_port()
    directory = theirs.directory / "impostor"
    directory.mkdir()
    # Else its agent is refused before it looks at copies.
    for namespace in NAMESPACES:
        marked = f"demo--{namespace}"
        site.compute.kubectl("annotate", "namespace", marked, "vnode.dev/cluster-uid-")
    path = directory / "config.yaml"
    path.write_text(yaml.safe_dump(config))
    nodes = ("vnode-impostor", "vnode-impostor-simulated")
    made = Federation(theirs.tenant, mine.computes, directory, path, nodes)
    with AgentProcess(made, identity="impostor") as process:
        process.wait_ready()
        yield site.user(NEIGHBOUR)


def test_a_tenant_cluster_with_the_name_of_another_touches_nothing_of_it(
    site: Site, mallory: Mallory, impostor: User
) -> None:
    below = site.below("demo")
    mallory.user.apply(_pod("wanted", SIMULATED))
    mallory.user.wait_phase("wanted", "Running")
    before = {copy["metadata"]["uid"] for copy in below.items("pods")}
    # Service variables, which every pod has, are of `demo` there: not even other names help.
    for name in ("wanted", "own"):
        impostor.apply(_pod(name, "vnode-impostor-simulated"))
        _wait_refused(impostor, name)
    impostor.kubectl("delete", "pod", "wanted", "own", timeout=60)
    after = {copy["metadata"]["uid"] for copy in below.items("pods")}
    assert after == before
    assert mallory.user.get("pod", "wanted")["status"]["phase"] == "Running"


def _wait_refused(user: User, name: str) -> None:
    until(lambda: "NameConflict" in user.event_reasons(name), "it is told")


class TestKubelet:
    """Somebody with all rights in his tenant asks the virtual node itself."""

    @pytest.fixture
    def endpoint(self, site: Site) -> str:
        status = site.user("demo").get("node", NODE)["status"]
        address = next(a["address"] for a in status["addresses"] if a["type"] == "InternalIP")
        return f"{address}:{status['daemonEndpoints']['kubeletEndpoint']['Port']}"

    @staticmethod
    def token(site: Site, tenant: str) -> str:
        user = site.user(tenant)
        user.kubectl("create", "serviceaccount", "root", check=False)
        subject = "--serviceaccount=team-a:root"
        user.kubectl(
            "create",
            "clusterrolebinding",
            "root",
            "--clusterrole=cluster-admin",
            subject,
            check=False,
        )
        return user.kubectl("create", "token", "root").strip()

    @staticmethod
    def ask(endpoint: str, token: str, path: str, method: str = "GET") -> tuple[int, str]:
        context = ssl._create_unverified_context()
        connection = http.client.HTTPSConnection(endpoint, timeout=10, context=context)
        try:
            connection.request(method, path, headers={"Authorization": f"Bearer {token}"})
            answer = connection.getresponse()
            return answer.status, answer.read().decode(errors="replace")
        finally:
            connection.close()

    @pytest.mark.parametrize(
        "path",
        [
            f"/containerLogs/{NEIGHBOUR_BELOW}/worker/main",
            f"/containerLogs/{BELOW}/worker/main",
            f"/containerLogs/team-a/..%2f..%2f{NEIGHBOUR_BELOW}%2fpods%2fworker/main",
            f"/containerLogs/team-a/../{NEIGHBOUR_BELOW}/worker/main",
            f"/containerLogs/{NEIGHBOUR}/worker/main",
            "/containerLogs/team-a/worker/..%2f..%2fmain",
            "/containerLogs/kube-system/etcd/etcd",
            f"/exec/{NEIGHBOUR_BELOW}/worker/main?command=id&output=1",
            f"/exec/team-a/..%2f..%2f{NEIGHBOUR_BELOW}%2fpods%2fworker/main?command=id&output=1",
            "/exec/team-a/worker/main%2f..%2f..?command=id&output=1",
            f"/attach/{NEIGHBOUR_BELOW}/worker/main?output=1",
            f"/portForward/{NEIGHBOUR_BELOW}/worker",
        ],
    )  # fmt: skip
    def test_a_path_to_pods_of_others_leads_nowhere(
        self, site: Site, tried: Tried, endpoint: str, path: str
    ) -> None:
        code, said = self.ask(endpoint, self.token(site, "demo"), path)
        assert code in (400, 404)
        own = {"demo--"} if BELOW in path else set()
        assert not [word for word in tried.secrets - own if word in said]

    def test_credentials_of_another_tenant_are_unknown(self, site: Site, endpoint: str) -> None:
        assert self.ask(endpoint, self.token(site, NEIGHBOUR), "/pods")[0] == 401
        assert self.ask(endpoint, self.token(site, "demo"), "/pods")[0] == 200


def test_sessions_above_the_limit_of_a_namespace_are_refused(site: Site, mallory: Mallory) -> None:
    if not site.real:
        pytest.skip(f"no real containers: {can_run_containers()[1]}")
    command = mallory.user.command("logs", "-f", "worker")
    followers = [subprocess.Popen(command, stdout=subprocess.PIPE) for _ in range(SESSIONS)]
    try:
        for each in followers:
            assert each.stdout is not None
            assert each.stdout.readline()  # It is open.
        assert "TooManyRequests" in mallory.kubectl("logs", "worker")
    finally:
        for each in followers:
            each.kill()
            each.communicate(timeout=10)


def test_room_is_what_pods_of_others_leave_and_what_has_ended_takes_none(site: Site) -> None:
    user, others = site.user("demo"), User(site.compute, "default")

    def room() -> float:
        text = user.get("node", SIMULATED)["status"]["allocatable"]["cpu"]
        return Quantity.parse(text).nanos / 1e9

    before = room()
    taker = _pod("taker", "-", resources={"requests": {"cpu": "5"}})
    del taker["spec"]["nodeName"]
    taker["spec"]["nodeSelector"] = {"example.com/kind": "simulated"}
    others.apply(taker)
    until(lambda: before - room() > 4.5, "what another takes is not offered")
    ended = '{"status": {"phase": "Succeeded"}}'
    others.kubectl("patch", "pod", "taker", "--subresource=status", "--type=merge", "-p", ended)
    until(lambda: before - room() < 0.5, "what it gave back is offered")
    assert others.get("pod", "taker")["status"]["phase"] == "Succeeded"


def test_a_flood_of_one_namespace_fills_its_own_share_and_delays_nobody(
    site: Site, mallory: Mallory
) -> None:
    flooding = site.user("demo", "default")
    spec = _pod("flood", SIMULATED)["spec"]
    made = deployment("flood", replicas=FLOOD, spec=spec)
    made["metadata"]["namespace"] = "default"
    flooding.apply(made)
    until(lambda: len(flooding.items("pods")) > PODS, "there are too many", timeout=60)
    began = time.monotonic()
    mallory.user.apply(_pod("in-time", SIMULATED))
    mallory.user.wait_phase("in-time", "Running")
    print(f"a pod of another namespace runs after {time.monotonic() - began:.1f} s")

    def settled() -> bool:
        below = User(site.compute, "demo--default").items("pods")
        reasons = [pod["status"].get("reason") for pod in flooding.items("pods")]
        # As many workers as there are do not see each other's.
        return len(below) >= PODS and reasons.count("TooManyPods") == FLOOD - len(below) > 0

    until(settled, "the share is full", timeout=60, every=1)
    flooding.kubectl("delete", "deployment", "flood", "--wait=false")
