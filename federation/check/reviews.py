"""What a credential may do, asked of the API server itself.

In: rights. Out: which of them are there, and which others. SelfSubjectRulesReview tells all of a
namespace at once, as far as the authorizers can list it; whatever it does not say is asked one by
one by SelfSubjectAccessReview, whose word counts. Everybody may ask about himself.
"""
# ruff: noqa: RUF012 - msgspec copies these defaults for every object

import asyncio
from collections.abc import Iterable, Sequence

from federation.rights import Right
from vnode.kube.client import KubeClient
from vnode.kube.resources import Resource
from vnode.kube.types import APIObject

__all__ = ["Rule", "allowed", "missing_rights", "rules_in"]

_GROUP = "authorization.k8s.io"
SELF_ACCESS = Resource(
    _GROUP, "v1", "selfsubjectaccessreviews", "SelfSubjectAccessReview", namespaced=False
)
SELF_RULES = Resource(
    _GROUP, "v1", "selfsubjectrulesreviews", "SelfSubjectRulesReview", namespaced=False
)
_AT_ONCE = 8


class Rule(APIObject, frozen=True):
    """authorization.k8s.io/v1 ResourceRule."""

    verbs: list[str] = []
    api_groups: list[str] = []
    resources: list[str] = []
    resource_names: list[str] = []

    def covers(self, right: Right) -> bool:
        """Whether it allows the right, in the namespace that it was listed for."""
        return (
            _has(self.verbs, right.verb)
            and _has(self.api_groups, right.group)
            and _has_resource(self.resources, right.resource)
            and (not self.resource_names or right.name in self.resource_names)
        )


class _Rules(APIObject, frozen=True):
    resource_rules: list[Rule] | None = None


class _RulesReview(APIObject, frozen=True):
    status: _Rules = _Rules()


class _Access(APIObject, frozen=True):
    allowed: bool = False


class _AccessReview(APIObject, frozen=True):
    status: _Access = _Access()


async def rules_in(client: KubeClient, namespace: str) -> Sequence[Rule]:
    """All that we may in a namespace, as far as it can be listed. Raises KubeError."""
    body = {
        "apiVersion": SELF_RULES.api_version,
        "kind": SELF_RULES.kind,
        "spec": {"namespace": namespace},
    }
    review = await client.create(SELF_RULES, body, _RulesReview)
    return review.status.resource_rules or []


async def allowed(client: KubeClient, right: Right) -> bool:
    """Whether we have a right. Raises KubeError."""
    resource, _, subresource = right.resource.partition("/")
    attributes = {
        "verb": right.verb,
        "group": right.group,
        "resource": resource,
        "subresource": subresource,
        "name": right.name,
        "namespace": right.namespace or "",
    }
    body = {
        "apiVersion": SELF_ACCESS.api_version,
        "kind": SELF_ACCESS.kind,
        "spec": {"resourceAttributes": attributes},
    }
    return (await client.create(SELF_ACCESS, body, _AccessReview)).status.allowed


async def missing_rights(client: KubeClient, rights: Iterable[Right]) -> list[Right]:
    """Those that we have not, in their order. Raises KubeError."""
    rights = list(rights)
    turns = asyncio.Semaphore(_AT_ONCE)

    async def listed(namespace: str) -> tuple[str, Sequence[Rule]]:
        async with turns:
            return namespace, await rules_in(client, namespace)

    async def asked(right: Right) -> bool:
        async with turns:
            return await allowed(client, right)

    namespaces = {right.namespace for right in rights if right.namespace is not None}
    rules = dict(await asyncio.gather(*map(listed, sorted(namespaces))))
    unknown = [
        right
        for right in rights
        if right.namespace is None or not any(r.covers(right) for r in rules[right.namespace])
    ]
    answers = await asyncio.gather(*map(asked, unknown))
    return [right for right, has in zip(unknown, answers, strict=True) if not has]


def _has(values: Iterable[str], value: str) -> bool:
    return any(each in ("*", value) for each in values)


def _has_resource(values: Iterable[str], resource: str) -> bool:
    """`pods/log` is allowed by itself, `*` and `*/log`."""
    _, _, subresource = resource.partition("/")
    return _has(values, resource) or bool(subresource and f"*/{subresource}" in values)
