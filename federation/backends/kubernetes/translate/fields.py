"""The table: every field of a PodSpec and its children, and what happens to it on the way down.

One `Table` per API type, named as in the Kubernetes OpenAPI document (v1.36), so that the two can
be compared; `tables` lists all that are reachable. A field without a row refuses the pod (unless it
is empty): nothing is lost silently, and a field that is new in an API version is refused until
somebody decides here. Order: leaves first, PodSpec last.

KEEP travels as it is; keep(T) if its own fields do; rewrite(f) through a handler; drop(why) stays
in the tenant cluster; reject(why) refuses the pod, unless the value is the default or the policy
allows it. A pod whose volumes cannot be had waits: that may be mended where it stands.
"""

from collections.abc import Iterator
from typing import TypeAlias

from federation.backends.kubernetes.translate import dns, downward, env, scheduling, security
from federation.backends.kubernetes.translate import volumes as volume
from federation.backends.kubernetes.translate.policy import HostAccess
from federation.backends.kubernetes.translate.translation import Translation
from federation.backends.translation import rules
from federation.backends.translation.rules import KEEP, drop, keep, reject, rewrite

Row: TypeAlias = rules.Row[Translation]
Table: TypeAlias = rules.Table[Translation]


def _policy(what: str, feature: HostAccess, *more: HostAccess, default: bool = False) -> Row:
    text = f"{what} is not allowed by this virtual node's policy"
    return reject(text, default=default, unless=(feature, *more))


def _later(what: str) -> Row:
    return reject(f"{what} is not supported yet by this virtual node")


def _no_volume(what: str) -> Row:
    return reject(
        f"{what} is not supported yet by this virtual node", waits_as=volume.NOT_SUPPORTED
    )


def _all_kept(name: str, *fields: str) -> Table:
    return Table(name, dict.fromkeys(fields, KEEP))


_HOST: Row = reject(
    "a host in a probe or hook is not allowed by this virtual node's policy: the compute node "
    "would connect to it",
    unless=(HostAccess.HOST_NETWORK,),
)

# --- references to ConfigMaps, Secrets and the pod itself ---

KEY_TO_PATH = _all_kept("KeyToPath", "key", "mode", "path")
SECRET_REFERENCE = Table("LocalObjectReference", {"name": rewrite(volume.secret_name)})
CONFIG_MAP_KEY = Table(
    "ConfigMapKeySelector",
    {"key": KEEP, "name": rewrite(volume.config_map_name), "optional": KEEP},
)
SECRET_KEY = Table(
    "SecretKeySelector", {"key": KEEP, "name": rewrite(volume.secret_name), "optional": KEEP}
)
OBJECT_FIELD = _all_kept("ObjectFieldSelector", "apiVersion", "fieldPath")
RESOURCE_FIELD = _all_kept("ResourceFieldSelector", "containerName", "divisor", "resource")
FILE_KEY = _all_kept("FileKeySelector", "key", "optional", "path", "volumeName")

# --- environment ---

ENV_SOURCE = Table(
    "EnvVarSource",
    {
        "configMapKeyRef": keep(CONFIG_MAP_KEY),
        "fieldRef": keep(OBJECT_FIELD),  # made a literal by env.resolve where needed
        "fileKeyRef": keep(FILE_KEY),
        "resourceFieldRef": keep(RESOURCE_FIELD),
        "secretKeyRef": keep(SECRET_KEY),
    },
)
ENV_VAR = Table("EnvVar", {"name": KEEP, "value": KEEP, "valueFrom": keep(ENV_SOURCE)})
ENV_FROM = Table(
    "EnvFromSource",
    {
        "configMapRef": keep(
            Table("ConfigMapEnvSource", {"name": rewrite(volume.config_map_name), "optional": KEEP})
        ),
        "prefix": KEEP,
        "secretRef": keep(
            Table("SecretEnvSource", {"name": rewrite(volume.secret_name), "optional": KEEP})
        ),
    },
)

