"""Environment of containers: the tenant's service variables in front, references kept.

In: `env` and containers after their own tables. Out: the same with fieldRefs answered as in the
tenant (`downward`), and with the tenant's service variables as the first
`envFrom`. Values of Secrets and ConfigMaps are never inlined: those references stay references.

A kubelet prefers `env` to `envFrom` to service variables, later entries of `envFrom` to earlier
ones, and expands `$(VAR)` in `env` from all three. With service variables as the first entry it
comes out the same, and a container that is restarted sees the Services of then, as on any node.
"""

from federation.backends.kubernetes.translate import downward
from federation.backends.kubernetes.translate.names import object_name_below
from federation.backends.kubernetes.translate.translation import Translation
from federation.backends.translation.rules import Refused, as_list, as_object, as_objects
from vnode.kube.types import JSON, JSONObject
from vnode.pods.objects.references import service_variables as reference


def service_variables(spec: JSONObject) -> str:
    """Name of the ConfigMap below with the service variables of a pod's containers."""
    return object_name_below(*reference(service_links=spec.get("enableServiceLinks") is not False))


def resolve(value: JSON, at: Translation) -> JSON:
    """Handler for `env`: values of fieldRefs that would be answered wrongly below."""
    result: list[JSON] = []
    for index, variable in enumerate(as_objects(value)):
        source = variable.get("valueFrom")
        try:
            field = source is not None and as_object(source).get("fieldRef") is not None
            result.append(downward.variable(variable, at) if field else variable)
        except Refused as refused:
            refused.inside(f"[{index}]")
            raise
    return result


def with_service_variables(value: JSON, at: Translation) -> JSON:
    """Handler for lists of containers: the tenant's service variables before all of their own."""
    first: JSONObject = {"configMapRef": {"name": at.service_variables}}
    return [
        {**container, "envFrom": [first, *as_list(container.get("envFrom"))]}
        for container in as_objects(value)
    ]
