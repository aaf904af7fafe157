"""ConfigMaps, Secrets and tokens: what of them travels, in which form, and how it follows."""

from __future__ import annotations

import base64
import json
import time
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from tests.e2e.user import BELOW, User, until
from tests.e2e.workloads import NAMESPACE, config_map, pod, secret

if TYPE_CHECKING:
    from tests.agents import Federation

SIMULATED = "kwok-a"
MEBIBYTE = 1 << 20


@pytest.fixture
def below(federation: Federation) -> User:
    """An onlooker in the namespace behind team-a, on simulated nodes."""
    return User(federation.computes[SIMULATED], BELOW)


def _pod_with(name: str, *volumes: dict[str, Any], cluster: str = SIMULATED, **spec: Any) -> Any:
    named = [{"name": f"v{index}", **volume} for index, volume in enumerate(volumes)]
    mounts = [{"name": volume["name"], "mountPath": f"/{volume['name']}"} for volume in named]
    return pod(name, cluster=cluster, container={"volumeMounts": mounts}, volumes=named, **spec)


def _create(user: User, *objects: Any) -> None:
    """Create without kubectl's copy of the manifest in an annotation, which has a limit."""
    manifest = {"apiVersion": "v1", "kind": "List", "items": list(objects)}
    user.kubectl("create", "-f", "-", input=json.dumps(manifest))


def _says(user: User, name: str, reason: str) -> bool:
    """Whether a pod has an event of that reason."""
    return user.event_reasons(name)[reason] > 0