# --- probes and hooks ---

EXEC = _all_kept("ExecAction", "command")
HTTP_GET = Table(
    "HTTPGetAction",
    {
        "host": _HOST,
        "httpHeaders": keep(_all_kept("HTTPHeader", "name", "value"), many=True),
        "path": KEEP,
        "port": KEEP,
        "scheme": KEEP,
    },
)
TCP_SOCKET = Table("TCPSocketAction", {"host": _HOST, "port": KEEP})
PROBE = Table(
    "Probe",
    {
        "exec": keep(EXEC),
        "failureThreshold": KEEP,
        "grpc": keep(_all_kept("GRPCAction", "port", "service")),
        "httpGet": keep(HTTP_GET),
        "initialDelaySeconds": KEEP,
        "periodSeconds": KEEP,
        "successThreshold": KEEP,
        "tcpSocket": keep(TCP_SOCKET),
        "terminationGracePeriodSeconds": KEEP,
        "timeoutSeconds": KEEP,
    },
)
HOOK = Table(
    "LifecycleHandler",
    {
        "exec": keep(EXEC),
        "httpGet": keep(HTTP_GET),
        "sleep": keep(_all_kept("SleepAction", "seconds")),
        "tcpSocket": keep(TCP_SOCKET),
    },
)
LIFECYCLE = Table("Lifecycle", {"postStart": keep(HOOK), "preStop": keep(HOOK), "stopSignal": KEEP})

# --- security ---

SELINUX = Table(
    "SELinuxOptions",
    {
        "level": KEEP,
        "role": _policy("an SELinux role", HostAccess.PRIVILEGED),
        "type": rewrite(security.selinux_type),
        "user": _policy("an SELinux user", HostAccess.PRIVILEGED),
    },
)
SECCOMP = Table(
    "SeccompProfile", {"localhostProfile": KEEP, "type": rewrite(security.seccomp_type)}
)
APPARMOR = Table(
    "AppArmorProfile", {"localhostProfile": KEEP, "type": rewrite(security.apparmor_type)}
)
WINDOWS = Table(
    "WindowsSecurityContextOptions",
    {
        "gmsaCredentialSpec": KEEP,
        "gmsaCredentialSpecName": KEEP,
        "hostProcess": _policy("a host process", HostAccess.PRIVILEGED),
        "runAsUserName": KEEP,
    },
)
CAPABILITIES = Table(
    "Capabilities", {"add": _policy("adding capabilities", HostAccess.CAPABILITIES), "drop": KEEP}
)
SECURITY_CONTEXT = Table(
    "SecurityContext",
    {
        "allowPrivilegeEscalation": KEEP,
        "appArmorProfile": keep(APPARMOR),
        "capabilities": keep(CAPABILITIES),
        "privileged": _policy("a privileged container", HostAccess.PRIVILEGED),
        "procMount": reject(
            "an unmasked /proc is not allowed by this virtual node's policy",
            default="Default",
            unless=(HostAccess.PRIVILEGED,),
        ),
        "readOnlyRootFilesystem": KEEP,
        "runAsGroup": KEEP,
        "runAsNonRoot": KEEP,
        "runAsUser": KEEP,
        "seLinuxOptions": keep(SELINUX),
        "seccompProfile": keep(SECCOMP),
        "windowsOptions": keep(WINDOWS),
    },
)
POD_SECURITY_CONTEXT = Table(
    "PodSecurityContext",
    {
        "appArmorProfile": keep(APPARMOR),
        "fsGroup": KEEP,
        "fsGroupChangePolicy": KEEP,
        "runAsGroup": KEEP,
        "runAsNonRoot": KEEP,
        "runAsUser": KEEP,
        "seLinuxChangePolicy": KEEP,
        "seLinuxOptions": keep(SELINUX),
        "seccompProfile": keep(SECCOMP),
        "supplementalGroups": KEEP,
        "supplementalGroupsPolicy": KEEP,
        "sysctls": reject(
            "setting sysctls is not allowed by this virtual node's policy",
            unless=(HostAccess.SYSCTLS,),
            of=_all_kept("Sysctl", "name", "value"),
            many=True,
        ),
        "windowsOptions": keep(WINDOWS),
    },
)

