"""API servers that refuse, lose answers, forget, go back in time, or do not know us any more.

A tenant and a compute cluster of simulated nodes. The agent reaches both through links of ours
(`tests.chaos.link`), so that faults hit the agent alone and the users here see what they see.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import shutil
import threading
import urllib.request
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from tests.agents import AgentProcess, Federation, join
from tests.agents.join import COMPUTE_ACCOUNT, SYSTEM_NAMESPACE
from tests.chaos.link import Link, Weather
from tests.chaos.site import link_to, redirect
from tests.clusters import ClusterSpec, Harness, NodePool
from tests.e2e import twins
from tests.e2e.user import BELOW, NOTHING, User, create_answers, ours_below, until
from tests.e2e.workloads import config_map, deployment, pod, pod_spec, secret

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.clusters import Cluster

pytestmark = pytest.mark.apart

COMPUTE = "gpu-a"
PODS = 4
RECOVERY = 90.0
"""Seconds; a busy machine starts an API server in ten."""
UNLUCKY = 180.0
"""Seconds: eight calls of a pod in a row may fail where every other one does, and the waits between
them add up to two minutes (`PodController`)."""
_STORE = ("etcd", "kube-apiserver")
_WRITERS = ("kube-controller-manager", "kube-scheduler", "kwok")
REFUSED = ("ComputeError", "ComputeForbidden")
"""When its copy is made, and when the compute namespace is looked at."""
DEAD_END = "https://127.0.0.1:9/hook"


@dataclass(frozen=True)
class Site:
    """An agent behind links."""

    federation: Federation
    agent: AgentProcess
    links: dict[str, Link]
    loop: asyncio.AbstractEventLoop

    @property
    def user(self) -> User:
        return User(self.federation.tenant)

    @property
    def compute(self) -> Cluster:
        return self.federation.computes[COMPUTE]

    @property
    def below(self) -> User:
        return User(self.compute, BELOW)

    @contextlib.contextmanager
    def suffering(self, weather: Weather) -> Iterator[None]:
        """Both links are broken for the length of the block."""
        broken = [link.suffering(weather) for link in self.links.values()]
        for each in broken:
            self._run(each.__aenter__())
        try:
            yield
        finally:
            for each in broken:
                self._run(each.__aexit__(None, None, None))

    def _run(self, what: Any) -> None:
        asyncio.run_coroutine_threadsafe(what, self.loop).result(30)

    def created(self, prefix: str) -> list[int]:
        """How often each pod of that prefix was created below."""
        answers = create_answers(self.compute)
        return [codes.count(201) for name, codes in answers.items() if name.startswith(prefix)]


@pytest.fixture(scope="module")
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    """Where links run: pytest's own loop stands still while a test waits."""
    made = asyncio.new_event_loop()
    thread = threading.Thread(target=made.run_forever)
    thread.start()
    yield made
    made.call_soon_threadsafe(made.stop)
    thread.join()
    made.close()


@pytest.fixture(scope="module")
def standing(
    loop: asyncio.AbstractEventLoop, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Site]:
    with Harness(progress=lambda _: None) as harness:
        specs = [ClusterSpec("tenant"), ClusterSpec(COMPUTE, kwok=NodePool(2))]
        clusters = twins.up(harness, specs)
        tenant = clusters.pop("tenant")
        directory = tmp_path_factory.mktemp("faults")
        joined = join(harness, tenant, clusters, directory=directory)
        links = {}
        for name, cluster in {"tenant": tenant, **clusters}.items():
            links[name] = link_to(cluster, harness.free_port(), seed=1)
            asyncio.run_coroutine_threadsafe(links[name].start(), loop).result(10)
            redirect(directory / f"{name}.kubeconfig", links[name].port)
        with twins.beside(harness, joined, directory), AgentProcess(joined) as agent:
            agent.wait_ready()
            yield Site(joined, agent, links, loop)
        for link in links.values():
            asyncio.run_coroutine_threadsafe(link.stop(), loop).result(10)


@pytest.fixture
def site(standing: Site) -> Iterator[Site]:
    """The site, empty again afterwards."""
    yield standing
    user = standing.user
    user.kubectl("delete", "deployments", "--all", "--wait=false")
    user.kubectl("delete", "pods", "--all", "--wait=false", "--grace-period=1")
    until(lambda: not user.items("pods"), "the namespace is empty again", timeout=RECOVERY)


