"""A `PodRequest` opened for translation, and refusals as the seam words them. Pure.

In: what the seam hands down. Out: the decoded spec, the `Translation` that handlers look at, and
`Rejected` (or `Waiting`) with the field of the tenant's pod wherever a handler raised `Refused`.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import msgspec

from federation.backends.kubernetes.translate import env
from federation.backends.kubernetes.translate.names import NamespaceMapping, Owner
from federation.backends.kubernetes.translate.policy import TranslationPolicy
from federation.backends.kubernetes.translate.rules import (
    JSONObject,
    Refused,
    Translation,
    as_object,
)
from vnode.backend import PodRequest, Rejected, Waiting

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


@contextmanager
def rejected(root: str) -> Iterator[None]:
    """Turn `Refused` into `Rejected`, whose field begins with `root`, or into `Waiting`."""
    try:
        yield
    except Refused as refused:
        why = as_rejected(refused, root)
        if refused.waits_as:
            raise Waiting(str(why), reason=refused.waits_as) from None
        raise why from None


def as_rejected(refused: Refused, root: str) -> Rejected:
    """A refusal as the seam words it."""
    path = refused.path(root)
    return Rejected(f"{path}: {refused.text}", field=path)