# --- containers ---

RESOURCES = Table(
    "ResourceRequirements",
    {"claims": _later("a resource claim"), "limits": KEEP, "requests": KEEP},
)
CONTAINER_PORT = Table(
    "ContainerPort",
    {
        "containerPort": KEEP,
        "hostIP": _policy("a host port", HostAccess.HOST_PORT, HostAccess.HOST_NETWORK),
        # On the host's network every container port is one; 0 is "none".
        "hostPort": reject(
            "a host port is not allowed by this virtual node's policy",
            default=0,
            unless=(HostAccess.HOST_PORT, HostAccess.HOST_NETWORK),
        ),
        "name": KEEP,
        "protocol": KEEP,
    },
)
VOLUME_MOUNT = _all_kept(
    "VolumeMount",
    "mountPath",
    "mountPropagation",
    "name",
    "readOnly",
    "recursiveReadOnly",
    "subPath",
    "subPathExpr",
)
RESTART_RULE = Table(
    "ContainerRestartRule",
    {
        "action": KEEP,
        "exitCodes": keep(_all_kept("ContainerRestartRuleOnExitCodes", "operator", "values")),
    },
)
CONTAINER = Table(
    "Container",
    {
        "args": KEEP,
        "command": KEEP,
        "env": rewrite(env.resolve, ENV_VAR, many=True),
        "envFrom": keep(ENV_FROM, many=True),
        "image": KEEP,
        "imagePullPolicy": KEEP,
        "lifecycle": keep(LIFECYCLE),
        "livenessProbe": keep(PROBE),
        "name": KEEP,
        "ports": keep(CONTAINER_PORT, many=True),
        "readinessProbe": keep(PROBE),
        "resizePolicy": keep(
            _all_kept("ContainerResizePolicy", "resourceName", "restartPolicy"), many=True
        ),
        "resources": keep(RESOURCES),
        "restartPolicy": KEEP,
        "restartPolicyRules": keep(RESTART_RULE, many=True),
        "securityContext": keep(SECURITY_CONTEXT),
        "startupProbe": keep(PROBE),
        "stdin": KEEP,
        "stdinOnce": KEEP,
        "terminationMessagePath": KEEP,
        "terminationMessagePolicy": KEEP,
        "tty": KEEP,
        "volumeDevices": keep(_all_kept("VolumeDevice", "devicePath", "name"), many=True),
        "volumeMounts": keep(VOLUME_MOUNT, many=True),
        "workingDir": KEEP,
    },
)
EPHEMERAL_CONTAINER = Table("EphemeralContainer", {**CONTAINER.rows, "targetContainerName": KEEP})

# --- volumes ---

