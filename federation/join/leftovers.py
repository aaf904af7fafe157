"""What a tenant has in a compute cluster beyond what a plan wants: earlier, wider joins left it.

In: the objects of the plan, and a client with the administrator's rights. Out: objects with the
tenant's label that are none of them, and the commands that remove them. Nothing is deleted here: a
namespace holds pods, and another entry of the agent's configuration may lead to the same cluster.
Kinds that the API server does not have, or that the administrator may not list, are left out.
"""

import shlex
from collections.abc import Sequence
from itertools import groupby
from typing import NamedTuple

from federation.backends.kubernetes.translate.names import (
    ANNOTATION_MADE,
    LABEL_MANAGED_BY,
    LABEL_TENANT,
    MANAGED_BY,
)
from federation.join.apply import RESOURCES
from federation.join.render import Object
from vnode.kube.client import KubeClient
from vnode.kube.errors import Forbidden, NotFound, ServerError
from vnode.kube.listing import Selection, list_pages
from vnode.kube.resources import Resource
from vnode.kube.types import PartialObject, object_in

_KINDS = (
    "ClusterRoleBinding",
    "RoleBinding",
    "ClusterRole",
    "Role",
    # After the rights that they fence.
    "ValidatingAdmissionPolicyBinding",
    "ValidatingAdmissionPolicy",
    "Namespace",
)
"""In the order in which they should go. All others go with a namespace, or are of every plan."""


class Leftover(NamedTuple):
    """One object that the plan does not want."""

    kind: str
    namespace: str
    """Empty for objects of the cluster."""
    name: str


async def leftovers(client: KubeClient, tenant: str, objects: Sequence[Object]) -> list[Leftover]:
    """What join made for the tenant and is none of `objects`. Raises KubeError."""
    wanted = set(map(_named, objects))
    found: list[Leftover] = []
    for kind in _KINDS:
        there = await _there(client, RESOURCES[kind], tenant)
        found += sorted(each for each in there if each not in wanted)
    return found


def commands(found: Sequence[Leftover]) -> list[str]:
    """How they are removed, in that order; what is deleted along is said."""
    lines = []
    for (kind, namespace), each in groupby(found, lambda one: (one.kind, one.namespace)):
        names = " ".join(shlex.quote(one.name) for one in each)
        place = f" --namespace={namespace}" if namespace else ""
        along = "  # and all that runs there" if kind == "Namespace" else ""
        lines.append(f"kubectl delete {RESOURCES[kind].plural} {names}{place}{along}")
    return lines


async def _there(client: KubeClient, resource: Resource, tenant: str) -> list[Leftover]:
    ours = f"{LABEL_TENANT}={tenant},{LABEL_MANAGED_BY}={MANAGED_BY}"
    selection = Selection(resource, label_selector=ours, metadata_only=True)
    found = []
    try:
        async for page in list_pages(client, selection, PartialObject):
            found += [
                Leftover(resource.kind, each.metadata.namespace, each.metadata.name)
                for each in page.items or ()
                if ANNOTATION_MADE not in each.metadata.annotations  # the agent's own
            ]
    except (Forbidden, NotFound):
        return []
    except ServerError as error:
        if error.code != 404:  # no such API
            raise
        return []
    return found


def _named(value: Object) -> Leftover:
    metadata = object_in(value["metadata"])
    namespace = str(metadata.get("namespace", ""))
    return Leftover(str(value["kind"]), namespace, str(metadata["name"]))
