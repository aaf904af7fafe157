"""What a user does with pods, on real containers through a virtual node, with plain kubectl.

kubectl's own verbs, each by all ways into a container, are in test_kubectl.py.
"""

import base64
import json
import time

import pytest

from tests.agents import Federation
from tests.e2e.user import BELOW, NOTHING, User, ours_below, until
from tests.e2e.workloads import IMAGE, config_map, deployment, job, pod, pod_spec, secret

pytestmark = pytest.mark.containers


def test_a_gpu_job_with_configmap_and_secret_runs_to_completion(user: User, gpu: str) -> None:
    user.apply(
        config_map("settings", epochs="3"),
        secret("access", key="s3cr3t"),
        job(
            "train",
            cluster=gpu,
            completions=2,
            command="for e in $(seq $EPOCHS); do echo epoch $e; sleep 1; done; cat /secrets/key",
            container={
                "env": [
                    {
                        "name": "EPOCHS",
                        "valueFrom": {"configMapKeyRef": {"name": "settings", "key": "epochs"}},
                    }
                ],
                "resources": {"limits": {"cpu": "100m", "memory": "32Mi", "nvidia.com/gpu": "2"}},
                "volumeMounts": [{"name": "access", "mountPath": "/secrets"}],
            },
            volumes=[{"name": "access", "secret": {"secretName": "access"}}],
        ),
    )
    user.kubectl("wait", "--for=condition=Complete", "job/train", "--timeout=60s")
    name = user.items("pods", "job-name=train")[0]["metadata"]["name"]
    assert user.kubectl("logs", name) == "epoch 1\nepoch 2\nepoch 3\ns3cr3t"
    assert {"Scheduled", "Pulled", "Created", "Started"} <= set(user.event_reasons(name))


def test_the_pod_knows_its_own_name_namespace_node_and_service_account(
    user: User, gpu: str
) -> None:
    fields = {
        "NAME": "metadata.name",
        "NAMESPACE": "metadata.namespace",
        "UID": "metadata.uid",
        "NODE": "spec.nodeName",
        "ACCOUNT": "spec.serviceAccountName",
    }
    env = [{"name": n, "valueFrom": {"fieldRef": {"fieldPath": p}}} for n, p in fields.items()]
    user.apply(pod("who", cluster=gpu, container={"env": env}))
    seen = user.wait_phase("who", "Running")
    shown = user.kubectl("exec", "who", "--", "env").splitlines()
    expected = {
        "NAME=who",
        "NAMESPACE=team-a",
        f"UID={seen['metadata']['uid']}",
        f"NODE=vnode-{gpu}",
        "ACCOUNT=default",
    }
    assert expected <= set(shown)
    assert BELOW not in json.dumps(seen)


def test_a_log_is_followed_through_its_rotation_to_its_end(user: User, gpu: str) -> None:
    """Kubelets look every 10 s and rotate what is larger than 10 MiB.

    The log is a little larger than that, so that it is rotated while its writer sleeps.
    """
    line, count = "x" * 100, 72_500
    write = f"i=0; while [ $i -lt {count} ]; do echo $i {line}; i=$((i+1)); done"
    init = {"name": "first", "image": IMAGE, "command": ["echo", "prepared"]}
    user.apply(
        pod(
            "writer",
            cluster=gpu,
            command=f"{write}; sleep 22; echo last",
            restartPolicy="Never",
            initContainers=[init],
        )
    )
    user.wait_phase("writer", "Running")
    followed = user.kubectl("logs", "--follow", "writer", timeout=120).splitlines()
    assert followed == [*(f"{i} {line}" for i in range(count)), "last"]
    assert user.kubectl("logs", "writer").splitlines()[0] != f"0 {line}", "it was rotated"
    assert user.kubectl("logs", "writer", "-c", "first") == "prepared\n"
    everything = user.kubectl("logs", "writer", "--all-containers", "--tail=1", "--prefix")
    # kubectl asks for containers in no order.
    assert sorted(everything.splitlines()) == [
        "[pod/writer/first] prepared",
        "[pod/writer/main] last",
    ]


def test_what_is_not_there_is_named_without_names_of_the_compute_side(user: User, gpu: str) -> None:
    user.apply(pod("shell", cluster=gpu))
    user.wait_phase("shell", "Running")
    missing = user.kubectl("logs", "shell", "-c", "nobody", check=False)
    assert "nobody" in missing
    assert BELOW not in missing
    failed = user.kubectl("exec", "shell", "--", "no-such-command", check=False)
    assert "no-such-command" in failed
    assert BELOW not in failed