DOWNWARD_FILE = Table(
    "DownwardAPIVolumeFile",
    {
        "fieldRef": rewrite(downward.volume_field, OBJECT_FIELD),
        "mode": KEEP,
        "path": KEEP,
        "resourceFieldRef": keep(RESOURCE_FIELD),
    },
)
PROJECTION = Table(
    "VolumeProjection",
    {
        "clusterTrustBundle": _no_volume("a cluster trust bundle"),
        "configMap": keep(
            Table(
                "ConfigMapProjection",
                {
                    "items": keep(KEY_TO_PATH, many=True),
                    "name": rewrite(volume.config_map_name),
                    "optional": KEEP,
                },
            )
        ),
        "downwardAPI": keep(
            Table("DownwardAPIProjection", {"items": keep(DOWNWARD_FILE, many=True)})
        ),
        "podCertificate": _no_volume("a pod certificate"),
        "secret": keep(
            Table(
                "SecretProjection",
                {
                    "items": keep(KEY_TO_PATH, many=True),
                    "name": rewrite(volume.secret_name),
                    "optional": KEEP,
                },
            )
        ),
        # made an item of the pod's token Secret by volumes.with_tokens
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
                {
                    "defaultMode": KEEP,
                    "items": keep(KEY_TO_PATH, many=True),
                    "name": rewrite(volume.config_map_name),
                    "optional": KEEP,
                },
            )
        ),
        "downwardAPI": keep(
            Table(
                "DownwardAPIVolumeSource",
                {"defaultMode": KEEP, "items": keep(DOWNWARD_FILE, many=True)},
            )
        ),
        "emptyDir": keep(_all_kept("EmptyDirVolumeSource", "medium", "sizeLimit")),
        "hostPath": reject(
            "a hostPath volume is not allowed by this virtual node's policy",
            unless=(HostAccess.HOST_PATH,),
            of=_all_kept("HostPathVolumeSource", "path", "type"),
        ),
        "image": keep(_all_kept("ImageVolumeSource", "pullPolicy", "reference")),
        "name": KEEP,
        "persistentVolumeClaim": rewrite(
            volume.claim, _all_kept("PersistentVolumeClaimVolumeSource", "claimName", "readOnly")
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
                {
                    "defaultMode": KEEP,
                    "items": keep(KEY_TO_PATH, many=True),
                    "optional": KEEP,
                    "secretName": rewrite(volume.secret_name),
                },
            )
        ),
    },
)

# --- scheduling ---

NODE_TERM = Table(
    "NodeSelectorTerm",
    {
        name: keep(_all_kept("NodeSelectorRequirement", "key", "operator", "values"), many=True)
        for name in ("matchExpressions", "matchFields")
    },
)
LABEL_SELECTOR = Table(
    "LabelSelector",
    {
        "matchExpressions": keep(
            _all_kept("LabelSelectorRequirement", "key", "operator", "values"), many=True
        ),
        "matchLabels": KEEP,
    },
)
POD_TERM = Table(
    "PodAffinityTerm",
    {
        "labelSelector": keep(LABEL_SELECTOR),
        "matchLabelKeys": KEEP,
        "mismatchLabelKeys": KEEP,
        "namespaceSelector": keep(LABEL_SELECTOR),
        "namespaces": KEEP,
        "topologyKey": KEEP,
    },
)
_REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"
_PREFERRED = "preferredDuringSchedulingIgnoredDuringExecution"
_POD_AFFINITY_ROWS = {
    _PREFERRED: keep(
        Table("WeightedPodAffinityTerm", {"podAffinityTerm": keep(POD_TERM), "weight": KEEP}),
        many=True,
    ),
    _REQUIRED: keep(POD_TERM, many=True),
}
AFFINITY = Table(
    "Affinity",
    {
        "nodeAffinity": keep(
            Table(
                "NodeAffinity",
                {
                    _PREFERRED: keep(
                        Table(
                            "PreferredSchedulingTerm",
                            {"preference": keep(NODE_TERM), "weight": KEEP},
                        ),
                        many=True,
                    ),
                    _REQUIRED: keep(
                        Table("NodeSelector", {"nodeSelectorTerms": keep(NODE_TERM, many=True)})
                    ),
                },
            )
        ),
        "podAffinity": keep(Table("PodAffinity", _POD_AFFINITY_ROWS)),
        "podAntiAffinity": keep(Table("PodAntiAffinity", _POD_AFFINITY_ROWS)),
    },
)
TOLERATION = _all_kept("Toleration", "effect", "key", "operator", "tolerationSeconds", "value")
TOPOLOGY_SPREAD = Table(
    "TopologySpreadConstraint",
    {
        "labelSelector": keep(LABEL_SELECTOR),
        "matchLabelKeys": KEEP,
        "maxSkew": KEEP,
        "minDomains": KEEP,
        "nodeAffinityPolicy": KEEP,
        "nodeTaintsPolicy": KEEP,
        "topologyKey": KEEP,
        "whenUnsatisfiable": KEEP,
    },
)
COMPUTE_SCHEDULING = Table(
    "vnode.dev/compute-scheduling",
    {
        "affinity": keep(AFFINITY),
        "nodeSelector": KEEP,
        "tolerations": keep(TOLERATION, many=True),
        "topologySpreadConstraints": keep(TOPOLOGY_SPREAD, many=True),
    },
)
"""Ours: the value of the annotation of that name."""

