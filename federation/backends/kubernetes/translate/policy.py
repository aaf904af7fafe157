"""What one compute cluster and pool allows and sets: the settings of a translation.

In: validated configuration. Out: a frozen value that every rule reads. Owned by whoever builds the
backend; nothing here fails.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cache

from federation.backends.kubernetes.translate.eci_specs import EciSpecs
from vnode.kube.types import JSON

DEFAULT_DENIED_PREFIXES = (
    # cloud and data: these make the compute side run, mount or inject something
    "*.aliyun.com/",
    "*alibabacloud.com/",
    "*fluid.io/",
    # networks: extra interfaces, chosen addresses
    "k8s.v1.cni.cncf.io/",
    "v1.multus-cni.io/",
    "*projectcalico.org/",
    "ovn.kubernetes.io/",
    "k8s.ovn.org/",
    "*cilium.io/",
    # meshes
    "*istio.io/",
    "*linkerd.io/",
    "*kuma.io/",
    "consul.hashicorp.com/",
    # queues and gangs
    "kueue.x-k8s.io/",
    "scheduling.k8s.io/",
    "scheduling.volcano.sh/",
    "volcano.sh/queue-name",
    "volcano.sh/preemptable",
    "volcano.sh/cooldown-time",
    "volcano.sh/revocable-zone",
    "scheduling.x-k8s.io/",
    "pod-group.scheduling.sigs.k8s.io",
    "yunikorn.apache.org/",
)
"""Labels and annotations that only the cluster's overlay and the gang code set."""

NEVER_TRAVEL = (
    # ours
    "vnode.dev/",
    "app.kubernetes.io/managed-by",
    "kubectl.kubernetes.io/last-applied-configuration",
    # would make a kubelet take the copy for a static pod's mirror
    "kubernetes.io/config.",
    # instructions to container runtimes, past every field of the pod
    "io.katacontainers.",
    "io.kubernetes.cri-o.",
    "cdi.k8s.io/",
    "*gvisor.dev/",
)
"""Denied whatever the configuration says."""


class HostAccess(StrEnum):
    """Pod features that reach the compute node; each is refused unless allowed."""

    HOST_PATH = "hostPath"
    HOST_NETWORK = "hostNetwork"
    HOST_PID = "hostPID"
    HOST_IPC = "hostIPC"
    HOST_PORT = "hostPort"
    HOST_USERS = "hostUsers"
    PRIVILEGED = "privileged"
    CAPABILITIES = "capabilities"
    SYSCTLS = "sysctls"


class PvcMode(StrEnum):
    """What happens to volumes of PersistentVolumeClaims."""

    NONE = "none"
    """Pods with claims wait."""
    SHARED = "shared"
    """A claim of the same name exists in the compute namespace."""
    FLUID = "fluid"
    """The same, and claims with a profile label are brought to pods by Fluid."""


class FluidDialect(StrEnum):
    """Whose Fluid brings data to pods, and so by what labels pods and claims are known to it."""

    FLUID = "fluid"
    """As it is published."""
    ACK = "ack"
    """ack-fluid of Alibaba Cloud: its pvc-wrapper makes Datasets by a label of the claim."""


@dataclass(frozen=True, kw_only=True)
class TranslationPolicy:
    """Rules of one compute cluster and pool for one tenant."""

    node_selector: Mapping[str, str] = field(default_factory=dict)
    """The pool's own; every pod gets it."""
    tolerations: Sequence[Mapping[str, JSON]] = ()
    """The pool's own; the only ones that may be NoExecute."""
    passthrough: frozenset[str] = frozenset()
    """Label, taint and topology keys that mean the same in tenant and compute cluster."""
    scheduling_keys: frozenset[str] = frozenset()
    """Keys that the annotation `vnode.dev/compute-scheduling` may use."""
    denied_prefixes: tuple[str, ...] = DEFAULT_DENIED_PREFIXES
    """Beginnings of label and annotation keys that do not travel; `*`: anything but `/`."""
    priority_classes: Mapping[str, str] = field(default_factory=dict)
    """Tenant class -> compute class; others run with the compute cluster's default."""
    runtime_classes: Mapping[str, str] = field(default_factory=dict)
    """Tenant class -> compute class; others are refused."""
    scheduler_names: Mapping[str, str] = field(default_factory=dict)
    """Tenant scheduler -> compute scheduler; others use the compute cluster's default."""
    allow: frozenset[HostAccess] = frozenset()
    """Host features that this tenant may use."""
    overlay_labels: Mapping[str, str] = field(default_factory=dict)
    overlay_annotations: Mapping[str, str] = field(default_factory=dict)
    eci: EciSpecs | None = None
    """Pods run on ECI nodes, on instances by this table."""
    expose_host_ip: bool = False
    """Pods see the compute node's address as status.hostIP."""
    pvc: PvcMode = PvcMode.NONE
    namespaces: frozenset[str] = frozenset()
    """The tenant namespaces that are forwarded, which affinity terms may name; empty: all."""

    def travels(self, key: str) -> bool:
        """Whether a label or annotation of the tenant is copied."""
        return _denied(self.denied_prefixes).match(key) is None


@cache
def _denied(prefixes: tuple[str, ...]) -> re.Pattern[str]:
    patterns = (re.escape(prefix).replace(r"\*", "[^/]*") for prefix in NEVER_TRAVEL + prefixes)
    return re.compile("|".join(patterns))
