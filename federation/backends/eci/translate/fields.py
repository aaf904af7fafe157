"""The table: every field of a PodSpec and its children, and what becomes of it on ECI.

One `Table` per API type, named as in the Kubernetes OpenAPI document (v1.36), so that the two can
be compared. A field without a row refuses the pod (unless it is empty): nothing is lost silently.
KEEP and `rewrite` rows are mapped by this package and have a field in `spec`; `drop` says why the
value means nothing there; `reject` refuses the pod unless the value is the default, or the pool
allows the weaker form, and then it is left out. Order: leaves first, PodSpec last.
"""

from collections.abc import Iterator
from typing import TypeAlias

from federation.backends.eci.translate import limits
from federation.backends.eci.translate.policy import EciFeature, EciPolicy
from federation.backends.translation import rules
from federation.backends.translation.rules import (
    KEEP,
    Refused,
    as_list,
    as_text,
    drop,
    keep,
    reject,
    rewrite,
)
from vnode.kube.types import JSON

Row: TypeAlias = rules.Row[EciPolicy]
Table: TypeAlias = rules.Table[EciPolicy]

NOT_SUPPORTED = "VolumeNotSupported"
"""Reason with which pods wait whose volumes cannot be had here."""


def _none(what: str, instead: str = "") -> Row:
    """ECI has nothing for it."""
    return reject(_text(what, instead))


def _text(what: str, instead: str = "") -> str:
    way_out = instead or "remove it, or steer the pod to another virtual node"
    return f"{what} cannot be had on this virtual node (ECI): {way_out}"


def _confines(what: str, default: JSON = None) -> Row:
    text = (
        f"{what} cannot be had on this virtual node (ECI): remove it, or let the pool's "
        f"configuration allow {EciFeature.LESS_CONFINEMENT}"
    )
    return reject(text, default=default, unless=(EciFeature.LESS_CONFINEMENT,))


def _only(what: str, value: JSON) -> Row:
    """One value can be had, which needs no parameter."""
    return reject(_text(what), default=value)


def _no_volume(what: str) -> Row:
    return reject(_text(what), waits_as=NOT_SUPPORTED)


def _all_kept(name: str, *fields: str) -> Table:
    return Table(name, dict.fromkeys(fields, KEEP))


def _claim(value: JSON, at: EciPolicy) -> JSON:
    """Handler for persistentVolumeClaim."""
    if not at.claims:
        raise Refused(_text("a PersistentVolumeClaim"), waits_as=NOT_SUPPORTED)
    return value


def _os(value: JSON, at: EciPolicy) -> JSON:
    """Handler for os.name."""
    if value != "linux":
        raise Refused(_text("an operating system other than linux"))
    return value


def _capabilities(value: JSON, at: EciPolicy) -> JSON:
    """Handler for capabilities.add."""
    if value and EciFeature.CAPABILITIES not in at.allow:
        raise Refused(
            "adding capabilities is not allowed by this virtual node's policy: remove it, or let "
            f"the pool's configuration allow {EciFeature.CAPABILITIES}"
        )
    if {as_text(one) for one in as_list(value)} - limits.CAPABILITIES:
        raise Refused(_text("a capability other than NET_ADMIN and NET_RAW"))
    return value


_HOST = _none("a host in a probe or hook")

# --- environment ---

KEY_TO_PATH = _all_kept("KeyToPath", "key", "mode", "path")
OBJECT_FIELD = _all_kept("ObjectFieldSelector", "apiVersion", "fieldPath")
RESOURCE_FIELD = _all_kept("ResourceFieldSelector", "containerName", "divisor", "resource")
ENV_SOURCE = Table(
    "EnvVarSource",
    {
        "configMapKeyRef": keep(_all_kept("ConfigMapKeySelector", "key", "name", "optional")),
        "fieldRef": keep(OBJECT_FIELD),
        "fileKeyRef": _none("a variable from a file"),
        "resourceFieldRef": keep(RESOURCE_FIELD),
        "secretKeyRef": keep(_all_kept("SecretKeySelector", "key", "name", "optional")),
    },
)
ENV_VAR = Table("EnvVar", {"name": KEEP, "value": KEEP, "valueFrom": keep(ENV_SOURCE)})
ENV_FROM = Table(
    "EnvFromSource",
    {
        "configMapRef": keep(_all_kept("ConfigMapEnvSource", "name", "optional")),
        "prefix": KEEP,
        "secretRef": keep(_all_kept("SecretEnvSource", "name", "optional")),
    },
)

