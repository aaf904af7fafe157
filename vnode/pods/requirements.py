"""What a pod needs of the place where it runs. Pure.

In: a tenant pod's spec and its references. Out: the first thing that the backend's `Capabilities`
do not have, as a rejection that names the field (DESIGN 2).
"""

from collections.abc import Collection

import msgspec

from vnode.backend import Capabilities, ReferenceKind, Rejected, TokenKey
from vnode.pods.objects.references import ReferenceUse


class _Spec(msgspec.Struct, frozen=True):
    subdomain: str = ""


_SPEC = msgspec.json.Decoder(_Spec)


def unmet(
    spec: msgspec.Raw,
    *,
    uses: Collection[ReferenceUse],
    tokens: Collection[TokenKey],
    capabilities: Capabilities,
) -> Rejected | None:
    """The rejection of a pod that needs what the backend cannot do; None: it can all be done."""
    secret = next((u for u in uses if u.ref.kind is ReferenceKind.SECRET), None)
    if secret is not None and not (capabilities.secret_objects or capabilities.inline_secrets):
        return _rejected(secret.where, "keep Secrets as objects, and values are not inlined")
    if tokens and not capabilities.token_refresh and capabilities.start_tokens is None:
        return _rejected("spec.volumes", "renew ServiceAccount tokens of running pods")
    if _SPEC.decode(spec).subdomain and not capabilities.cluster_dns:
        return _rejected("spec.subdomain", "let pods find each other by DNS name")
    return None


def _rejected(field: str, what: str) -> Rejected:
    return Rejected(f"{field}: the place behind this virtual node cannot {what}", field=field)
