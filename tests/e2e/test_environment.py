"""What containers see of themselves and around them: variables and files, as on any node."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.e2e.user import User, until
from tests.e2e.workloads import NAMESPACE, config_map, pod, secret

pytestmark = pytest.mark.containers


def _service(name: str, **spec: Any) -> Any:
    metadata = {"name": name, "namespace": NAMESPACE}
    spec = {"ports": [{"port": 5432, "name": "sql"}], **spec}
    return {"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": spec}


def _environment(user: User, name: str) -> dict[str, str]:
    lines = user.kubectl("exec", name, "--", "env").splitlines()
    return dict(line.split("=", 1) for line in lines)


def test_variables_have_the_values_that_a_node_gives_them(user: User, gpu: str) -> None:
    optional = {"name": "settings", "key": "absent", "optional": True}
    env = [
        {"name": "EARLY", "value": "$(DB_PORT)"},
        {"name": "OWN", "value": "mine"},
        {"name": "ALL", "value": "$(OWN) $(SETTING) $(S_KEY) $(DB_SERVICE_HOST)"},
        {"name": "ODD", "value": "$$(OWN) $(NOBODY) $x $"},
        {"name": "DB_SERVICE_PORT_SQL", "valueFrom": {"configMapKeyRef": optional}},
        {"name": "DB_SERVICE_PORT", "value": "from env"},
        {
            "name": "FROM_FILE",
            "valueFrom": {"fileKeyRef": {"volumeName": "v", "path": "e", "key": "WRITTEN"}},
        },
    ]
    sources = [
        {"configMapRef": {"name": "settings"}},
        {"prefix": "S_", "secretRef": {"name": "access"}},
        {"configMapRef": {"name": "nowhere", "optional": True}},
    ]
    writer = {
        "name": "writer",
        "image": "docker.io/library/busybox:1.36",
        "command": ["sh", "-c", "echo \"WRITTEN='yes'\" >/v/e; env >/v/env"],
        "volumeMounts": [{"name": "v", "mountPath": "/v"}],
    }
    user.apply(
        _service("db"),
        _service("headless", clusterIP="None"),
        config_map("settings", SETTING="a", DB_PORT="from config", KUBERNETES_PORT="mine too"),
        secret("access", KEY="b"),
        pod(
            "variables",
            cluster=gpu,
            command="while [ ! -e /tmp/end ]; do sleep 0.2; done",
            container={
                "env": env,
                "envFrom": sources,
                "volumeMounts": [{"name": "v", "mountPath": "/v"}],
            },
            initContainers=[writer],
            volumes=[{"name": "v", "emptyDir": {}}],
        ),
        pod("unlinked", cluster=gpu, enableServiceLinks=False),
    )
    address = user.get("service", "db")["spec"]["clusterIP"]
    user.wait_phase("variables", "Running")
    seen = _environment(user, "variables")
    expected = {
        "EARLY": "from config",  # an envFrom hides a service variable,
        "DB_PORT": "from config",
        "KUBERNETES_PORT": "mine too",
        "DB_SERVICE_PORT": "from env",  # and so does env,
        "DB_SERVICE_PORT_SQL": "5432",  # but not where it has no value
        "DB_SERVICE_HOST": address,
        "DB_PORT_5432_TCP": f"tcp://{address}:5432",
        "ALL": f"mine a b {address}",
        "ODD": "$(OWN) $(NOBODY) $x $",
        "FROM_FILE": "yes",
    }
    assert {name: seen.get(name) for name in expected} == expected
    assert not [name for name in seen if name.startswith("HEADLESS")]
    host = user.cluster.server.removeprefix("https://").partition(":")[0]
    assert seen["KUBERNETES_SERVICE_HOST"] == host
    assert f"DB_SERVICE_HOST={address}" in user.kubectl("exec", "variables", "--", "cat", "/v/env")

    user.wait_phase("unlinked", "Running")
    unlinked = _environment(user, "unlinked")
    assert unlinked["KUBERNETES_SERVICE_HOST"] == host
    assert not [name for name in unlinked if name.startswith("DB_")]

    user.kubectl("delete", "service", "db")
    user.apply(_service("cache"))
    user.kubectl("exec", "variables", "--", "touch", "/tmp/end")
    until(
        lambda: (
            "CACHE_SERVICE_HOST=" in user.kubectl("exec", "variables", "--", "env", check=False)
        ),
        "a restarted container sees the services of now",
    )
    again = _environment(user, "variables")
    assert "DB_SERVICE_HOST" not in again
    user.kubectl("delete", "service", "cache")


FIELDS = {
    "labels": "metadata.labels",
    "annotations": "metadata.annotations",
    "name": "metadata.name",
    "namespace": "metadata.namespace",
    "uid": "metadata.uid",
    "queue": "metadata.labels['kueue.x-k8s.io/queue-name']",
    "manager": "metadata.labels['app.kubernetes.io/managed-by']",
    "mark": "metadata.annotations['vnode.dev/uid']",
}


def _files(user: User) -> dict[str, str]:
    command = 'cd /info; for f in *; do echo "== $f"; cat $f; echo; done'
    text = user.kubectl("exec", "informed", "--", "sh", "-c", command)
    parts = [part.partition("\n") for part in text.split("== ")[1:]]
    return {name: body.removesuffix("\n") for name, _, body in parts}


def _lines(values: dict[str, str]) -> str:
    quoted = {
        k: v.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
        for k, v in values.items()
    }
    return "\n".join(f'{key}="{value}"' for key, value in sorted(quoted.items()))


def test_files_of_the_pods_own_fields_are_what_the_tenant_shows_and_follow_its_changes(
    user: User, gpu: str
) -> None:
    items = [{"path": n, "fieldRef": {"fieldPath": p}} for n, p in FIELDS.items()]
    limit = {"containerName": "main", "resource": "limits.cpu"}
    items.append({"path": "limit", "resourceFieldRef": limit})
    env = [
        {"name": n.upper(), "valueFrom": {"fieldRef": {"fieldPath": FIELDS[n]}}}
        for n in ("queue", "manager", "mark")
    ]
    informed = pod(
        "informed",
        cluster=gpu,
        labels={
            "app": "train",
            "app.kubernetes.io/managed-by": "Helm",
            "kueue.x-k8s.io/queue-name": "silver",
        },
        container={"env": env, "volumeMounts": [{"name": "info", "mountPath": "/info"}]},
        volumes=[{"name": "info", "downwardAPI": {"items": items}}],
    )
    informed["metadata"]["annotations"] = {"note": 'two\nlines "quoted"'}
    user.kubectl("apply", "--server-side", "-f", "-", input=json.dumps(informed))
    seen = user.wait_phase("informed", "Running")
    metadata = seen["metadata"]
    files = _files(user)
    assert files["labels"] == _lines(metadata["labels"])
    assert files["annotations"] == _lines(metadata["annotations"])
    assert (files["name"], files["namespace"]) == ("informed", NAMESPACE)
    assert files["uid"] == metadata["uid"]
    assert (files["queue"], files["manager"], files["mark"]) == ("silver", "Helm", "")
    assert int(files["limit"]) > 0, "the allocatable of the node, since no limit is set"
    variables = _environment(user, "informed")
    assert (variables["QUEUE"], variables["MANAGER"], variables["MARK"]) == ("silver", "Helm", "")

    user.kubectl("label", "pod", "informed", "kueue.x-k8s.io/queue-name=gold", "--overwrite")
    user.kubectl("annotate", "pod", "informed", "more=yes")
    until(
        lambda: (files := _files(user))["queue"] == "gold" and 'more="yes"' in files["annotations"],
        "the files follow",
        timeout=90,
    )
    changed = user.get("pod", "informed")["metadata"]
    files = _files(user)
    assert files["labels"] == _lines(changed["labels"])
    assert files["annotations"] == _lines(changed["annotations"])
