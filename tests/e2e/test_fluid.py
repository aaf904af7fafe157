"""One claim everywhere: mounted at home, and read through Fluid on nodes that play ECI.

A tenant whose claim is bound to a volume of the company's file system; a home cluster where the
platform mounts that file system; a cluster with a double of Fluid, to which claim and volume are
copied. All that the user changes is the node selector.
"""

from __future__ import annotations

import io
import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from rich.console import Console

from demo.burst import BurstStory
from tests.clusters import Harness, can_run_containers
from tests.clusters.existing import requested
from tests.e2e import twins
from tests.e2e.user import BELOW, User, until
from tests.e2e.workloads import IMAGE, pod
from tests.eci.joined import BURST
from tests.standin.data_site import (
    ACK,
    CLAIM,
    PROFILE,
    SIZE,
    DataSite,
    claim,
    data_site,
    source,
    volume,
)
from tests.standin.eci_nodes import LABELS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.agents import Federation
    from tests.standin import FluidDouble

pytestmark = [pytest.mark.apart, pytest.mark.containers]

MADE = "datasets,thinruntimes,dataloads,persistentvolumeclaims,secrets"


@dataclass(frozen=True)
class Site:
    """A tenant with a claim, and where its pods may read it."""

    made: DataSite
    user: User
    below: User

    @property
    def federation(self) -> Federation:
        """Tenant, home and ECI, with their agent."""
        return self.made.federation

    @property
    def fluid(self) -> FluidDouble:
        """Fluid in the cluster that plays ECI."""
        return self.made.fluid


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """The clusters, the agent and the data."""
    possible, why = can_run_containers()
    if requested() or not possible:
        pytest.skip(f"tried on real nodes started here only: {why or 'clusters given'}")
    folder = tmp_path_factory.mktemp("fluid")
    with (
        Harness(state=folder / "state") as harness,
        data_site(harness, folder, others=twins.specs()) as made,
        twins.beside(harness, made.federation, folder, claims=True),
    ):
        tenant, ack = made.federation.tenant, made.federation.computes[ACK]
        user, below = User(tenant), User(ack, BELOW)
        until(lambda: user.get("serviceaccount", "default"), "the namespace is usable")
        yield Site(made, user, below)
        user.remove("jobs,pods", "--all")


def _mounts(command: str, name: str = CLAIM) -> Any:
    """What a pod says that works with a claim."""
    return {
        "command": command,
        "volumes": [{"name": "data", "persistentVolumeClaim": {"claimName": name}}],
        "container": {"image": IMAGE, "volumeMounts": [{"name": "data", "mountPath": "/data"}]},
    }


def reading(name: str, command: str = "cat /data/hello") -> Any:
    """A pod on ECI that reads the claim."""
    return pod(name, cluster=ACK, restartPolicy="Never", **_mounts(command))


def reason(site: Site, name: str) -> str:
    """Why a pod waits, as its user sees it."""
    status = (site.user.get("pod", name) or {}).get("status", {})
    assert status.get("phase", "Pending") == "Pending"
    return str(status.get("reason", ""))


def left(site: Site) -> str:
    """What is below of the tenant's claims: names."""
    ours = "--selector=vnode.dev/tenant=demo"
    inside = site.below.kubectl("get", MADE, ours, "-o", "name")
    return inside + site.below.kubectl("get", "persistentvolumes", ours, "-o", "name")


def _is_bound(site: Site) -> bool:
    return bool((site.below.get("pvc", CLAIM) or {}).get("status", {}).get("phase") == "Bound")


def test_one_job_reads_its_claim_at_home_and_on_eci(site: Site) -> None:
    out = io.StringIO()
    BurstStory(Console(file=out), site.made).tell()
    assert "The same output, and nothing is left" in out.getvalue()
    told = json.loads(site.user.kubectl("get", "events", "-o", "json"))["items"]
    assert "WarmUpFailed" in {event["reason"] for event in told}  # Fluid cannot, and says so.
    assert site.user.get("pvc", CLAIM)["status"]["phase"] == "Bound"


def test_pods_of_one_node_have_mounts_of_their_own(site: Site) -> None:
    for name in ("first", "second"):
        site.user.apply(reading(name, "until test -f /tmp/go; do sleep 0.2; done; cat /data/hello"))
        site.user.kubectl("wait", "--for=condition=Ready", f"pod/{name}", "--timeout=90s")
    for name in ("first", "second"):  # When the first ends, its sidecar unmounts.
        site.user.kubectl("exec", name, "--", "touch", "/tmp/go")
        site.user.wait_phase(name, "Succeeded", timeout=60)
        assert site.user.kubectl("logs", name) == "hi there\n"
        site.user.kubectl("delete", "pod", name, "--timeout=30s")
        site.below.wait_gone("pod", name)


