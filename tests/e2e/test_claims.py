"""Claims whose data lies below: one volume, seen by pods of the tenant through the same name.

A tenant with an ordinary node, a compute cluster with real containers that shares claims, and one
that does not.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from tests.agents import AgentProcess, Federation, join
from tests.clusters import ClusterSpec, Harness, NodePool, can_run_containers
from tests.clusters.existing import requested
from tests.e2e import twins
from tests.e2e.user import BELOW, User, until
from tests.e2e.workloads import IMAGE, pod

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.apart

GPU, OTHER = "gpu", "other"
MOUNTED = {"volumeMounts": [{"name": "data", "mountPath": "/data"}]}


@pytest.fixture(scope="module")
def federation(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Federation]:
    """The tenant, joined to both clusters."""
    possible, why = can_run_containers()
    if requested() or not possible:
        pytest.skip(f"claims are tried on real nodes started here only: {why or 'clusters given'}")
    with Harness(state=tmp_path_factory.mktemp("claims") / "state") as harness:
        specs = [
            ClusterSpec("tenant", real_nodes=1),
            ClusterSpec(GPU, real_nodes=1),
            ClusterSpec(OTHER, kwok=NodePool(1)),
        ]
        clusters = twins.up(harness, specs)
        tenant = clusters.pop("tenant")
        directory = tmp_path_factory.mktemp("agent-claims")
        made = join(
            harness,
            tenant,
            clusters,
            directory=directory,
            overrides={GPU: {"policy": {"pvc": "shared"}}},
            claims=True,
        )
        with twins.beside(harness, made, directory):
            yield made


@pytest.fixture(scope="module", autouse=True)
def process(federation: Federation) -> Iterator[AgentProcess]:
    """The agent, with its virtual nodes Ready."""
    with AgentProcess(federation) as process:
        process.wait_ready()
        yield process


@pytest.fixture(scope="module")
def user(federation: Federation) -> User:
    """A user whose pods may go to virtual nodes."""
    user = User(federation.tenant)
    until(lambda: user.get("serviceaccount", "default"), "the namespace is usable")
    return user


@pytest.fixture(scope="module")
def below(federation: Federation) -> User:
    """The platform team in the compute namespace."""
    return User(federation.computes[GPU], BELOW)


def claim(name: str, storage_class: str = "vnode-shared", **spec: Any) -> Any:
    """A claim of a gibibyte for many."""
    size = {"requests": {"storage": "1Gi"}}
    full = {"storageClassName": storage_class, "accessModes": ["ReadWriteMany"], "resources": size}
    metadata = {"name": name}
    body = {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": metadata}
    return {**body, "spec": {**full, **spec}}


def volume(name: str, folder: Path, **fields: Any) -> Any:
    """A volume that the platform made by hand: a folder of the node."""
    spec = {
        "capacity": {"storage": "1Gi"},
        "accessModes": ["ReadWriteMany"],
        "storageClassName": "",
        "hostPath": {"path": str(folder), "type": "DirectoryOrCreate"},
    }
    metadata = {"name": name, **fields}
    return {"apiVersion": "v1", "kind": "PersistentVolume", "metadata": metadata, "spec": spec}


def using(name: str, claim_name: str, *, command: str, **spec: Any) -> Any:
    """A pod on the virtual node that mounts a claim at /data and runs to its end."""
    source = {"persistentVolumeClaim": {"claimName": claim_name}}
    tolerations = [{"key": "vnode.dev/provider", "operator": "Exists"}]
    return pod(
        name,
        cluster=GPU,
        command=command,
        restartPolicy="Never",
        tolerations=tolerations,
        volumes=[{"name": "data", **source}],
        container=MOUNTED,
        **spec,
    )


def share(below: User, name: str, folder: Path) -> None:
    """What the platform team prepares for a claim of that name."""
    below.apply(volume(f"{name}-data", folder), claim(name, "", volumeName=f"{name}-data"))
    until(lambda: phase(below, name) == "Bound", "the claim below is bound")


def phase(user: User, name: str) -> str:
    """Phase of a claim."""
    found = user.get("pvc", name)
    return str(found["status"].get("phase")) if found else ""


def placeholders(user: User) -> list[Any]:
    """Our volumes in the tenant."""
    return user.items("persistentvolumes", "app.kubernetes.io/managed-by=vnode")


def reason(user: User, name: str) -> str:
    """status.reason of a pod that has to be Pending."""
    status = user.get("pod", name)["status"]
    assert status["phase"] == "Pending"
    return str(status.get("reason", ""))


def test_a_file_is_written_by_one_pod_and_read_by_another(
    user: User, below: User, tmp_path: Path
) -> None:
    user.apply(claim("work"), using("writer", "work", command="echo hello > /data/file"))
    until(lambda: phase(user, "work") == "Bound", "the claim is bound")
    shown = user.kubectl("get", "pvc", "work", "--no-headers").split()
    (placeholder,) = placeholders(user)
    name = placeholder["metadata"]["name"]
    assert shown[1:6] == ["Bound", name, "1Gi", "RWX", "vnode-shared"]
    assert placeholder["spec"]["persistentVolumeReclaimPolicy"] == "Retain"
    assert placeholder["status"]["phase"] == "Bound"

    until(lambda: reason(user, "writer") == "PersistentVolumeClaimNotFound", "the pod says why")
    assert user.event_reasons("writer")["PersistentVolumeClaimNotFound"]
    share(below, "work", tmp_path / "work")
    user.wait_phase("writer", "Succeeded", timeout=120)
    user.apply(using("reader", "work", command="cat /data/file"))
    user.wait_phase("reader", "Succeeded")
    assert user.kubectl("logs", "reader") == "hello\n"
    assert (tmp_path / "work" / "file").read_text() == "hello\n"

    user.kubectl("delete", "pod", "writer", "reader")
    user.kubectl("delete", "pvc", "work")
    until(lambda: not placeholders(user), "the placeholder goes with the claim")
    assert (tmp_path / "work" / "file").exists()
    assert phase(below, "work") == "Bound"


def test_a_claim_that_is_pre_bound_to_a_volume_made_by_hand_is_used(
    user: User, below: User, tmp_path: Path
) -> None:
    share(below, "made", tmp_path / "below")
    (tmp_path / "below").mkdir(exist_ok=True)
    (tmp_path / "below" / "file").write_text("from below")
    user.apply(
        volume("made-by-hand", tmp_path / "above"), claim("made", "", volumeName="made-by-hand")
    )
    user.apply(using("by-hand", "made", command="cat /data/file"))
    user.wait_phase("by-hand", "Succeeded")
    assert user.kubectl("logs", "by-hand") == "from below"
    user.kubectl("delete", "pod", "by-hand")
    user.kubectl("delete", "pvc", "made")
    # A volume of somebody else is left alone.
    until(lambda: phase(user, "made") == "", "the claim is gone")
    assert user.get("persistentvolume", "made-by-hand")["status"]["phase"] == "Released"


def test_a_pod_with_a_volume_that_the_tenant_provisioned_stays_pending(
    user: User, tmp_path: Path
) -> None:
    provisioned = {"annotations": {"pv.kubernetes.io/provisioned-by": "csi.example.com"}}
    user.apply(
        volume("dynamic", tmp_path / "dynamic", **provisioned),
        claim("dynamic", "", volumeName="dynamic"),
        using("own-data", "dynamic", command="true"),
    )
    until(lambda: reason(user, "own-data") == "VolumeNotSupported", "the pod says why it waits")
    assert user.event_reasons("own-data")["VolumeNotSupported"]
    user.kubectl("delete", "pod", "own-data", "--timeout=20s")


def test_a_pod_with_a_generic_ephemeral_volume_stays_pending(user: User, below: User) -> None:
    template = {"spec": claim("none")["spec"]}
    manifest = using("scratch", "none", command="true")
    manifest["spec"]["volumes"] = [{"name": "data", "ephemeral": {"volumeClaimTemplate": template}}]
    user.apply(manifest)
    until(lambda: reason(user, "scratch") == "VolumeNotSupported", "the pod says why it waits")
    assert below.get("pod", "scratch") is None
    user.kubectl("delete", "pod", "scratch", "--timeout=20s")
    until(lambda: not placeholders(user), "nothing of its claim is left")


class TestOrdinaryNodes:
    """What a placeholder means to the tenant's own nodes, and to clusters without shared claims."""

    @pytest.fixture
    def bound(self, user: User) -> Iterator[str]:
        """A claim with a placeholder."""
        user.apply(claim("held"))
        until(lambda: phase(user, "held") == "Bound", "the claim is bound")
        yield "held"
        user.remove("pods", "--all")
        user.remove("pvc", "held")

    @staticmethod
    def plain(name: str, claim_name: str, **spec: Any) -> Any:
        container = {"name": "main", "image": IMAGE, "command": ["true"], **MOUNTED}
        source = {"persistentVolumeClaim": {"claimName": claim_name}}
        full = {"containers": [container], "volumes": [{"name": "data", **source}], **spec}
        return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": full}

    def test_the_scheduler_sends_such_pods_to_clusters_that_share_claims(
        self, user: User, bound: str
    ) -> None:
        user.apply(self.plain("anywhere", bound))
        until(lambda: "nodeName" in user.get("pod", "anywhere")["spec"], "it is scheduled")
        assert user.get("pod", "anywhere")["spec"]["nodeName"] == f"vnode-{GPU}"

    def test_forced_onto_an_ordinary_node_it_says_why_it_does_not_start(
        self, user: User, federation: Federation, bound: str
    ) -> None:
        (node,) = federation.tenant.nodes
        user.apply(self.plain("forced", bound, nodeName=node))

        def said() -> bool:
            about = "involvedObject.name=forced,reason=FailedMount"
            text = user.kubectl("get", "events", f"--field-selector={about}", "-o", "json")
            return any(
                "NodeAffinity check failed" in e["message"] for e in json.loads(text)["items"]
            )

        until(said, "the kubelet refuses to mount it")
        assert user.get("pod", "forced")["status"]["phase"] == "Pending"
        assert not user.items("volumeattachments")


def test_the_agent_writes_no_volumes_but_placeholders(
    federation: Federation, user: User, tmp_path: Path
) -> None:
    config = federation.directory / "tenant.kubeconfig"
    user.apply(volume("theirs", tmp_path / "theirs"))

    def agent(*args: str, **options: Any) -> str:
        return federation.tenant.kubectl(*args, kubeconfig=config, check=False, **options)

    body = json.dumps(volume("mine", tmp_path / "mine"))
    for answer in (agent("create", "-f", "-", input=body), agent("delete", "pv", "theirs")):
        assert "ValidatingAdmissionPolicy 'vnode-claims'" in answer
