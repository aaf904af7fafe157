"""Sidecars that a webhook of the compute cluster puts into pods, with real containers.

A compute cluster with a double of Fluid whose sidecar brings files by FUSE. The claim is shared,
and the platform's overlay asks for the injection, so all that the tenant knows is its own pod.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from tests.agents import AgentProcess, join
from tests.clusters import ClusterSpec, Harness, can_run_containers
from tests.clusters.errors import CommandError
from tests.clusters.existing import requested
from tests.e2e import twins
from tests.e2e.user import BELOW, User, until
from tests.e2e.workloads import IMAGE, pod
from tests.standin import FluidDouble, Store

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [pytest.mark.apart, pytest.mark.containers]

ACK = "ack"
OVERLAY = {
    "labels": {"serverless.fluid.io/inject": "true"},
    "annotations": {"default.fuse-sidecar.fluid.io/host-mount-path-mode": "random-suffix"},
}
POLICY = {"pvc": "shared", "overlay": OVERLAY, "sidecarPatience": "6s"}
PROFILE, CLAIM, DATASET = "starfs-profile", "starfs-pvc", "wrapped"
SIZE = {"accessModes": ["ReadWriteMany"], "resources": {"requests": {"storage": "1Gi"}}}


@dataclass(frozen=True)
class Site:
    """A tenant whose pods get sidecars."""

    user: User
    below: User
    fluid: FluidDouble


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """The clusters, the agent and the data."""
    possible, why = can_run_containers()
    if requested() or not possible:
        pytest.skip(f"tried on real nodes started here only: {why or 'clusters given'}")
    folder = tmp_path_factory.mktemp("sidecars")
    with Harness(state=folder / "state") as harness:
        specs = [ClusterSpec("tenant"), ClusterSpec(ACK, real_nodes=1)]
        clusters = twins.up(harness, specs)
        tenant = clusters.pop("tenant")
        federation = join(
            harness,
            tenant,
            clusters,
            directory=folder / "agent",
            overrides={ACK: {"policy": POLICY}},
            claims=True,
            privileged=True,
        )
        ack = clusters[ACK]
        user, below = User(tenant), User(ack, BELOW)
        with (
            Store(ack, folder / "store") as store,
            FluidDouble(harness, ack, mount_root=store.mount_root) as fluid,
            twins.beside(harness, federation, folder),
            AgentProcess(federation) as agent,
        ):
            store.write("team-a/hello", "hi there\n")
            fluid.apply(store.profile(PROFILE))
            share(below)
            agent.wait_ready()
            until(lambda: user.get("serviceaccount", "default"), "the namespace is usable")
            user.apply(_claim("vnode-shared"))
            yield Site(user, below, fluid)
            user.remove("pods", "--all")
            below.remove("thinruntime,dataset", DATASET)


def share(below: User) -> None:
    """What the platform prepares: volume, claim, Dataset and runtime."""
    source = {
        "driver": "csi.starfs.example.com",
        "volumeHandle": "starfs",
        "volumeAttributes": {"path": "team-a"},
    }
    volume = {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": "starfs"},
        "spec": {
            "accessModes": ["ReadWriteMany"],
            "capacity": {"storage": "1Gi"},
            "storageClassName": "",
            "csi": source,
        },
    }
    mount = {"mountPoint": f"pvc://{CLAIM}", "name": CLAIM}
    below.apply(
        volume,
        _claim("", volumeName="starfs"),
        _fluid("Dataset", {"mounts": [mount], "accessModes": ["ReadWriteMany"]}),
        _fluid("ThinRuntime", {"profileName": PROFILE}),
    )

    def bound() -> bool:
        dataset = below.get("dataset", DATASET) or {}
        return bool(dataset.get("status", {}).get("phase") == "Bound")

    until(bound, "the Dataset is bound")


def _claim(storage_class: str, **spec: Any) -> Any:
    body = {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": CLAIM}}
    return {**body, "spec": {"storageClassName": storage_class, **SIZE, **spec}}


def _fluid(kind: str, spec: Any) -> Any:
    api = "data.fluid.io/v1alpha1"
    return {"apiVersion": api, "kind": kind, "metadata": {"name": DATASET}, "spec": spec}


def reading(name: str, *, then: str = "true") -> Any:
    """A pod that reads the claim and does something."""
    return pod(
        name,
        cluster=ACK,
        restartPolicy="Never",
        terminationGracePeriodSeconds=2,
        command=f"cat /data/hello; {then}",
        volumes=[{"name": "data", "persistentVolumeClaim": {"claimName": CLAIM}}],
        container={"image": IMAGE, "volumeMounts": [{"name": "data", "mountPath": "/data"}]},
    )


def containers(found: Any) -> list[str]:
    """Names in all lists of a status."""
    lists = ("containerStatuses", "initContainerStatuses")
    return [c["name"] for kind in lists for c in found["status"].get(kind) or []]


def conditions(found: Any) -> dict[str, Any]:
    return {c["type"]: c for c in found["status"]["conditions"]}


def wait_over(site: Site, name: str) -> Any:
    """The copy, once it has ended."""

    def over() -> Any:
        found = site.below.get("pod", name)
        return found if found["status"]["phase"] in ("Succeeded", "Failed") else None

    return until(over, "the copy has ended, and is there")


@pytest.mark.parametrize(("native", "code"), [(False, 0), (False, 3), (True, 0)], ids=str)
def test_a_finished_pod_is_not_held_by_its_sidecar(site: Site, native: bool, code: int) -> None:
    site.fluid.webhook.native = native
    name = f"reader-{'native' if native else 'legacy'}-{code}"
    site.user.apply(reading(name, then=f"exit {code}"))
    phase = "Failed" if code else "Succeeded"
    ended = site.user.wait_phase(name, phase, timeout=90)
    assert containers(ended) == ["main"]
    assert ended["status"]["containerStatuses"][0]["state"]["terminated"]["exitCode"] == code
    assert "fluid" not in str(ended["status"])

    wait_over(site, name)
    # Afterwards as before: the end, the logs.
    after = site.user.get("pod", name)["status"]
    assert (after["phase"], after.get("reason")) == (phase, None)
    assert site.user.kubectl("logs", name) == "hi there\n"
    assert not [r for r in site.user.event_reasons(name) if r == "DeadlineExceeded"]
    site.user.kubectl("delete", "pod", name, "--timeout=20s")


def test_a_running_pod_shows_nothing_of_its_sidecar(site: Site) -> None:
    site.fluid.webhook.native = False
    site.user.apply(reading("runs", then="sleep 3600"))
    site.user.kubectl("wait", "--for=condition=Ready", "pod/runs", "--timeout=90s")
    there = [c["name"] for c in site.below.get("pod", "runs")["spec"]["containers"]]
    assert there == ["fluid-fuse-0", "main"]
    found = site.user.get("pod", "runs")
    assert containers(found) == ["main"]
    assert conditions(found)["ContainersReady"]["status"] == "True"
    assert site.user.kubectl("exec", "runs", "--", "cat", "/data/hello") == "hi there\n"
    for words in (["logs", "runs"], ["exec", "runs", "--", "id"]):
        with pytest.raises(CommandError, match="fluid-fuse-0"):
            site.user.kubectl(*words[:2], "-c", "fluid-fuse-0", *words[2:])
    events = site.user.kubectl("get", "events", "-o", "yaml")
    assert "fluid-fuse" not in events
    site.user.kubectl("delete", "pod", "runs", "--timeout=30s")


def test_what_fluid_ends_is_left_to_it(site: Site) -> None:
    site.fluid.webhook.native = False
    site.fluid.controllers.ends_sidecars = True
    site.user.apply(reading("ended"))
    try:
        site.user.wait_phase("ended", "Succeeded", timeout=90)
        copy = wait_over(site, "ended")
    finally:
        site.fluid.controllers.ends_sidecars = False
    assert "activeDeadlineSeconds" not in copy["spec"]
    assert site.user.kubectl("logs", "ended") == "hi there\n"
    site.user.kubectl("delete", "pod", "ended", "--timeout=20s")
