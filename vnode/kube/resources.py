"""Which URL a resource has. One constant per resource that we use."""

from dataclasses import dataclass
from urllib.parse import quote

from vnode.kube.errors import NotFound

_NO_NAMES = frozenset({"", ".", ".."})
_NO_NAME_HAS = frozenset("/%")
_LONGEST_NAME = 253
"""Characters of a DNS subdomain (apimachinery, DNS1123SubdomainMaxLength)."""


@dataclass(frozen=True, slots=True)
class Resource:
    """A resource of the Kubernetes API (group, version, plural) and how its URLs are formed."""

    group: str
    version: str
    plural: str
    kind: str
    namespaced: bool = True

    @property
    def api_version(self) -> str:
        """`v1` or `group/version`, as it stands in an object."""
        return f"{self.group}/{self.version}" if self.group else self.version

    def path(
        self, *, namespace: str | None = None, name: str | None = None, subresource: str = ""
    ) -> str:
        """URL path of the collection, of one object, or of its subresource.

        Names of Secrets, ConfigMaps and claims in a PodSpec are free text to the API. One that
        would lead elsewhere (`..`, `a/b`) is never asked for: servers decode paths before they read
        them, and proxies before servers may even follow the dots, with our credential. Nor is one
        that is too long for any object: servers and proxies refuse long URLs with errors of theirs.

        Raises:
            NotFound: no object can have that name (apimachinery, pkg/api/validation/path).
        """
        if name is not None and not _may_be_a_name(name):
            shown = name[:_LONGEST_NAME]
            raise NotFound(f"{self.plural} {shown!r} not found", code=404, reason="NotFound")
        root = f"/apis/{self.group}/{self.version}" if self.group else f"/api/{self.version}"
        if namespace is not None and self.namespaced:
            root += f"/namespaces/{quote(namespace, safe='')}"
        root += f"/{self.plural}"
        if name is not None:
            root += f"/{quote(name, safe='')}"
        return f"{root}/{subresource}" if subresource else root


def _may_be_a_name(name: str) -> bool:
    free = name not in _NO_NAMES and _NO_NAME_HAS.isdisjoint(name)
    return free and len(name) <= _LONGEST_NAME


PODS = Resource("", "v1", "pods", "Pod")
NODES = Resource("", "v1", "nodes", "Node", namespaced=False)
NAMESPACES = Resource("", "v1", "namespaces", "Namespace", namespaced=False)
CONFIG_MAPS = Resource("", "v1", "configmaps", "ConfigMap")
SECRETS = Resource("", "v1", "secrets", "Secret")
SERVICES = Resource("", "v1", "services", "Service")
SERVICE_ACCOUNTS = Resource("", "v1", "serviceaccounts", "ServiceAccount")
EVENTS = Resource("", "v1", "events", "Event")
RESOURCE_QUOTAS = Resource("", "v1", "resourcequotas", "ResourceQuota")
PERSISTENT_VOLUME_CLAIMS = Resource("", "v1", "persistentvolumeclaims", "PersistentVolumeClaim")
LEASES = Resource("coordination.k8s.io", "v1", "leases", "Lease")
TOKEN_REVIEWS = Resource(
    "authentication.k8s.io", "v1", "tokenreviews", "TokenReview", namespaced=False
)
SUBJECT_ACCESS_REVIEWS = Resource(
    "authorization.k8s.io", "v1", "subjectaccessreviews", "SubjectAccessReview", namespaced=False
)
CERTIFICATE_SIGNING_REQUESTS = Resource(
    "certificates.k8s.io",
    "v1",
    "certificatesigningrequests",
    "CertificateSigningRequest",
    namespaced=False,
)
