"""Environment of containers: identity as literals, the tenant's service variables, references kept.

In: `env` and containers after their own tables. Out: the same with fieldRefs resolved where the
compute side would answer wrongly (`downward`), and with the tenant's service variables in front, so
that `$(VAR)` in the user's own variables finds them. Values of Secrets and ConfigMaps are never
inlined: those references stay references.

A kubelet prefers env to envFrom to service variables. As literals, ours would win over envFrom; so
they are left out where the container defines that name in `env`, and, but for KUBERNETES_*, where
it has an `envFrom`: what an object brings is not known here, and a value of the user's must not be
lost.
"""

import re
from collections.abc import Mapping

from federation.backends.kubernetes.translate.downward import literal
from federation.backends.kubernetes.translate.rules import (
    JSONObject,
    Refused,
    Translation,
    as_object,
    as_objects,
    as_text,
)
from vnode.kube.types import JSON

_API_VARIABLE = re.compile(
    r"KUBERNETES_(SERVICE_(HOST|PORT|PORT_HTTPS)|PORT(_\d+_TCP(_PROTO|_PORT|_ADDR)?)?)"
)


def service_variables(variables: Mapping[str, str], *, service_links: bool) -> dict[str, str]:
    """The service variables that the containers of a pod get, by name, in a fixed order.

    KUBERNETES_* of the API server are there with and without service links, as on any node. They
    must be literals: a kubelet adds those of its own cluster where none are given.

    Args:
        variables: `PodRequest.service_env`.
        service_links: the tenant pod's enableServiceLinks.
    """
    return {
        name: value
        for name, value in sorted(variables.items())
        if service_links or _API_VARIABLE.fullmatch(name)
    }


def resolve(value: JSON, at: Translation) -> JSON:
    """Handler for `env`: literals for fieldRefs that would be answered wrongly below."""
    result: list[JSON] = []
    for index, variable in enumerate(as_objects(value)):
        try:
            result.append(_resolved(variable, at))
        except Refused as refused:
            refused.inside(f"[{index}]")
            raise
    return result


def _resolved(variable: JSONObject, at: Translation) -> JSONObject:
    source = variable.get("valueFrom")
    field = as_object(source).get("fieldRef") if source is not None else None
    if field is None:
        return variable
    value = literal(as_text(as_object(field).get("fieldPath")), at)
    return variable if value is None else _literal(as_text(variable.get("name")), value)


def _literal(name: str, value: str) -> JSONObject:
    # `$(X)` in a literal would be expanded; in a resolved reference or service variable it is not.
    return {"name": name, "value": value.replace("$", "$$")}


def with_service_env(value: JSON, at: Translation) -> JSON:
    """Handler for lists of containers: puts the tenant's service variables before their own."""
    added: list[JSON] = [_literal(name, text) for name, text in at.service_env.items()]
    return [_with_variables(container, added, at) for container in as_objects(value)]


def _with_variables(container: JSONObject, added: list[JSON], at: Translation) -> JSONObject:
    own = as_objects(container.get("env"))
    names = {as_text(variable.get("name")) for variable in own}
    if container.get("envFrom"):
        names.update(name for name in at.service_env if not _API_VARIABLE.fullmatch(name))
    if not names.isdisjoint(at.service_env):
        added = [item for item in added if as_object(item)["name"] not in names]
    if added:
        container["env"] = [*added, *own]
    return container
