"""The whole pod: real operators' pods, determinism, and what must never appear below."""

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from federation.backends.kubernetes.translate.names import NamespaceMapping, NamespaceMode
from federation.backends.kubernetes.translate.pod import translate
from federation.backends.kubernetes.translate.policy import TranslationPolicy
from tests.unit.federation.translate.builders import (
    NAMESPACES,
    OWNER,
    POLICY,
    TOKEN_SECRET,
    make_container,
    make_pod,
    make_request,
    make_spec,
    own_part,
    translated,
)
from tests.unit.federation.translate.test_volumes import API_ACCESS
from vnode.backend import Rejected
from vnode.kube.types import Pod

DEFAULTED: dict[str, Any] = {
    "dnsPolicy": "ClusterFirst",
    "enableServiceLinks": True,
    "nodeName": "vnode-a",
    "preemptionPolicy": "PreemptLowerPriority",
    "priority": 0,
    "restartPolicy": "Never",
    "schedulerName": "default-scheduler",
    "securityContext": {},
    "serviceAccount": "default",
    "serviceAccountName": "default",
    "terminationGracePeriodSeconds": 30,
    "tolerations": [
        {
            "key": f"node.kubernetes.io/{key}",
            "operator": "Exists",
            "effect": "NoExecute",
            "tolerationSeconds": 300,
        }
        for key in ("not-ready", "unreachable")
    ],
}
"""What an API server adds to every pod."""
TOKEN_MOUNT = {
    "name": API_ACCESS["name"],
    "mountPath": "/var/run/secrets/kubernetes.io/serviceaccount",
    "readOnly": True,
}
RESOURCES = {"cpu": "8", "memory": "32Gi", "nvidia.com/gpu": "4"}


def operator_container(**fields: Any) -> dict[str, Any]:
    return make_container(
        imagePullPolicy="IfNotPresent",
        resources={"limits": RESOURCES, "requests": RESOURCES},
        terminationMessagePath="/dev/termination-log",
        terminationMessagePolicy="File",
        **fields,
    )


def mpi_launcher() -> Pod:
    """As mpi-operator makes it: SSH key with modes, hostfile from a ConfigMap."""
    container = operator_container(
        command=["mpirun", "-n", "16", "python", "train.py"],
        env=[{"name": "K_MPI_JOB_ROLE", "value": "launcher"}, {"name": "NVIDIA_VISIBLE_DEVICES"}],
        volumeMounts=[
            {"name": "ssh-auth", "mountPath": "/root/.ssh"},
            {"name": "mpi-job-config", "mountPath": "/etc/mpi"},
            TOKEN_MOUNT,
        ],
    )
    ssh = {
        "secretName": "horovod-ssh",
        "defaultMode": 0o600,
        "items": [{"key": "ssh-privatekey", "path": "id_rsa"}],
    }
    config = {
        "name": "horovod-config",
        "items": [{"key": "discover_hosts.sh", "path": "discover_hosts.sh", "mode": 0o555}],
    }
    spec = make_spec(
        **DEFAULTED,
        containers=[container],
        hostname="horovod-launcher",
        subdomain="horovod",
        dnsConfig={"searches": ["horovod.team-a.svc.cluster.local"]},
        volumes=[
            {"name": "ssh-auth", "secret": ssh},
            {"name": "mpi-job-config", "configMap": config},
            API_ACCESS,
        ],
    )
    return make_pod(spec, labels={"training.kubeflow.org/job-role": "launcher"})


def pytorch_worker() -> Pod:
    """As training-operator makes it: waits for the master by its short name."""
    init = operator_container(
        name="init-pytorch",
        command=["sh", "-c", "until nslookup resnet-master-0; do sleep 2; done"],
        volumeMounts=[TOKEN_MOUNT],
    )
    container = operator_container(
        command=["torchrun", "train.py"],
        env=[{"name": "MASTER_ADDR", "value": "resnet-master-0"}, {"name": "RANK", "value": "1"}],
        ports=[{"containerPort": 23456, "name": "pytorchjob-port", "protocol": "TCP"}],
        volumeMounts=[TOKEN_MOUNT],
    )
    spec = make_spec(
        **DEFAULTED, initContainers=[init], containers=[container], volumes=[API_ACCESS]
    )
    return make_pod(spec, labels={"training.kubeflow.org/replica-type": "worker"})


def volcano_worker() -> Pod:
    """As Volcano's job controller makes it: gang annotations, hosts from a ConfigMap."""
    reference = {"configMapKeyRef": {"name": "gangjob-svc", "key": "VC_WORKER_HOSTS"}}
    container = operator_container(
        env=[{"name": "VC_WORKER_HOSTS", "valueFrom": reference}],
        volumeMounts=[{"name": "gangjob-svc", "mountPath": "/etc/volcano"}, TOKEN_MOUNT],
    )
    volumes = [{"name": "gangjob-svc", "configMap": {"name": "gangjob-svc"}}, API_ACCESS]
    spec = {**make_spec(**DEFAULTED), "containers": [container], "volumes": volumes}
    spec |= {"schedulerName": "volcano", "hostname": "gangjob-worker-0", "subdomain": "gangjob"}
    return make_pod(
        spec,
        labels={"volcano.sh/job-name": "gangjob", "volcano.sh/queue-name": "q1"},
        annotations={"scheduling.k8s.io/group-name": "gangjob-1", "volcano.sh/task-index": "0"},
    )