# --- probes and hooks ---

EXEC = _all_kept("ExecAction", "command")
HEADER = _all_kept("HTTPHeader", "name", "value")
PROBE_HTTP = Table(
    "HTTPGetAction",
    {
        "host": _HOST,
        "httpHeaders": _none("a header in a probe"),
        "path": KEEP,
        "port": KEEP,
        "scheme": KEEP,
    },
)
HOOK_HTTP = Table("HTTPGetAction", {**PROBE_HTTP.rows, "httpHeaders": keep(HEADER, many=True)})
TCP_SOCKET = Table("TCPSocketAction", {"host": _HOST, "port": KEEP})
PROBE = Table(
    "Probe",
    {
        "exec": keep(EXEC),
        "failureThreshold": KEEP,
        "grpc": _none("a gRPC probe", "use exec, httpGet or tcpSocket"),
        "httpGet": keep(PROBE_HTTP),
        "initialDelaySeconds": KEEP,
        "periodSeconds": KEEP,
        "successThreshold": KEEP,
        "tcpSocket": keep(TCP_SOCKET),
        "terminationGracePeriodSeconds": _none("a probe's own grace period"),
        "timeoutSeconds": KEEP,
    },
)
HOOK = Table(
    "LifecycleHandler",
    {
        "exec": keep(EXEC),
        "httpGet": keep(HOOK_HTTP),
        "sleep": _none("a hook that sleeps", "use exec with a command that sleeps"),
        "tcpSocket": keep(TCP_SOCKET),
    },
)
LIFECYCLE = Table(
    "Lifecycle",
    {"postStart": keep(HOOK), "preStop": keep(HOOK), "stopSignal": _none("a stop signal")},
)

# --- security ---

CAPABILITIES = Table(
    "Capabilities",
    {
        "add": rewrite(_capabilities),
        "drop": _confines("dropping capabilities"),
    },
)
SECURITY_CONTEXT = Table(
    "SecurityContext",
    {
        "allowPrivilegeEscalation": _confines("forbidding privilege escalation", default=True),
        "appArmorProfile": _confines("an AppArmor profile"),
        "capabilities": keep(CAPABILITIES),
        "privileged": _only("a privileged container", False),
        "procMount": _only("an unmasked /proc", "Default"),
        "readOnlyRootFilesystem": KEEP,
        "runAsGroup": KEEP,
        "runAsNonRoot": KEEP,
        "runAsUser": KEEP,
        "seLinuxOptions": _confines("SELinux options"),
        "seccompProfile": _confines("a seccomp profile"),
        "windowsOptions": _none("Windows options"),
    },
)
POD_SECURITY_CONTEXT = Table(
    "PodSecurityContext",
    {
        "appArmorProfile": _confines("an AppArmor profile"),
        "fsGroup": _none("a group that owns the volumes"),
        "fsGroupChangePolicy": drop("means nothing without fsGroup"),
        "runAsGroup": KEEP,
        "runAsNonRoot": KEEP,
        "runAsUser": KEEP,
        "seLinuxChangePolicy": drop("means nothing without SELinux options"),
        "seLinuxOptions": _confines("SELinux options"),
        "seccompProfile": _confines("a seccomp profile"),
        "supplementalGroups": _none("a supplemental group"),
        "supplementalGroupsPolicy": _only("a policy of supplemental groups", "Merge"),
        "sysctls": _none("setting sysctls"),
        "windowsOptions": _none("Windows options"),
    },
)

# --- containers ---

