"""DNS search domains that name the tenant namespace.

In: dnsConfig.searches of the tenant pod. Out: the same with `<namespace>.svc` turned into the
compute namespace, so that short names of Services (MPI hostfiles) resolve below.
"""

from federation.backends.kubernetes.translate.translation import Translation
from federation.backends.translation.rules import as_list, as_text
from vnode.kube.types import JSON


def searches(value: JSON, at: Translation) -> JSON:
    """Handler for dnsConfig.searches."""
    return [
        rewrite_domain(
            as_text(domain), namespace=at.request.pod.metadata.namespace, below=at.namespace
        )
        for domain in as_list(value)
    ]


def rewrite_domain(domain: str, *, namespace: str, below: str) -> str:
    """Replace the namespace in `[name.]<namespace>.svc[.cluster domain]`.

    Args:
        domain: a DNS name, with or without a dot at its end.
        namespace: the tenant namespace.
        below: the compute namespace.
    """
    labels = domain.split(".")
    for index in range(len(labels) - 1):
        if labels[index] == namespace and labels[index + 1] == "svc":
            labels[index] = below
            break
    return ".".join(labels)
