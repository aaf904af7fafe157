"""The ConfigMaps of service variables, which the tenant does not have.

In: the tenant's Services. Out: bodies of the two references of which every pod has one
(`SERVICE_VARIABLES`, `API_SERVER_VARIABLES`), and word of their changes.
`vnode.pods.objects.copies` keeps them below like any ConfigMap. Containers take them in before
everything of their own, so the order of a kubelet holds: `env` over `envFrom` over service
variables, whatever keys an `envFrom` brings and whenever (docs/adr/0007).
"""

import hashlib
from collections.abc import Callable, Mapping

import msgspec

from vnode.backend import API_SERVER_VARIABLES, SERVICE_VARIABLES, ObjectRef, Reference
from vnode.kube.types import ConfigMap, ObjectMeta
from vnode.pods.objects.service_env import Service, service_environment
from vnode.runtime.store import Change, Store

_BY_NAMESPACE = "namespace"


def service_store(name: str) -> Store[Service]:
    """A store of Services as `ServiceVariables` needs it."""
    return Store(name, {_BY_NAMESPACE: lambda service: (service.metadata.namespace,)})


class ServiceVariables:
    """What pods of each tenant namespace are told of Services, and when that changes."""

    def __init__(self, services: Store[Service], api_server: Mapping[str, str]) -> None:
        """Listen to a `service_store`; for `api_server` see `api_server_environment`."""
        self._services = services
        self._api_server = dict(api_server)
        self._versions: dict[ObjectRef, str] = {}
        self._listeners: list[Callable[[ObjectRef], None]] = []
        services.subscribe(self._changed)

    def subscribe(self, listener: Callable[[ObjectRef], None]) -> Callable[[], None]:
        """Call `listener` when variables may have changed. Returns a function that ends this."""
        self._listeners.append(listener)
        return lambda: self._listeners.remove(listener)

    def version(self, ref: ObjectRef) -> str | None:
        """Version of `body`, from memory; None: this is an object of the tenant's own."""
        if Reference(ref.kind, ref.name) not in (SERVICE_VARIABLES, API_SERVER_VARIABLES):
            return None
        known = self._versions.get(ref)
        if known is None:
            encoded = msgspec.json.encode(self._variables(ref), order="deterministic")
            known = self._versions[ref] = hashlib.blake2b(encoded, digest_size=8).hexdigest()
        return known

    def body(self, ref: ObjectRef) -> ConfigMap | None:
        """The variables as a ConfigMap; None: this is an object of the tenant's own."""
        version = self.version(ref)
        if version is None:
            return None
        metadata = ObjectMeta(name=ref.name, namespace=ref.namespace, resource_version=version)
        return ConfigMap(metadata=metadata, data=self._variables(ref))

    def _variables(self, ref: ObjectRef) -> dict[str, str]:
        if Reference(ref.kind, ref.name) == API_SERVER_VARIABLES:
            return self._api_server
        services = self._services.by_index(_BY_NAMESPACE, ref.namespace)
        return {**service_environment(services), **self._api_server}

    def _changed(self, change: Change[Service]) -> None:
        ref = ObjectRef(change.key.namespace, *SERVICE_VARIABLES)
        self._versions.pop(ref, None)
        for listener in tuple(self._listeners):
            listener(ref)