RESOURCES = Table(
    "ResourceRequirements",
    {"claims": _none("a resource claim"), "limits": KEEP, "requests": KEEP},
)
CONTAINER_PORT = Table(
    "ContainerPort",
    {
        "containerPort": KEEP,
        "hostIP": _none("a host port"),
        "hostPort": _only("a host port", 0),
        "name": KEEP,
        "protocol": KEEP,
    },
)
VOLUME_MOUNT = Table(
    "VolumeMount",
    {
        "mountPath": KEEP,
        "mountPropagation": _only("mount propagation", "None"),
        "name": KEEP,
        "readOnly": KEEP,
        "recursiveReadOnly": _only("a recursively read-only mount", "Disabled"),
        "subPath": KEEP,
        "subPathExpr": _none("a sub path with variables", "use subPath"),
    },
)
CONTAINER = Table(
    "Container",
    {
        "args": KEEP,
        "command": KEEP,
        "env": keep(ENV_VAR, many=True),
        "envFrom": keep(ENV_FROM, many=True),
        "image": KEEP,
        "imagePullPolicy": KEEP,
        "lifecycle": keep(LIFECYCLE),
        "livenessProbe": keep(PROBE),
        "name": KEEP,
        "ports": keep(CONTAINER_PORT, many=True),
        "readinessProbe": keep(PROBE),
        "resizePolicy": drop("groups are never resized"),
        "resources": keep(RESOURCES),
        "restartPolicy": _none("a restart policy of a single container"),
        "restartPolicyRules": _none("a restart rule of a single container"),
        "securityContext": keep(SECURITY_CONTEXT),
        "startupProbe": _none("a startup probe", "use initialDelaySeconds of the liveness probe"),
        "stdin": KEEP,
        "stdinOnce": KEEP,
        "terminationMessagePath": KEEP,
        "terminationMessagePolicy": drop("ECI's parameter of that name means something else"),
        "tty": KEEP,
        "volumeDevices": _none("a block device"),
        "volumeMounts": keep(VOLUME_MOUNT, many=True),
        "workingDir": KEEP,
    },
)
INIT_CONTAINER = Table(
    "Container",
    {
        **CONTAINER.rows,
        "lifecycle": _none("a hook of an init container"),
        "livenessProbe": _none("a probe of an init container"),
        "readinessProbe": _none("a probe of an init container"),
        "restartPolicy": _none(
            "a sidecar among the init containers", "make it an ordinary container"
        ),
        "stdin": _only("the standard input of an init container", False),
        "stdinOnce": _only("the standard input of an init container", False),
        "tty": _only("a terminal of an init container", False),
    },
)

# --- volumes ---

DOWNWARD_FILE = Table(
    "DownwardAPIVolumeFile",
    {
        "fieldRef": keep(OBJECT_FIELD),
        "mode": KEEP,
        "path": KEEP,
        "resourceFieldRef": keep(RESOURCE_FIELD),
    },
)
_ITEMS = keep(KEY_TO_PATH, many=True)
PROJECTION = Table(
    "VolumeProjection",
    {
        "clusterTrustBundle": _no_volume("a cluster trust bundle"),
        "configMap": keep(
            Table("ConfigMapProjection", {"items": _ITEMS, "name": KEEP, "optional": KEEP})
        ),
        "downwardAPI": keep(
            Table("DownwardAPIProjection", {"items": keep(DOWNWARD_FILE, many=True)})
        ),
        "podCertificate": _no_volume("a pod certificate"),
        "secret": keep(
            Table("SecretProjection", {"items": _ITEMS, "name": KEEP, "optional": KEEP})
        ),
        "serviceAccountToken": keep(
            _all_kept("ServiceAccountTokenProjection", "audience", "expirationSeconds", "path")
        ),
    },
)
_UNSUPPORTED_VOLUMES = (
    "awsElasticBlockStore",
    "azureDisk",
    "azureFile",
    "cephfs",
    "cinder",
    "csi",
    "ephemeral",
    "fc",
    "flexVolume",
    "flocker",
    "gcePersistentDisk",
    "gitRepo",
    "glusterfs",
    "image",
    "iscsi",
    "nfs",
    "photonPersistentDisk",
    "portworxVolume",
    "quobyte",
    "rbd",
    "scaleIO",
    "storageos",
    "vsphereVolume",
)
VOLUME = Table(
    "Volume",
    {
        **{name: _no_volume(f"a volume of type {name}") for name in _UNSUPPORTED_VOLUMES},
        "configMap": keep(
            Table(
                "ConfigMapVolumeSource",
                {"defaultMode": KEEP, "items": _ITEMS, "name": KEEP, "optional": KEEP},
            )
        ),
        "downwardAPI": keep(
            Table(
                "DownwardAPIVolumeSource",
                {"defaultMode": KEEP, "items": keep(DOWNWARD_FILE, many=True)},
            )
        ),
        "emptyDir": keep(_all_kept("EmptyDirVolumeSource", "medium", "sizeLimit")),
        "hostPath": _none("a hostPath volume"),
        "name": KEEP,
        "persistentVolumeClaim": rewrite(
            _claim, _all_kept("PersistentVolumeClaimVolumeSource", "claimName", "readOnly")
        ),
        "projected": keep(
            Table(
                "ProjectedVolumeSource",
                {"defaultMode": KEEP, "sources": keep(PROJECTION, many=True)},
            )
        ),
        "secret": keep(
            Table(
                "SecretVolumeSource",
                {"defaultMode": KEEP, "items": _ITEMS, "optional": KEEP, "secretName": KEEP},
            )
        ),
    },
)