def _submit(site: Site, name: str) -> None:
    source = [{"configMapRef": {"name": name}}, {"secretRef": {"name": name}}]
    spec = pod_spec(cluster=COMPUTE, container={"envFrom": source})
    site.user.apply(
        config_map(name, MODE="train"),
        secret(name, PASSWORD="hunter2"),
        deployment(name, replicas=PODS, spec=spec),
    )


def _ready(site: Site, name: str) -> bool:
    status = site.user.get("deployment", name)["status"]
    return bool(status.get("readyReplicas", 0) == PODS)


@pytest.mark.timeout(2 * UNLUCKY + RECOVERY, func_only=True)
@pytest.mark.parametrize(
    ("name", "weather"),
    [
        ("busy", Weather(refuse=429)),
        ("broken", Weather(refuse=500)),
        ("unheard", Weather(lose=True)),
    ],
)
def test_pods_come_and_go_once_although_every_other_call_fails(
    site: Site, name: str, weather: Weather
) -> None:
    with site.suffering(weather):
        _submit(site, name)
        until(lambda: _ready(site, name), f"{PODS} pods are Ready", timeout=UNLUCKY)
        site.user.kubectl("delete", "deployment", name, "--wait=false")
        until(lambda: not site.user.items("pods"), "all pods are gone", timeout=UNLUCKY)
    until(lambda: ours_below(site.compute) == NOTHING, "nothing is left below", timeout=RECOVERY)
    created = site.created(f"{name}-")
    assert created == [1] * PODS


def test_what_was_missed_is_mirrored_when_the_server_has_forgotten_our_version(site: Site) -> None:
    names = ("stays", "ends", "goes")
    site.user.apply(*(pod(n, cluster=COMPUTE, restartPolicy="Never") for n in names))
    for name in names:
        site.user.wait_phase(name, "Running")
    gone = site.agent.log.read_text().count("too old")
    with site.suffering(Weather(cut=True)):
        site.below.kubectl("delete", "pod", "ends", "--grace-period=1")
        site.user.kubectl("delete", "pod", "goes", "--wait=false")
        for cluster in (site.federation.tenant, site.compute):
            # The watch cache begins again, at a version behind which etcd knows nothing.
            cluster.stop("kube-apiserver", hard=True)
            _compact(cluster)
            cluster.start("kube-apiserver")
    site.user.wait_phase("ends", "Failed", timeout=RECOVERY)
    site.user.wait_gone("pod", "goes", timeout=RECOVERY)
    assert site.user.get("pod", "stays")["status"]["phase"] == "Running"
    assert site.agent.log.read_text().count("too old") > gone
    assert [site.created(name) for name in names] == [[1], [1], [1]]


def _compact(cluster: Cluster) -> None:
    """Etcd forgets what was before now."""
    assert cluster.control_plane is not None
    etcd = cluster.control_plane.etcd_url
    status = _post(f"{etcd}/v3/maintenance/status", {})
    _post(f"{etcd}/v3/kv/compaction", {"revision": status["header"]["revision"], "physical": True})


def _post(url: str, body: object) -> Any:
    request = urllib.request.Request(url, json.dumps(body).encode(), method="POST")
    with urllib.request.urlopen(request, timeout=10) as answer:
        return json.load(answer)


@pytest.mark.parametrize("writers", ["early", "late"])
def test_a_compute_cluster_restored_from_a_backup_is_taken_as_it_is(
    site: Site, tmp_path: Path, writers: str
) -> None:
    """Early writers may move versions past the agent's before it asks again, late ones cannot."""
    old, removed, young = (f"{name}-{writers}" for name in ("old", "removed", "young"))
    site.user.apply(*(pod(n, cluster=COMPUTE) for n in (old, removed)))
    for name in (old, removed):
        site.user.wait_phase(name, "Running")
    before = site.user.get("pod", old)
    with _without_store(site.compute) as data:
        shutil.copytree(data, tmp_path / "backup")
    _start_writers(site.compute)
    site.user.apply(pod(young, cluster=COMPUTE))
    site.user.wait_phase(young, "Running", timeout=RECOVERY)
    site.user.kubectl("delete", "pod", removed, f"--timeout={RECOVERY:g}s", timeout=RECOVERY + 10)
    with _without_store(site.compute) as data:
        shutil.rmtree(data)
        shutil.copytree(tmp_path / "backup", data)
    if writers == "early":
        _start_writers(site.compute)
    # Nobody can say what became of it, so it is never made again.
    lost = site.user.wait_phase(young, "Failed", timeout=RECOVERY)
    assert lost["status"]["reason"] == "Evicted"
    if writers == "late":
        _start_writers(site.compute)
    until(
        lambda: [p["metadata"]["name"] for p in site.below.items("pods")] == [old],
        "the copy without tenant pod goes again",
        timeout=RECOVERY,
    )
    after = site.user.get("pod", old)
    assert after["metadata"]["uid"] == before["metadata"]["uid"]
    assert after["status"]["phase"] == "Running"
    assert [site.created(name) for name in (old, removed, young)] == [[1], [1], [1]]