def test_in_pod_clients_talk_to_the_tenant_with_the_pods_own_identity(user: User, gpu: str) -> None:
    user.apply(pod("client", cluster=gpu))
    seen = user.wait_phase("client", "Running")
    mount = "/var/run/secrets/kubernetes.io/serviceaccount"
    token = user.kubectl("exec", "client", "--", "cat", f"{mount}/token")
    payload = token.split(".")[1]
    claims = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    bound = claims["kubernetes.io"]
    assert bound["pod"] == {"name": "client", "uid": seen["metadata"]["uid"]}
    assert bound["namespace"] == "team-a"
    assert claims["exp"] - claims["iat"] == pytest.approx(12 * 3600, abs=60)
    assert user.kubectl("exec", "client", "--", "cat", f"{mount}/namespace") == "team-a"
    ca = user.kubectl("exec", "client", "--", "cat", f"{mount}/ca.crt")
    assert ca.strip() == user.cluster.ca_file.read_text().strip()
    env = dict(
        line.split("=", 1)
        for line in user.kubectl("exec", "client", "--", "env").splitlines()
        if line.startswith("KUBERNETES_")
    )
    host, port = env["KUBERNETES_SERVICE_HOST"], env["KUBERNETES_SERVICE_PORT"]
    assert user.cluster.server == f"https://{host}:{port}"


def test_deletion_lets_the_container_end_by_itself_first(
    user: User, gpu: str, federation: Federation
) -> None:
    command = "trap 'echo ending; sleep 3; exit 0' TERM; while :; do sleep 0.1; done"
    user.apply(pod("polite", cluster=gpu, command=command, terminationGracePeriodSeconds=20))
    user.wait_phase("polite", "Running")
    start = time.monotonic()
    user.kubectl("delete", "pod", "polite", "--wait=false")
    below = User(federation.computes[gpu], BELOW)
    until(lambda: below.get("pod", "polite")["metadata"].get("deletionTimestamp"), "it is told")
    assert user.get("pod", "polite") is not None, "the tenant pod went before its container"
    user.wait_gone("pod", "polite")
    assert 3 <= time.monotonic() - start < 15
    assert below.get("pod", "polite") is None


def test_a_copy_removed_by_others_becomes_evicted_and_is_not_made_again(
    user: User, gpu: str, federation: Federation
) -> None:
    user.apply(pod("victim", cluster=gpu, restartPolicy="Never"))
    user.wait_phase("victim", "Running")
    below = User(federation.computes[gpu], BELOW)
    below.kubectl("delete", "pod", "victim", "--grace-period=1")
    seen = user.wait_phase("victim", "Failed")
    assert seen["status"]["reason"] == "Evicted"
    conditions = {c["type"]: c["status"] for c in seen["status"]["conditions"]}
    assert conditions["DisruptionTarget"] == "True"
    assert conditions["Ready"] == "False"
    assert seen["status"]["containerStatuses"][0]["state"]["terminated"]["exitCode"] == 137
    assert below.get("pod", "victim") is None


def test_the_last_words_of_a_copy_that_others_removed_can_be_read(
    user: User, gpu: str, federation: Federation
) -> None:
    command = "trap 'echo saving; sleep 1; exit 1' TERM; echo working; while :; do sleep 0.1; done"
    user.apply(
        pod(
            "preempted",
            cluster=gpu,
            command=command,
            restartPolicy="Never",
            terminationGracePeriodSeconds=10,
        )
    )
    user.wait_phase("preempted", "Running")
    below = User(federation.computes[gpu], BELOW)
    below.kubectl("delete", "pod", "preempted")
    user.wait_phase("preempted", "Failed")
    assert below.get("pod", "preempted") is None
    until(lambda: user.kubectl("logs", "preempted", check=False) == "working\nsaving\n", "words")
    assert user.kubectl("logs", "-f", "--tail=1", "preempted") == "saving\n"


def test_a_failing_container_is_restarted_and_counted(user: User, gpu: str) -> None:
    user.apply(pod("flaky", cluster=gpu, command="echo bad; exit 3"))

    def restarted() -> object:
        states = (user.get("pod", "flaky") or {}).get("status", {}).get("containerStatuses", [{}])
        return states[0].get("restartCount", 0) >= 1 and states[0]

    state = until(restarted, "it was restarted")
    last = state["lastState"]["terminated"]
    assert last["exitCode"] == 3
    assert user.kubectl("logs", "--previous", "flaky") == "bad\n"


def test_a_deployment_rolls_over_and_leaves_nothing_below(
    user: User, gpu: str, federation: Federation
) -> None:
    user.apply(deployment("app", replicas=2, spec=pod_spec(cluster=gpu)))
    user.kubectl("rollout", "status", "deployment/app", "--timeout=60s")
    changed = pod_spec(cluster=gpu, container={"env": [{"name": "VERSION", "value": "2"}]})
    user.apply(deployment("app", replicas=2, spec=changed))
    user.kubectl("rollout", "status", "deployment/app", "--timeout=60s")
    user.kubectl("delete", "deployment", "app")
    until(lambda: not user.items("pods"), "all pods are gone")
    compute = federation.computes[gpu]
    until(lambda: ours_below(compute) == NOTHING, "nothing of ours is left below")
