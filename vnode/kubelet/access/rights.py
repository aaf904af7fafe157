"""Who calls the kubelet API and which right a call needs. Pure.

In: a verified client certificate, the Authorization header, the HTTP method.
Out: `Credentials`, `Caller` and `Access`, which `vnode.kubelet.access.authenticator` decides about.
"""

from dataclasses import dataclass, field

from cryptography import x509
from cryptography.x509.oid import NameOID

from vnode.kube.types import NodeName

__all__ = [
    "Access",
    "Caller",
    "Credentials",
    "bearer_token",
    "certificate_caller",
    "node_subresources",
    "required_access",
]

_VERBS = {
    "GET": "get",
    "POST": "create",
    "PUT": "update",
    "PATCH": "patch",
    "DELETE": "delete",
}


@dataclass(frozen=True, slots=True)
class Caller:
    """An authenticated user of the tenant cluster (authentication.k8s.io/v1 UserInfo)."""

    name: str
    uid: str = ""
    groups: tuple[str, ...] = ()
    extra: tuple[tuple[str, tuple[str, ...]], ...] = ()


@dataclass(frozen=True, slots=True)
class Credentials:
    """What a request proves about its sender; a token never appears in a repr."""

    certificate: x509.Certificate | None = field(default=None, repr=False)
    """Present only if OpenSSL verified its chain and its sender has the key."""
    token: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True)
class Access:
    """A right on one Node object. One of the subresources is enough, in this order."""

    node: NodeName
    verb: str
    """Lower case API verb; empty (which only a wildcard grants) for methods without one."""
    subresources: tuple[str, ...]


_FINE_GRAINED = {
    "/pods": "pods",
    "/healthz": "healthz",
    "/configz": "configz",
    "/runningpods": "pods",
}
"""Where the right on all of nodes/proxy is enough as well."""
_OWN = {
    "/stats": "stats",
    "/metrics": "metrics",
    "/logs": "log",
    "/checkpoint": "checkpoint",
    "/statusz": "statusz",
    "/flagz": "configz",
}


def node_subresources(path: str) -> tuple[str, ...]:
    """Subresources of the Node of which a right on any is enough for a path, in this order.

    As in kubernetes:pkg/kubelet/server/auth.go (1.36, with KubeletFineGrainedAuthz).
    """
    fine = [name for prefix, name in _FINE_GRAINED.items() if _is_below(path, prefix)]
    own = [name for prefix, name in _OWN.items() if _is_below(path, prefix)]
    return (*fine, *(own or ["proxy"]))


def _is_below(path: str, prefix: str) -> bool:
    return path == prefix or path.startswith(f"{prefix}/")


def required_access(
    *, node: NodeName, method: str, subresources: tuple[str, ...], runs_code: bool
) -> Access:
    """The right that a request needs, as in kubernetes:pkg/kubelet/server/auth.go.

    Stricter than the kubelet in one point: what runs code or opens a connection into a container
    needs `create` over GET as well, so that `get nodes/proxy`, which monitoring agents often have,
    is not a shell in every container.
    """
    verb = "create" if runs_code else _VERBS.get(method, "")
    return Access(node=node, verb=verb, subresources=subresources)


def bearer_token(authorization: str | None) -> str:
    """Token of an Authorization header; empty if it holds none, or what none can be (RFC 6750)."""
    scheme, _, token = (authorization or "").strip().partition(" ")
    return token.strip() if scheme.lower() == "bearer" and token.isascii() else ""


def certificate_caller(certificate: x509.Certificate | None) -> Caller | None:
    """The user of a verified client certificate: CN is the name, every O a group.

    None without a certificate, or if it names nobody.
    """
    if certificate is None:
        return None
    try:
        subject = certificate.subject
    except ValueError:  # cryptography reads names when they are asked for
        return None
    names = [_text(name) for name in subject.get_attributes_for_oid(NameOID.COMMON_NAME)]
    if not names or not names[-1]:
        return None
    organizations = subject.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)
    groups = [_text(organization) for organization in organizations]
    return Caller(name=names[-1], groups=(*groups, "system:authenticated"))


def _text(attribute: x509.NameAttribute[str | bytes]) -> str:
    """Its value; of a bit string, which names nobody, nothing."""
    return attribute.value if isinstance(attribute.value, str) else ""