def test_objects_of_the_largest_size_arrive_unchanged(user: User, below: User) -> None:
    text = "0123456789abcdef" * (MEBIBYTE // 16)
    big_map = config_map("big-map", file=text)
    big_secret = secret("big-secret", file=text)
    binary = base64.b64encode(bytes(range(256)) * 4).decode()
    mixed = {**config_map("mixed", text="a"), "binaryData": {"blob": binary}}
    _create(user, big_map, big_secret, mixed)
    _create(
        user,
        _pod_with(
            "large",
            {"configMap": {"name": "big-map"}},
            {"secret": {"secretName": "big-secret"}},
            {"configMap": {"name": "mixed"}},
        ),
    )
    user.wait_phase("large", "Running")
    assert below.get("configmap", "big-map")["data"] == {"file": text}
    assert base64.b64decode(below.get("secret", "big-secret")["data"]["file"]) == text.encode()
    assert below.get("configmap", "mixed")["binaryData"] == {"blob": binary}


def test_secrets_keep_their_type_unless_it_would_make_them_a_credential_below(
    user: User, below: User
) -> None:
    registry = base64.b64encode(b'{"auths":{"registry.example":{"auth":"eDp5"}}}').decode()
    basic = {"username": "u", "password": "p"}
    types = {
        "registry": ("kubernetes.io/dockerconfigjson", {".dockerconfigjson": registry}),
        "basic": ("kubernetes.io/basic-auth", {k: _encoded(v) for k, v in basic.items()}),
        "own": ("example.com/own", {}),
        "joins-nodes": ("bootstrap.kubernetes.io/token", {"token-id": _encoded("abcdef")}),
        "of-an-account": ("kubernetes.io/service-account-token", {}),
    }
    secrets = []
    for name, (kind, data) in types.items():
        made = {**secret(name), "type": kind, "data": data}
        del made["stringData"]
        made["metadata"]["annotations"] = {"kubernetes.io/service-account.name": "default"}
        secrets.append(made)
    _create(user, *secrets)
    volumes = [{"secret": {"secretName": name}} for name in types]
    _create(user, _pod_with("typed", *volumes, imagePullSecrets=[{"name": "registry"}]))
    user.wait_phase("typed", "Running")
    copies = {name: below.get("secret", name) for name in types}
    assert {name: copy["type"] for name, copy in copies.items()} == {
        **{name: kind for name, (kind, _) in types.items()},
        "joins-nodes": "Opaque",
        "of-an-account": "Opaque",
    }
    assert "token" in copies["of-an-account"]["data"]
    assert below.get("pod", "typed")["spec"]["imagePullSecrets"] == [{"name": "registry"}]


def _encoded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def test_an_immutable_object_that_was_made_again_replaces_its_copy(user: User, below: User) -> None:
    fixed = {**config_map("fixed", value="one"), "immutable": True}
    _create(user, fixed, _pod_with("first", {"configMap": {"name": "fixed"}}))
    user.wait_phase("first", "Running")
    before = below.get("configmap", "fixed")
    assert before["immutable"] is True
    user.kubectl("delete", "configmap", "fixed")
    assert below.get("configmap", "fixed") is not None, "a pod that runs may start again"
    again = {**config_map("fixed", value="two"), "immutable": True}
    _create(user, again, _pod_with("second", {"configMap": {"name": "fixed"}}))
    user.wait_phase("second", "Running")
    after = below.get("configmap", "fixed")
    assert after["data"] == {"value": "two"}
    assert after["metadata"]["uid"] != before["metadata"]["uid"]
    assert user.get("pod", "first")["status"]["phase"] == "Running"


def test_what_is_missing_is_named_and_what_comes_later_lets_the_pod_go(
    user: User, below: User
) -> None:
    items = [{"key": "absent", "path": "x"}]
    _create(
        user,
        config_map("half", present="1"),
        _pod_with("no-map", {"configMap": {"name": "late"}}),
        _pod_with("no-key", {"configMap": {"name": "half", "items": items}}),
        _pod_with("no-secret", {"secret": {"secretName": "late"}}),
        _pod_with("content", {"configMap": {"name": "late-too", "optional": True}}),
    )
    reasons = {
        "no-map": "MandatoryConfigMapNotFound",
        "no-key": "MandatoryConfigMapKeyNotFound",
        "no-secret": "MandatorySecretNotFound",
    }
    for name, reason in reasons.items():
        until(partial(_says, user, name, reason), f"{name} says {reason}")
        assert user.get("pod", name)["status"]["reason"] == reason
        assert below.get("pod", name) is None
    user.wait_phase("content", "Running")
    assert _says(user, "content", "OptionalConfigMapNotFound")
    user.apply(
        config_map("late", a="1"),
        config_map("half", present="1", absent="2"),
        secret("late", a="1"),
        config_map("late-too", a="1"),
    )
    for name in reasons:
        user.wait_phase(name, "Running")
    until(lambda: below.get("configmap", "late-too"), "the optional one came too")


STRANGE = {
    "scheduling.k8s.io/group-name": "somebody-elses-gang",
    "volcano.sh/queue-name": "gold",
    "kueue.x-k8s.io/queue-name": "gold",
    "alibabacloud.com/eci": "true",
    "k8s.aliyun.com/eci-instance-type": "ecs.gn7",
    "serverless.fluid.io/inject": "true",
    "sidecar.istio.io/inject": "true",
    "k8s.v1.cni.cncf.io/networks": "host",
    "vnode.dev/uid": "11111111-2222-3333-4444-555555555555",
    "vnode.dev/tenant": "other",
}


def test_labels_and_annotations_that_command_the_compute_side_do_not_arrive(
    user: User, below: User
) -> None:
    commanding = pod("commanding", cluster=SIMULATED, labels={**STRANGE, "app": "mine"})
    commanding["metadata"]["annotations"] = {**STRANGE, "note": "mine"}
    _create(user, commanding)
    uid = user.wait_phase("commanding", "Running")["metadata"]["uid"]
    metadata = below.get("pod", "commanding")["metadata"]
    labels, annotations = metadata["labels"], metadata["annotations"]
    ours = {"vnode.dev/uid": uid, "vnode.dev/tenant": "demo"}
    assert {k: v for k, v in labels.items() if k in STRANGE} == {"vnode.dev/tenant": "demo"}
    assert {k: v for k, v in annotations.items() if k in STRANGE and k not in ours} == {}
    assert annotations["vnode.dev/uid"] == uid
    assert (labels["app"], annotations["note"]) == ("mine", "mine")


def test_nothing_travels_of_a_pod_that_may_not_run(user: User, below: User) -> None:
    private = {"secret": {"secretName": "private"}}
    _create(
        user,
        secret("private", key="s3cr3t"),
        _pod_with("on-the-host", private, hostNetwork=True),
        _pod_with("stored", private, {"csi": {"driver": "csi.example.com"}}),
    )
    until(lambda: _says(user, "on-the-host", "PodRejected"), "the first is refused")
    until(lambda: _says(user, "stored", "VolumeNotSupported"), "the second waits")
    status = user.get("pod", "stored")["status"]
    assert (status["phase"], status["reason"]) == ("Pending", "VolumeNotSupported")
    assert "spec.volumes[1].csi" in status["message"]
    user.kubectl("label", "secret", "private", "changed=yes")
    time.sleep(1)
    assert below.get("secret", "private") is None


@pytest.mark.containers
def test_pods_have_every_token_that_they_ask_for_and_hear_when_there_is_none(
    user: User, gpu: str
) -> None:
    sources = [
        {"serviceAccountToken": {"path": "api"}},
        {"serviceAccountToken": {"path": "vault", "audience": "vault", "expirationSeconds": 900}},
        {
            "downwardAPI": {
                "items": [{"path": "ns", "fieldRef": {"fieldPath": "metadata.namespace"}}]
            }
        },
    ]
    account = {
        "apiVersion": "v1",
        "kind": "ServiceAccount",
        "metadata": {"name": "fleeting", "namespace": NAMESPACE},
    }
    user.apply(
        account,
        _pod_with(
            "holder",
            {"projected": {"sources": sources, "defaultMode": 0o440}},
            cluster=gpu,
            automountServiceAccountToken=False,
            serviceAccountName="fleeting",
            securityContext={"runAsUser": 1000, "fsGroup": 2000},
        ),
        # Waits for its ConfigMap, until the account is gone.
        _pod_with(
            "orphan", {"configMap": {"name": "later"}}, cluster=gpu, serviceAccountName="fleeting"
        ),
    )
    user.wait_phase("holder", "Running")
    claims = {}
    for path in ("api", "vault"):
        token = user.kubectl("exec", "holder", "--", "cat", f"/v0/{path}").split(".")[1]
        claims[path] = json.loads(base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)))
    assert claims["vault"]["aud"] == ["vault"]
    assert claims["vault"]["exp"] - claims["vault"]["iat"] == pytest.approx(900, abs=60)
    assert claims["api"]["sub"] == f"system:serviceaccount:{NAMESPACE}:fleeting"
    assert user.kubectl("exec", "holder", "--", "cat", "/v0/ns") == NAMESPACE
    modes = user.kubectl("exec", "holder", "--", "stat", "-Lc", "%a %g", "/v0/api", "/v0/ns")
    assert modes.split("\n")[:2] == ["440 2000", "440 2000"]
    mounts = user.kubectl("exec", "holder", "--", "cat", "/proc/mounts")
    assert "/var/run/secrets/kubernetes.io" not in mounts

    until(lambda: _says(user, "orphan", "MandatoryConfigMapNotFound"), "it waits")
    user.kubectl("delete", "serviceaccount", "fleeting")
    user.apply(config_map("later", a="1"))
    until(lambda: _says(user, "orphan", "TokenRequestFailed"), "it says what is missing")
    user.apply(account)
    user.wait_phase("orphan", "Running", timeout=90)


