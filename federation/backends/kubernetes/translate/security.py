"""Values inside security contexts that lift a container's isolation.

In: single values of the tenant pod. Out: the same value, or `Refused`. Fields that are refused as
a whole (privileged, hostNetwork, ...) are plain rows of the table; here are those of which some
values are harmless. The line is drawn where the Pod Security Standard `baseline` draws it.
"""

from federation.backends.kubernetes.translate.policy import HostAccess
from federation.backends.kubernetes.translate.translation import Translation
from federation.backends.translation.rules import Refused, as_text
from vnode.kube.types import JSON

_SELINUX_TYPES = frozenset(
    {"", "container_t", "container_init_t", "container_kvm_t", "container_engine_t"}
)
APPARMOR_ANNOTATION_PREFIX = "container.apparmor.security.beta.kubernetes.io/"


def selinux_type(value: JSON, at: Translation) -> JSON:
    """Handler for seLinuxOptions.type."""
    if as_text(value) not in _SELINUX_TYPES and HostAccess.PRIVILEGED not in at.policy.allow:
        raise Refused("this SELinux type is not allowed by this virtual node's policy")
    return value


def apparmor_type(value: JSON, at: Translation) -> JSON:
    """Handler for appArmorProfile.type."""
    if value == "Unconfined" and HostAccess.PRIVILEGED not in at.policy.allow:
        raise Refused("containers without AppArmor are not allowed by this virtual node's policy")
    return value


def seccomp_type(value: JSON, at: Translation) -> JSON:
    """Handler for seccompProfile.type."""
    if value == "Unconfined" and HostAccess.PRIVILEGED not in at.policy.allow:
        raise Refused("containers without seccomp are not allowed by this virtual node's policy")
    return value


def check_apparmor_annotations(at: Translation) -> None:
    """The annotation form of `apparmor_type`, which API servers before 1.30 know.

    Raises:
        Refused: a container asks to run unconfined; the path is the annotation's.
    """
    for refused in refused_annotations(at).values():
        raise refused


def refused_annotations(at: Translation) -> dict[str, Refused]:
    """The annotations that lift a container's isolation and may not, by key."""
    found: dict[str, Refused] = {}
    for key, value in at.request.pod.metadata.annotations.items():
        if key.startswith(APPARMOR_ANNOTATION_PREFIX) and value == "unconfined":
            try:
                apparmor_type("Unconfined", at)
            except Refused as refused:
                refused.inside(f"[{key}]")
                found[key] = refused
    return found