def test_a_tenants_script_is_not_run_by_the_sidecar(site: Site) -> None:
    # Fluid's webhook takes a ConfigMap of this name for its own, if there is one.
    script = "starfs-default-check-mount"
    site.below.kubectl("delete", "configmap", script, "--ignore-not-found")
    site.user.kubectl("create", "configmap", script, "--from-literal=check-mount.sh=exit 1")
    body = reading("scripted", "cat /script/check-mount.sh /data/hello")
    body["spec"]["volumes"].append({"name": "script", "configMap": {"name": script}})
    mount = {"name": "script", "mountPath": "/script"}
    body["spec"]["containers"][0]["volumeMounts"].append(mount)
    site.user.apply(body)
    site.user.wait_phase("scripted", "Succeeded", timeout=90)
    assert site.user.kubectl("logs", "scripted") == "exit 1hi there\n"
    assert "mountinfo" in site.below.get("configmap", script)["data"]["check-mount.sh"]
    site.user.kubectl("delete", "pod", "scripted", "--timeout=30s")
    site.user.kubectl("delete", "configmap", script)


def test_a_pod_does_not_start_without_its_sidecar_and_says_why(site: Site) -> None:
    site.fluid.webhook.fails_open = True
    try:
        site.user.apply(reading("bare"))
        until(lambda: reason(site, "bare") == "FluidSidecarMissing", "the pod says why", timeout=60)
        assert site.user.event_reasons("bare")["FluidSidecarMissing"]
        assert not site.below.event_reasons("bare")  # No scheduler and no kubelet had it.
    finally:
        site.fluid.webhook.fails_open = False
    site.user.wait_phase("bare", "Succeeded", timeout=120)
    assert site.user.kubectl("logs", "bare") == "hi there\n"
    site.user.kubectl("delete", "pod", "bare", "--timeout=30s")


def test_a_dataset_that_is_not_bound_is_why_a_pod_waits(site: Site) -> None:
    until(lambda: left(site) == "", "nothing is left of the claim", timeout=60)
    site.fluid.controllers.binds = False
    try:
        site.user.apply(reading("early"))
        until(lambda: site.below.get("pvc", CLAIM), "the claim is copied")
        # Binding of a claim that names its volume waits for a round of up to 15 s.
        until(lambda: _is_bound(site), "the copied claim is bound", timeout=4)
        until(lambda: reason(site, "early") == "DatasetNotReady", "the pod says why")
        told = json.loads(site.user.kubectl("get", "events", "-o", "json"))["items"]
        said = [e["message"] for e in told if e["involvedObject"]["name"] == "early"]
        assert BELOW not in str(said)
        assert site.below.get("pod", "early") is None
    finally:
        site.fluid.controllers.binds = True
    site.user.wait_phase("early", "Succeeded", timeout=120)
    site.user.kubectl("delete", "pod", "early", "--timeout=30s")


FORGED = {
    "another-tenants": source(volumeHandle="starfs/other/a"),
    "climbing": source(volumeAttributes={"path": "team-a/../other"}),
    "rootless": source(volumeAttributes={}),
}


def test_volumes_that_a_tenant_made_up_reach_nothing_by_either_route(site: Site) -> None:
    profile = {"fluid.io/runtime-profile": PROFILE}
    routes = {ACK: "on-nodes", BURST: "in-account"}
    pods = [f"{name}-{where}" for name in FORGED for where in routes.values()]
    for name, where in FORGED.items():
        site.user.apply(volume(where, name), claim(name, **profile))
        for place, suffix in routes.items():
            body = pod(f"{name}-{suffix}", cluster=place, **_mounts("cat /data/hello", name))
            site.user.apply(body)
    refused = dict.fromkeys(pods, "VolumeNotSupported")
    until(lambda: {name: reason(site, name) for name in pods} == refused, "all pods say why")
    assert not [name for name in pods if site.below.get("pod", name)]
    assert not site.made.account.state()["groups"]
    for kind, names in (("pod", pods), ("pvc", FORGED), ("pv", FORGED)):
        site.user.kubectl("delete", kind, *names, "--now")