@pytest.mark.containers
def test_changes_of_optional_and_needed_objects_reach_files_of_running_pods(
    user: User, gpu: str, federation: Federation
) -> None:
    user.apply(
        config_map("needed", value="one"),
        secret("going", value="here"),
        _pod_with(
            "reader",
            {"configMap": {"name": "needed", "defaultMode": 0o444}},
            {"secret": {"secretName": "going", "optional": True}},
            {"configMap": {"name": "coming", "optional": True}},
            {"projected": {"sources": [{"configMap": {"name": "needed"}}]}},
            cluster=gpu,
        ),
    )
    user.wait_phase("reader", "Running")

    def files() -> list[str]:
        command = "cat /v0/value; echo; cat /v1/value; echo; cat /v2/value; echo; cat /v3/value"
        text = user.kubectl("exec", "reader", "--", "sh", "-c", f"{{ {command}; }} 2>/dev/null")
        return text.split("\n")

    assert files() == ["one", "here", "", "one"]
    user.apply(config_map("needed", value="two"), config_map("coming", value="new"))
    user.kubectl("delete", "secret", "going")
    below = User(federation.computes[gpu], BELOW)
    until(
        lambda: below.get("configmap", "coming") and not below.get("secret", "going"),
        "the copies have changed",
    )
    # Without it the kubelet looks again after a minute, here as everywhere.
    user.kubectl("annotate", "pod", "reader", "look=again")
    until(lambda: files() == ["two", "", "new", "two"], "all of it is there", timeout=150)
