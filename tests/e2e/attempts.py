"""What a malicious user of one tenant tries: pods that must be refused, or come down harmless.

In: nothing. Out: tables of pods as users write them, by the name of the attempt, which is the pod's
name too. `REFUSED` have no copy, and an event says why; `HARMLESS` run, and their copies have
nothing of what they asked for. `FORBIDDEN` are stopped by the tenant's own API server already.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tests.e2e.workloads import IMAGE

if TYPE_CHECKING:
    from collections.abc import Callable

NEIGHBOUR = "demo-b"
"""The other tenant, whose name begins like ours."""
ZONE = "example.com/zone"
"""The only key that the policy lets compute-scheduling use."""
MARK = {"vnode.dev/tests": "attempt"}
SCHEDULING = "vnode.dev/compute-scheduling"


@dataclass(frozen=True)
class Refused:
    """A pod that must not come down."""

    word: str
    """Stands in what its user is told."""
    spec: dict[str, Any] = field(default_factory=dict)
    container: dict[str, Any] = field(default_factory=dict)
    annotations: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Harmless:
    """A pod that comes down without something."""

    good: Callable[[Any], bool]
    """Whether a copy is as it should be."""
    spec: dict[str, Any] = field(default_factory=dict)
    metadata: dict[str, Any] = field(default_factory=dict)


def _context(**fields: Any) -> dict[str, Any]:
    return {"securityContext": fields}


def _volume(kind: str, **fields: Any) -> dict[str, Any]:
    return {"volumes": [{"name": "v", kind: fields}]}


def _projected(kind: str, **fields: Any) -> dict[str, Any]:
    return _volume("projected", sources=[{kind: fields}])


def _asking(**fields: Any) -> dict[str, str]:
    return {SCHEDULING: json.dumps(fields)}


def _near(**term: Any) -> dict[str, Any]:
    selector = {"labelSelector": {"matchLabels": {"app": "x"}}, "topologyKey": ZONE}
    return {"podAffinity": {_REQUIRED: [{**selector, **term}]}}


def _secret_variable(name: str) -> dict[str, Any]:
    return {"env": [{"name": "A", "valueFrom": {"secretKeyRef": {"name": name, "key": "k"}}}]}


_REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"
_NAMED_NODE = {"nodeSelectorTerms": [{"matchFields": [
    {"key": "metadata.name", "operator": "In", "values": ["node-1"]}]}]}  # fmt: skip
_ELSEWHERE = f"../../../{NEIGHBOUR}--team-a/secrets/access"

REFUSED: dict[str, Refused] = {
    "host-path": Refused("hostPath", _volume("hostPath", path="/")),
    "host-network": Refused("hostNetwork", {"hostNetwork": True}),
    "host-pid": Refused("hostPID", {"hostPID": True}),
    "host-ipc": Refused("hostIPC", {"hostIPC": True}),
    "host-port": Refused(
        "hostPort", container={"ports": [{"containerPort": 80, "hostPort": 10250}]}
    ),
    "host-users": Refused("hostUsers", {"hostUsers": False}),
    "privileged": Refused("privileged", container=_context(privileged=True)),
    "capability": Refused("capabilities", container=_context(capabilities={"add": ["SYS_ADMIN"]})),
    "unmasked-proc": Refused("procMount", {"hostUsers": False}, _context(procMount="Unmasked")),
    "sysctl": Refused(
        "sysctls", _context(sysctls=[{"name": "kernel.shm_rmid_forced", "value": "1"}])
    ),
    "no-seccomp": Refused("seccompProfile", _context(seccompProfile={"type": "Unconfined"})),
    "no-seccomp-in-container": Refused(
        "seccompProfile", container=_context(seccompProfile={"type": "Unconfined"})
    ),
    "no-apparmor": Refused("appArmorProfile", _context(appArmorProfile={"type": "Unconfined"})),
    "selinux-type": Refused("seLinuxOptions", _context(seLinuxOptions={"type": "spc_t"})),
    "selinux-role": Refused("seLinuxOptions", _context(seLinuxOptions={"role": "sysadm_r"})),
    "host-process": Refused(
        "hostNetwork",  # which it needs
        {
            "os": {"name": "windows"},
            "hostNetwork": True,
            **_context(windowsOptions={"hostProcess": True, "runAsUserName": "SYSTEM"}),
        },
    ),
    "runtime-class": Refused("runtimeClassName", {"runtimeClassName": "unconfined"}),
    "probe-of-the-node": Refused(
        "livenessProbe",
        container={"livenessProbe": {"httpGet": {"host": "169.254.169.254", "port": 80}}},
    ),
    "hook-of-the-node": Refused(
        "lifecycle",
        container={"lifecycle": {"preStop": {"tcpSocket": {"host": "127.0.0.1", "port": 10250}}}},
    ),
    "resource-claim": Refused(
        "resourceClaims", {"resourceClaims": [{"name": "c", "resourceClaimName": "gpu"}]}
    ),
    # Volumes that reach past the namespace.
    "claim-of-others": Refused(
        "PersistentVolumeClaim", _volume("persistentVolumeClaim", claimName="data")
    ),
    "ephemeral-claim": Refused(
        "ephemeral",
        _volume(
            "ephemeral",
            volumeClaimTemplate={
                "spec": {
                    "accessModes": ["ReadWriteOnce"],
                    "resources": {"requests": {"storage": "1Gi"}},
                }
            },
        ),
    ),
    "csi": Refused("csi", _volume("csi", driver="secrets-store.csi.k8s.io")),
    "nfs": Refused("nfs", _volume("nfs", server="10.0.0.1", path="/")),
    "iscsi": Refused(
        "iscsi",
        _volume("iscsi", targetPortal="10.0.0.1:3260", iqn="iqn.2001-04.com.example:a", lun=0),
    ),
    "flex-volume": Refused("flexVolume", _volume("flexVolume", driver="example/any")),
    "fibre-channel": Refused("fc", _volume("fc", targetWWNs=["500a0982991b8dc5"], lun=0)),
    "cephfs": Refused("cephfs", _volume("cephfs", monitors=["10.0.0.1:6789"])),
    "rbd": Refused("rbd", _volume("rbd", monitors=["10.0.0.1:6789"], image="a")),
    "glusterfs": Refused("glusterfs", _volume("glusterfs", endpoints="a", path="b")),
    "aws-disk": Refused("awsElasticBlockStore", _volume("awsElasticBlockStore", volumeID="vol-1")),
    "azure-file": Refused("azureFile", _volume("azureFile", secretName="a", shareName="b")),
    "git-repo": Refused("gitRepo", _volume("gitRepo", repository="https://example.com/a.git")),
    # Names that lead elsewhere.
    "secret-path": Refused("not found", _volume("secret", secretName=_ELSEWHERE)),
    "secret-dots": Refused("not found", _volume("secret", secretName="..")),
    "secret-subresource": Refused("not found", _volume("secret", secretName="access/status")),
    "secret-escaped": Refused("not found", _volume("secret", secretName="..%2f..%2fkube-system")),
    "config-map-path": Refused("not found", _volume("configMap", name="../secrets/access")),
    "secret-of-others": Refused("not found", container=_secret_variable("theirs")),
    "token-audience": Refused(
        "audience", _projected("serviceAccountToken", path="t", audience="a" * 300)
    ),
    # What speaks to the compute scheduler.
    "asks-node-name": Refused(SCHEDULING, annotations=_asking(nodeName="node-1")),
    "asks-hostname": Refused(
        "by name", annotations=_asking(nodeSelector={"kubernetes.io/hostname": "node-1"})
    ),
    "asks-node-field": Refused(
        "by name",
        annotations=_asking(affinity={"nodeAffinity": {_REQUIRED: _NAMED_NODE}}),
    ),
    "asks-pool-of-others": Refused(
        "not allowed", annotations=_asking(nodeSelector={"org": NEIGHBOUR})
    ),
    "asks-topology": Refused(
        "not allowed",
        annotations=_asking(affinity=_near(topologyKey="kubernetes.io/hostname")),
    ),
    "asks-all-tolerated": Refused(
        "not allowed", annotations=_asking(tolerations=[{"operator": "Exists"}])
    ),
    "asks-control-plane": Refused(
        "not allowed",
        annotations=_asking(
            tolerations=[{"key": "node-role.kubernetes.io/control-plane", "operator": "Exists"}]
        ),
    ),
    "asks-no-execute": Refused(
        "tolerated",
        annotations=_asking(
            tolerations=[{"key": ZONE, "operator": "Exists", "effect": "NoExecute"}]
        ),
    ),
    "asks-all-namespaces": Refused(
        "namespaceSelector", annotations=_asking(affinity=_near(namespaceSelector={}))
    ),
    "asks-beside-others": Refused(
        "not forwarded",
        annotations=_asking(affinity=_near(namespaces=[f"{NEIGHBOUR}--team-a"])),
    ),
    "asks-keys-of-labels": Refused(
        "matchLabelKeys", annotations=_asking(affinity=_near(matchLabelKeys=["app"]))
    ),
    "asks-priority": Refused(
        SCHEDULING, annotations=_asking(priorityClassName="system-node-critical")
    ),
    "asks-nonsense": Refused("JSON", annotations={SCHEDULING: "{"}),
    # Too much of it.
    "references": Refused(
        "refers to",
        container={"envFrom": [{"secretRef": {"name": f"s{n}"}} for n in range(40)]},
    ),
    "tokens": Refused(
        "refers to",
        _volume(
            "projected",
            sources=[
                {"serviceAccountToken": {"path": f"t{n}", "audience": f"a{n}"}} for n in range(40)
            ],
        ),
    ),
    "quota": Refused("quota", container={"resources": {"requests": {"memory": "64Ti"}}}),
    "annotations": Refused("annotations", annotations={"example.com/a": "a" * 261_900}),
}


def _annotation(copy: Any, key: str) -> str:
    return str(copy["metadata"].get("annotations", {}).get(f"vnode.dev/{key}", ""))


def _marked(copy: Any) -> bool:
    metadata = copy["metadata"]
    return (
        metadata["labels"]["vnode.dev/tenant"] == "demo"
        and metadata["labels"]["app.kubernetes.io/managed-by"] == "vnode"
        and "made" not in {key.partition("/")[2] for key in metadata["annotations"]}
        and _annotation(copy, "namespace") == "team-a"
        and _annotation(copy, "name") == metadata["name"]
        and "stolen" not in json.dumps(metadata)
    )


def _without(*words: str) -> Callable[[Any], bool]:
    """The copy has none of these words, as a user wrote it."""

    def good(copy: Any) -> bool:
        text = json.dumps([copy["metadata"], copy["spec"]])
        return not any(word in text for word in words)

    return good


_STOLEN = (
    "tenant", "cluster-uid", "namespace", "name", "uid", "node", "spec-hash", "generation",
    "resources-hash", "images-hash", "ephemeral-containers", "applied-keys", "source-version",
    "made", "tokens-refresh", "field-0",
)  # fmt: skip
_FOREIGN = {"labelSelector": {}, "topologyKey": ZONE, "namespaces": [f"{NEIGHBOUR}--team-a"]}

HARMLESS: dict[str, Harmless] = {
    "our-label": Harmless(
        _marked,
        metadata={"labels": {"vnode.dev/tenant": "stolen", "app.kubernetes.io/managed-by": "me"}},
    ),
    "our-annotations": Harmless(
        _marked, metadata={"annotations": {f"vnode.dev/{key}": "stolen" for key in _STOLEN}}
    ),
    "overlay": Harmless(
        lambda copy: copy["metadata"]["labels"]["cost-centre"] == "of-demo",
        metadata={"labels": {"cost-centre": "of-others"}},
    ),
    "mesh-and-queue": Harmless(
        _without("istio", "kueue", "volcano", "fluid", "aliyun"),
        metadata={
            "labels": {
                "kueue.x-k8s.io/queue-name": "fast",
                "sidecar.istio.io/inject": "true",
                "serverless.fluid.io/inject": "true",
            },
            "annotations": {
                "scheduling.volcano.sh/queue-name": "fast",
                "k8s.aliyun.com/eci-use-specs": "ecs.gn7i-c8g1.2xlarge",
            },
        },
    ),
    "gang-of-others": Harmless(
        _without("pod-group", "group-name"),
        metadata={
            "labels": {"scheduling.x-k8s.io/pod-group": "theirs"},
            "annotations": {"scheduling.k8s.io/group-name": "theirs"},
        },
    ),
    "static-pod": Harmless(
        _without("config.source", "config.hash"),
        metadata={
            "annotations": {"kubernetes.io/config.source": "file", "kubernetes.io/config.hash": "1"}
        },
    ),
    "runtime-instructions": Harmless(
        _without("katacontainers", "cri-o", "cdi.k8s.io"),
        metadata={
            "annotations": {
                "io.katacontainers.config.hypervisor.path": "/bin/sh",
                "io.kubernetes.cri-o.userns-mode": "auto",
                "cdi.k8s.io/all": "nvidia.com/gpu=all",
            }
        },
    ),
    "finalizer": Harmless(
        lambda copy: not copy["metadata"].get("finalizers"),
        metadata={"finalizers": ["example.com/hold"]},
    ),
    "tolerates-all": Harmless(
        lambda copy: all(t.get("key") for t in copy["spec"].get("tolerations", [])),
        {"tolerations": [{"operator": "Exists"}]},
    ),
    "node-selector": Harmless(
        _without("node-1"), {"nodeSelector": {"kubernetes.io/hostname": "node-1"}}
    ),
    "node-affinity": Harmless(
        _without("node-1"), {"affinity": {"nodeAffinity": {_REQUIRED: _NAMED_NODE}}}
    ),
    "beside-others": Harmless(
        _without(f'"{NEIGHBOUR}--team-a"'),
        {"affinity": {"podAffinity": {_REQUIRED: [_FOREIGN]}}},
    ),
    "priority": Harmless(
        lambda copy: not copy["spec"].get("priority"),
        {"priorityClassName": "system-node-critical"},
    ),
    "scheduler": Harmless(
        lambda copy: copy["spec"]["schedulerName"] == "default-scheduler",
        {"schedulerName": "privileged-scheduler"},
    ),
    "service-account": Harmless(
        lambda copy: (
            copy["spec"]["serviceAccountName"] == "default"
            and copy["spec"]["automountServiceAccountToken"] is False
        ),
        {"serviceAccountName": "vnode-demo"},
    ),
    "token-for-compute": Harmless(
        _without("serviceAccountToken"),
        _projected(
            "serviceAccountToken",
            path="t",
            audience="https://kubernetes.default.svc.cluster.local",
        ),
    ),
    "ca-of-the-cluster": Harmless(
        lambda copy: '"vnode-kube-root-ca.crt"' in json.dumps(copy["spec"]),
        _volume("configMap", name="kube-root-ca.crt"),
    ),
    "name-of-a-token": Harmless(
        lambda copy: '"vnode-vnode-token-1"' in json.dumps(copy["spec"]),
        _volume("secret", secretName="vnode-token-1"),
    ),
    "pull-secret-path": Harmless(
        lambda copy: copy["status"]["phase"] == "Running",
        {"imagePullSecrets": [{"name": _ELSEWHERE}]},
    ),
}

FORBIDDEN: dict[str, Refused] = {
    "sub-path": Refused(
        "must not contain '..'",
        _volume("emptyDir"),
        {"volumeMounts": [{"name": "v", "mountPath": "/v", "subPath": "../../etc"}]},
    ),
    "item-path": Refused(
        "must not contain '..'",
        _volume("secret", secretName="access", items=[{"key": "password", "path": "../../etc/a"}]),
    ),
    "token-path": Refused(
        "must not contain '..'", _projected("serviceAccountToken", path="../token")
    ),
    "mount-propagation": Refused(
        "Bidirectional",
        _volume("emptyDir"),
        {"volumeMounts": [{"name": "v", "mountPath": "/v", "mountPropagation": "Bidirectional"}]},
    ),
    "secret-variable-path": Refused("subdomain", container=_secret_variable(_ELSEWHERE)),
    "account-of-the-platform": Refused("not found", {"serviceAccountName": "vnode"}),
    "annotations-too-long": Refused("Too long", annotations={"example.com/a": "a" * 262_145}),
    "environment-too-long": Refused(
        "large", container={"env": [{"name": "A", "value": "a" * 4_000_000}]}
    ),
}


def manifest(name: str, *, node: str, refused: Refused) -> Any:
    """The pod of an attempt, bound to a virtual node by its user: no scheduler is asked."""
    return _pod(
        name,
        node=node,
        spec=refused.spec,
        container=refused.container,
        metadata={"annotations": refused.annotations},
    )


def harmless_manifest(name: str, *, node: str, harmless: Harmless) -> Any:
    """The same for an attempt that comes down."""
    return _pod(name, node=node, spec=harmless.spec, container={}, metadata=harmless.metadata)


def _pod(
    name: str,
    *,
    node: str,
    spec: dict[str, Any],
    container: dict[str, Any],
    metadata: dict[str, Any],
) -> Any:
    main = {
        "name": "main",
        "image": IMAGE,
        "command": ["sleep", "3600"],
        "resources": {"requests": {"cpu": "1m", "memory": "1Mi"}},
        **container,
    }
    labels = {**MARK, **metadata.get("labels", {})}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {**metadata, "name": name, "labels": labels},
        "spec": {
            "nodeName": node,
            "terminationGracePeriodSeconds": 1,
            "containers": [main],
            **spec,
        },
    }