def test_a_claim_that_is_deleted_under_a_pod_goes_with_it(site: Site) -> None:
    site.user.apply(reading("user", "until test -f /tmp/go; do sleep 0.2; done; cat /data/hello"))
    site.user.kubectl("wait", "--for=condition=Ready", "pod/user", "--timeout=120s")
    site.user.kubectl("delete", "pvc", CLAIM, "--wait=false")
    site.user.kubectl("exec", "user", "--", "touch", "/tmp/go")
    site.user.wait_phase("user", "Succeeded", timeout=60)
    assert site.user.kubectl("logs", "user") == "hi there\n"
    site.user.kubectl("delete", "pod", "user", "--timeout=30s")
    site.user.wait_gone("pvc", CLAIM)
    until(lambda: left(site) == "", "nothing is left of the claim", timeout=60)
    # The data is the company's: its volume stays, with all that is in it.
    assert site.user.get("persistentvolume", CLAIM)["status"]["phase"] == "Released"


MARKS = {"vnode.dev/tenant": "demo", "app.kubernetes.io/managed-by": "vnode"}
OWN = "vnode-0123456789abcdef"
FENCE = "ValidatingAdmissionPolicy 'vnode-demo-fluid"


def _marked(kind: str, spec: Any, name: str = OWN, **metadata: Any) -> Any:
    api = "v1" if kind.startswith("Persistent") else "data.fluid.io/v1alpha1"
    marks = {"name": name, "labels": MARKS, **metadata}
    return {"apiVersion": api, "kind": kind, "metadata": marks, "spec": spec}


def _own_volume(where: Any, *, user: Any = None, **spec: Any) -> Any:
    owner = user or {"namespace": BELOW, "name": CLAIM, "uid": "u-1"}
    body = volume(where)["spec"]
    body |= {"claimRef": owner, "persistentVolumeReclaimPolicy": "Retain", **spec}
    return _marked("PersistentVolume", body)


def _reaching(selector: Any) -> Any:
    body = pod("reaching", cluster=ACK)
    body["metadata"] = {"name": "reaching"}
    body["spec"]["nodeSelector"] = selector
    body["spec"]["containers"][0]["securityContext"] = {"privileged": True}
    return body


def _selecting(**labels: str) -> Any:
    return {"storageClassName": "", **SIZE, "selector": {"matchLabels": labels}}


_FREE = _selecting(**{"vnode.dev/volume": OWN})
_MOUNT = {"mountPoint": f"pvc://{CLAIM}", "name": "data"}
ALLOWED = {
    "volume": _own_volume(source()),
    "claim": _marked("PersistentVolumeClaim", _FREE, name="free"),
    "dataset": _marked("Dataset", {"mounts": [_MOUNT], "accessModes": ["ReadWriteMany"]}),
    "runtime": _marked("ThinRuntime", {"profileName": PROFILE}),
    "load": _marked("DataLoad", {"dataset": {"name": OWN, "namespace": BELOW}, "target": []}),
    "pod": _reaching({"type": LABELS["type"]}),
}
REFUSED = {
    "a folder of the node": _own_volume({"hostPath": {"path": "/"}}),
    "another driver": _own_volume(source(driver="csi.other.example.com")),
    "another tenant's data": _own_volume(source(volumeHandle="starfs/other/a")),
    "a path that climbs": _own_volume(source(volumeAttributes={"path": "team-a/../other"})),
    "the root, by leaving the path out": _own_volume(source(volumeAttributes={})),
    "a path with a command": _own_volume(source(volumeAttributes={"path": "team-$(id)"})),
    "a path with an option": _own_volume(source(volumeAttributes={"path": "team-a,suid"})),
    "a file system": _own_volume(source(fsType="starfs")),
    "an attribute that nobody allowed": _own_volume(source(volumeAttributes={"root": "/"})),
    "mount options": _own_volume(source(), mountOptions=["suid"]),
    "a volume that is deleted below": _own_volume(source(), persistentVolumeReclaimPolicy="Delete"),
    "a volume for a stranger": _own_volume(
        source(), user={"namespace": "default", "name": CLAIM, "uid": "u-1"}
    ),
    "a stranger's Secret": _own_volume(
        source(nodePublishSecretRef={"name": "a", "namespace": "kube-system"})
    ),
    "a Secret for another step": _own_volume(
        source(nodeStageSecretRef={"name": "a", "namespace": BELOW})
    ),
    "a claim that is provisioned": _marked(
        "PersistentVolumeClaim", {**SIZE, "storageClassName": "fast"}
    ),
    "a claim for a stranger's volume": _marked(
        "PersistentVolumeClaim", {**_FREE, "volumeName": "theirs"}
    ),
    "a claim for strangers' volumes": _marked("PersistentVolumeClaim", _selecting(pool="theirs")),
    "a claim for any volume": _marked("PersistentVolumeClaim", {"storageClassName": "", **SIZE}),
    "a claim with a profile of others": _marked(
        "PersistentVolumeClaim",
        _FREE,
        labels={**MARKS, "fluid.io/runtime-profile": "theirs"},
    ),
    "an option of a mount": _marked("Dataset", {"mounts": [{**_MOUNT, "options": {"a": "b"}}]}),
    "a stranger's Dataset": _marked(
        "Dataset", {"mounts": [{**_MOUNT, "mountPoint": "dataset://other/data"}]}
    ),
    "shared options": _marked("Dataset", {"mounts": [_MOUNT], "sharedOptions": {"a": "b"}}),
    "another image": _marked(
        "ThinRuntime", {"profileName": PROFILE, "fuse": {"image": "evil", "imageTag": "1"}}
    ),
    "another profile": _marked("ThinRuntime", {"profileName": "theirs"}),
    "the node's processes": _marked(
        "ThinRuntime", {"profileName": PROFILE}, annotations={"runtime.fluid.io/hostpid": "true"}
    ),
    "no marks": _marked("ThinRuntime", {"profileName": PROFILE}, labels={}),
    "pods of a load": _marked(
        "DataLoad",
        {"dataset": {"name": OWN, "namespace": BELOW}, "podMetadata": {"labels": {"a": "b"}}},
    ),
    "a load that climbs": _marked(
        "DataLoad", {"dataset": {"name": OWN, "namespace": BELOW}, "target": [{"path": "/../a"}]}
    ),
    "a load with a command": _marked(
        "DataLoad", {"dataset": {"name": OWN, "namespace": BELOW}, "target": [{"path": "/$(id)"}]}
    ),
    "a load elsewhere": _marked("DataLoad", {"dataset": {"name": OWN, "namespace": "other"}}),
    "a privileged pod elsewhere": _reaching({}),
}