# --- the pod ---

_CHOSE = "chose the virtual node; below ECI chooses by instance type and zone"
DNS_CONFIG = Table(
    "PodDNSConfig",
    {
        "nameservers": KEEP,
        "options": keep(_all_kept("PodDNSConfigOption", "name", "value"), many=True),
        "searches": KEEP,
    },
)
POD_SPEC = Table(
    "PodSpec",
    {
        "activeDeadlineSeconds": KEEP,
        "affinity": KEEP,  # read for the GPU model; else it chose the virtual node
        "automountServiceAccountToken": drop("the tenant's admission has made a volume of it"),
        "containers": keep(CONTAINER, many=True),
        "dnsConfig": keep(DNS_CONFIG),
        "dnsPolicy": KEEP,
        "enableServiceLinks": KEEP,
        "ephemeralContainers": drop("never part of a create; cannot be added later"),
        "hostAliases": keep(_all_kept("HostAlias", "hostnames", "ip"), many=True),
        "hostIPC": _only("the host's IPC namespace", False),
        "hostNetwork": _only("the host's network", False),
        "hostPID": _only("the host's PID namespace", False),
        "hostUsers": _confines("a user namespace", default=True),
        "hostname": KEEP,
        "hostnameOverride": KEEP,
        "imagePullSecrets": keep(_all_kept("LocalObjectReference", "name"), many=True),
        "initContainers": keep(INIT_CONTAINER, many=True),
        "nodeName": drop("the virtual node"),
        "nodeSelector": KEEP,  # read for the GPU model; else it chose the virtual node
        "os": keep(Table("PodOS", {"name": rewrite(_os)})),
        "overhead": drop("comes from a runtime class, and there is none"),
        "preemptionPolicy": drop("nothing is preempted on ECI"),
        "priority": drop("nothing is preempted on ECI"),
        "priorityClassName": drop("nothing is preempted on ECI"),
        "readinessGates": drop("judged in the tenant cluster, where their conditions are written"),
        "resourceClaims": _none("a resource claim"),
        "resources": keep(RESOURCES),
        "restartPolicy": KEEP,
        "runtimeClassName": _none("a runtime class"),
        "schedulerName": drop(_CHOSE),
        "schedulingGates": drop("a pod that is bound to a node has none left"),
        "schedulingGroup": _none("a scheduling group"),
        "securityContext": keep(POD_SECURITY_CONTEXT),
        "serviceAccount": drop("deprecated copy of serviceAccountName"),
        "serviceAccountName": KEEP,
        "setHostnameAsFQDN": _only("a fully qualified host name", False),
        "shareProcessNamespace": KEEP,
        "subdomain": _none("a DNS name among the pods of a namespace", "remove the subdomain"),
        "terminationGracePeriodSeconds": KEEP,
        "tolerations": drop(_CHOSE),
        "topologySpreadConstraints": drop(_CHOSE),
        "volumes": keep(VOLUME, many=True),
    },
)


def tables(root: Table = POD_SPEC) -> Iterator[Table]:
    """Every table that is reachable from `root`, itself included; shared ones come repeatedly."""
    yield root
    for row in root.rows.values():
        if row.of is not None:
            yield from tables(row.of)