@contextlib.contextmanager
def _without_store(cluster: Cluster) -> Iterator[Path]:
    """Its etcd's folder, while nothing of it runs; then etcd and API server run again.

    What is restored from a backup has to be started anew, as etcd's guide says: Kubernetes' own
    controllers would watch from a version that is yet to come, and see nothing.
    """
    assert cluster.control_plane is not None
    for component in reversed(_STORE + _WRITERS):
        cluster.stop(component, hard=True)
    yield cluster.control_plane.folder / "etcd"
    for component in _STORE:
        cluster.start(component)


def _start_writers(cluster: Cluster) -> None:
    for component in _WRITERS:
        cluster.start(component)


def test_a_webhook_below_that_does_not_answer_is_the_waiting_reason(site: Site) -> None:
    hook = {
        "name": "gate.example.com",
        "clientConfig": {"url": DEAD_END},
        "rules": [
            {
                "apiGroups": [""],
                "apiVersions": ["v1"],
                "operations": ["CREATE"],
                "resources": ["pods"],
            }
        ],
        "admissionReviewVersions": ["v1"],
        "sideEffects": "None",
        "failurePolicy": "Fail",
    }
    made = {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingWebhookConfiguration",
        "metadata": {"name": "gate"},
        "webhooks": [hook],
    }
    site.compute.kubectl("create", "-f", "-", input=json.dumps(made))
    try:
        until(lambda: _is_refused(site), "the webhook is in force")
        site.user.apply(pod("held", cluster=COMPUTE))

        def told() -> Any:
            seen = site.user.get("pod", "held")
            return seen if seen["status"].get("reason") == "ComputeError" else None

        seen = until(told, "the pod says what it waits for")
        assert seen["status"]["phase"] == "Pending"
        assert BELOW not in str(seen["status"])
    finally:
        site.compute.kubectl("delete", "validatingwebhookconfiguration", "gate")
    site.user.wait_phase("held", "Running", timeout=RECOVERY)
    assert site.created("held") == [1]


def _is_refused(site: Site) -> bool:
    answer = site.below.kubectl(
        "run", "probe", "--image=none", "--dry-run=server", "--overrides={}", check=False
    )
    return "failed calling webhook" in answer


def test_a_credential_that_is_not_valid_any_more_is_renewed_from_its_file(site: Site) -> None:
    site.user.apply(pod("early", cluster=COMPUTE))
    site.user.wait_phase("early", "Running")
    account = ("serviceaccount", COMPUTE_ACCOUNT, f"--namespace={SYSTEM_NAMESPACE}")
    # Tokens are bound to the account's UID: the old one is worth nothing from now on.
    site.compute.kubectl("delete", *account)
    site.compute.kubectl("create", *account)
    # API servers remember for some seconds that a token was good.
    until(lambda: "why=Unauthorized" in site.agent.log.read_text(), "the agent is refused")
    site.user.apply(pod("late", cluster=COMPUTE))
    until(
        lambda: site.user.get("pod", "late")["status"].get("reason") in REFUSED,
        "the pod says that the agent is refused",
        timeout=RECOVERY,
    )
    kubeconfig = site.federation.directory / f"{COMPUTE}.kubeconfig"
    config = yaml.safe_load(kubeconfig.read_text())
    token = site.compute.kubectl("create", "token", *account[1:], "--duration=1h").strip()
    config["users"][0]["user"]["token"] = token
    kubeconfig.write_text(yaml.safe_dump(config))
    site.user.wait_phase("late", "Running", timeout=RECOVERY)
    assert site.user.get("pod", "early")["status"]["phase"] == "Running"
    assert [site.created(name) for name in ("early", "late")] == [[1], [1]]
    assert token not in site.agent.log.read_text()