def test_the_agent_can_make_for_fluid_what_it_needs_and_nothing_else(site: Site) -> None:
    credential = site.federation.directory / f"{ACK}.kubeconfig"
    ack = site.federation.computes[ACK]

    def ask(body: Any) -> str:
        place = [] if body["kind"] == "PersistentVolume" else [f"--namespace={BELOW}"]
        words = ["create", *place, "--dry-run=server", "--validate=false", "-f", "-"]
        return ack.kubectl(*words, input=json.dumps(body), kubeconfig=credential, check=False)

    answers = {name: ask(body) for name, body in ALLOWED.items()}
    assert [name for name, said in answers.items() if "created" not in said] == [], answers
    answers = {name: ask(body) for name, body in REFUSED.items()}
    assert [name for name, said in answers.items() if FENCE not in said] == [], answers


def test_vnode_check_tries_whether_the_agent_is_fenced(site: Site) -> None:
    def found() -> list[Any]:
        program = str(Path(sys.executable).with_name("vnode"))
        words = [program, "check", "--config", str(site.federation.config), "-o", "json"]
        done = subprocess.run(words, capture_output=True, text=True, timeout=90, check=False)
        said = json.loads(done.stdout)["checks"]
        return [each["result"] for each in said if each["check"] == "Fluid"]

    assert found() == ["OK", "OK", "OK"]
    ack = site.federation.computes[ACK]
    kind = "validatingadmissionpolicybinding"
    names = ("vnode-demo-fluid", "vnode-demo-fluid-pods")
    there = [json.loads(ack.kubectl("get", kind, name, "-o", "json")) for name in names]
    ack.kubectl("delete", kind, *names)
    try:
        until(lambda: found() == ["WRONG"] * 3, "the check sees it", timeout=30)
    finally:
        for body in there:
            body["metadata"] = {key: body["metadata"][key] for key in ("name", "labels")}
            ack.kubectl("apply", "--server-side", "-f", "-", input=json.dumps(body))
    until(lambda: found() == ["OK"] * 3, "the agent is fenced again", timeout=30)


def test_the_agent_deletes_only_what_it_made(site: Site) -> None:
    credential = site.federation.directory / f"{ACK}.kubeconfig"
    ack = site.federation.computes[ACK]
    site.below.apply(volume(source(), "theirs"), claim("theirs"))
    for words in (["pv", "theirs"], ["pvc", "theirs", f"--namespace={BELOW}"]):
        said = ack.kubectl("delete", *words, "--wait=false", kubeconfig=credential, check=False)
        assert FENCE in said, said
    site.below.kubectl("delete", "pvc", "theirs")
    site.below.kubectl("delete", "pv", "theirs")
