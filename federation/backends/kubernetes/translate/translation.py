"""One tenant pod on its way into a compute cluster: what the handlers of `fields` may look at.

Made by `request.translation`; frozen, for one pod and one policy.
"""

from dataclasses import dataclass

from federation.backends.kubernetes.translate.names import NamespaceMapping, Owner
from federation.backends.kubernetes.translate.policy import HostAccess, TranslationPolicy
from vnode.backend import PodRequest


@dataclass(frozen=True, slots=True, repr=False)
class Translation:
    """One pod on its way down: what handlers may look at."""

    request: PodRequest
    owner: Owner
    namespaces: NamespaceMapping
    policy: TranslationPolicy
    namespace: str
    """The compute namespace."""
    service_account: str
    """The tenant pod's serviceAccountName."""
    sees_host: bool
    """The pod may learn the address of the compute node that it runs on."""
    service_variables: str
    """Name of the ConfigMap with the service variables that every container gets."""

    @property
    def allow(self) -> frozenset[HostAccess]:
        """Host features that the policy allows."""
        return self.policy.allow