# --- the pod ---

DNS_CONFIG = Table(
    "PodDNSConfig",
    {
        "nameservers": KEEP,
        "options": keep(_all_kept("PodDNSConfigOption", "name", "value"), many=True),
        "searches": rewrite(dns.searches),
    },
)
POD_SPEC = Table(
    "PodSpec",
    {
        "activeDeadlineSeconds": KEEP,
        "affinity": rewrite(scheduling.affinity, AFFINITY),
        "automountServiceAccountToken": drop("always false below: tokens are the tenant's"),
        "containers": rewrite(env.with_service_variables, CONTAINER, many=True),
        "dnsConfig": keep(DNS_CONFIG),
        "dnsPolicy": KEEP,
        "enableServiceLinks": drop("always false below: the tenant's services are an envFrom"),
        "ephemeralContainers": drop(
            "never part of a create; added by `update`", of=EPHEMERAL_CONTAINER, many=True
        ),
        "hostAliases": keep(_all_kept("HostAlias", "hostnames", "ip"), many=True),
        "hostIPC": _policy("the host's IPC namespace", HostAccess.HOST_IPC),
        "hostNetwork": _policy("the host's network", HostAccess.HOST_NETWORK),
        "hostPID": _policy("the host's PID namespace", HostAccess.HOST_PID),
        "hostUsers": _policy("a user namespace", HostAccess.HOST_USERS, default=True),
        "hostname": KEEP,
        "hostnameOverride": KEEP,
        "imagePullSecrets": keep(SECRET_REFERENCE, many=True),
        "initContainers": rewrite(env.with_service_variables, CONTAINER, many=True),
        "nodeName": drop("the virtual node; the compute cluster chooses its own"),
        "nodeSelector": rewrite(scheduling.node_selector),
        "os": keep(_all_kept("PodOS", "name")),
        "overhead": drop("comes from the compute cluster's runtime class"),
        "preemptionPolicy": drop("comes from the compute cluster's priority class"),
        "priority": drop("numbers mean something else below; see priorityClassName"),
        "priorityClassName": rewrite(scheduling.priority_class),
        "readinessGates": drop("judged in the tenant cluster, where their conditions are written"),
        "resourceClaims": _later("a resource claim"),
        "resources": keep(RESOURCES),
        "restartPolicy": KEEP,
        "runtimeClassName": rewrite(scheduling.runtime_class),
        "schedulerName": rewrite(scheduling.scheduler),
        "schedulingGates": drop("a pod that is bound to a node has none left"),
        "schedulingGroup": _later("a scheduling group"),
        "securityContext": keep(POD_SECURITY_CONTEXT),
        "serviceAccount": drop("deprecated copy of serviceAccountName"),
        "serviceAccountName": drop("always `default` below: tokens are the tenant's"),
        "setHostnameAsFQDN": KEEP,
        "shareProcessNamespace": KEEP,
        "subdomain": KEEP,
        "terminationGracePeriodSeconds": KEEP,
        "tolerations": rewrite(scheduling.tolerations, TOLERATION, many=True),
        "topologySpreadConstraints": rewrite(
            scheduling.topology_spread, TOPOLOGY_SPREAD, many=True
        ),
        "volumes": rewrite(volume.with_tokens, VOLUME, many=True),
    },
)


def tables(root: Table = POD_SPEC) -> Iterator[Table]:
    """Every table that is reachable from `root`, itself included; shared ones come repeatedly."""
    yield root
    for row in root.rows.values():
        if row.of is not None:
            yield from tables(row.of)
