"""A `PodRequest` opened for translation. Pure.

In: what the seam hands down. Out: the decoded spec, the `Translation` that handlers look at, or
`Rejected` with the field of the tenant's pod.
"""

import msgspec

from federation.backends.kubernetes.translate import env
from federation.backends.kubernetes.translate.names import NamespaceMapping, Owner
from federation.backends.kubernetes.translate.policy import TranslationPolicy
from federation.backends.kubernetes.translate.translation import Translation
from federation.backends.translation.rules import as_object, rejected
from vnode.backend import PodRequest, Rejected
from vnode.kube.types import JSONObject

SERVICE_ACCOUNT = "default"
"""Every copy runs as this ServiceAccount of the compute namespace, without a token of it."""


def decode_spec(request: PodRequest) -> JSONObject:
    """The tenant's PodSpec.

    Raises:
        Rejected: it is no object.
    """
    with rejected("spec"):
        return as_object(msgspec.json.decode(request.pod.spec))


def translation(
    request: PodRequest,
    spec: JSONObject,
    *,
    owner: Owner,
    namespaces: NamespaceMapping,
    policy: TranslationPolicy,
) -> Translation:
    """What handlers may look at.

    Raises:
        Rejected: the tenant namespace has no place below.
    """
    namespace = namespaces.below(request.pod.metadata.namespace)
    if namespace is None:
        raise Rejected(
            f"namespace {request.pod.metadata.namespace} is not forwarded by this virtual node",
            field="metadata.namespace",
        )
    account = spec.get("serviceAccountName")
    return Translation(
        request=request,
        owner=owner,
        namespaces=namespaces,
        policy=policy,
        namespace=namespace,
        service_account=account if isinstance(account, str) else SERVICE_ACCOUNT,
        sees_host=policy.expose_host_ip or spec.get("hostNetwork") is True,
        service_variables=env.service_variables(spec),
    )