OPERATOR_PODS = {"mpi": mpi_launcher, "pytorch": pytorch_worker, "volcano": volcano_worker}


@pytest.mark.parametrize("make", OPERATOR_PODS.values(), ids=OPERATOR_PODS)
def test_a_pod_of_a_real_operator_keeps_what_its_containers_need(make: Any) -> None:
    pod = make()
    tenant, below = msgspec.json.decode(pod.spec), translated(pod)["spec"]
    for field in ("containers", "initContainers"):
        assert [own_part(c) for c in below.get(field, ())] == tenant.get(field, [])
    for field in ("hostname", "subdomain", "restartPolicy", "dnsPolicy"):
        assert below.get(field) == tenant.get(field)
    assert below["volumes"][:-1] == tenant["volumes"][:-1]
    assert TOKEN_SECRET in str(below["volumes"][-1])
    assert set(below) <= {
        *("containers", "initContainers", "volumes", "restartPolicy", "securityContext"),
        *("hostname", "subdomain", "dnsPolicy", "dnsConfig", "terminationGracePeriodSeconds"),
        *("serviceAccountName", "automountServiceAccountToken", "enableServiceLinks"),
    }


def test_an_mpi_launcher_finds_its_workers_by_short_names() -> None:
    searches = translated(mpi_launcher())["spec"]["dnsConfig"]["searches"]
    assert searches == ["horovod.red--team-a.svc.cluster.local"]


def test_the_copy_has_the_tenants_name_in_the_mapped_namespace() -> None:
    below = translated(make_pod())
    assert (below["apiVersion"], below["kind"]) == ("v1", "Pod")
    assert below["metadata"]["name"] == "job-0"
    assert below["metadata"]["namespace"] == "red--team-a"


def test_a_namespace_that_is_not_mapped_is_refused() -> None:
    mapping = NamespaceMapping("red", NamespaceMode.MAP, {"other": "x"})
    with pytest.raises(Rejected) as refused:
        translated(make_pod(), namespaces=mapping)
    assert refused.value.field == "metadata.namespace"


words = st.text("abcxyz", min_size=1, max_size=5)
keys = st.builds(
    "{}{}".format,
    st.sampled_from(["", "vnode.dev/", "k8s.aliyun.com/", "x.fluid.io/", "example.com/"]),
    words,
)
metadata_maps = st.dictionaries(keys, words, max_size=4)
specs = st.fixed_dictionaries(
    {},
    optional={
        "nodeName": words,
        "serviceAccountName": words,
        "serviceAccount": words,
        "priority": st.integers(0, 10),
        "automountServiceAccountToken": st.booleans(),
        "enableServiceLinks": st.booleans(),
        "schedulerName": words,
        "nodeSelector": st.dictionaries(words, words, max_size=3),
        "tolerations": st.lists(
            st.fixed_dictionaries(
                {"key": words, "effect": st.sampled_from(["NoExecute", "NoSchedule", ""])}
            ),
            max_size=3,
        ),
        "hostname": words,
        "volumes": st.lists(st.just(API_ACCESS), max_size=1),
    },
)


@given(spec=specs, labels=metadata_maps, annotations=metadata_maps)
def test_identity_never_travels(
    spec: dict[str, Any], labels: dict[str, str], annotations: dict[str, str]
) -> None:
    pod = make_pod(make_spec(**spec), labels=labels, annotations=annotations)
    below = translated(pod, TranslationPolicy(passthrough=frozenset("abcxyz")))
    assert set(below["metadata"]) == {"name", "namespace", "labels", "annotations"}
    assert below["spec"]["serviceAccountName"] == "default"
    assert below["spec"]["automountServiceAccountToken"] is False
    assert {"nodeName", "serviceAccount", "priority"}.isdisjoint(below["spec"])
    assert all(t["effect"] != "NoExecute" for t in below["spec"].get("tolerations", ()))
    for field, tenant in (("labels", labels), ("annotations", annotations)):
        travelled = {key for key in below["metadata"][field] if key in tenant}
        assert travelled == {key for key in tenant if POLICY.travels(key)}


def test_a_request_is_not_changed_by_its_translation() -> None:
    request = make_request(mpi_launcher())
    before = msgspec.json.encode(request.pod)
    translate(request, owner=OWNER, namespaces=NAMESPACES, policy=POLICY)
    assert msgspec.json.encode(request.pod) == before
