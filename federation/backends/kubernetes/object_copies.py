"""The ConfigMaps, Secrets and token sets of one tenant cluster in one compute cluster.

In: what the backend's watches bring of our labelled objects, and bodies to be copied. Out: which
version of a tenant object lies below, when tokens are due, and writes through `ObjectWriter`. It
decides nothing: who refers to what is known in `vnode.pods.objects.copies`.
"""

from collections.abc import Callable, Mapping

from federation.backends.kubernetes.conceal import Names
from federation.backends.kubernetes.objects import (
    ANNOTATION_TOKENS_REFRESH,
    RESOURCES,
    ObjectWriter,
    object_below,
    token_set,
    tokens_refresh_at,
)
from federation.backends.kubernetes.observe import tenant_key
from federation.backends.kubernetes.translate.names import (
    ANNOTATION_NAME,
    ANNOTATION_SOURCE_VERSION,
    NamespaceMapping,
    Owner,
    object_name_below,
    token_secret_name,
)
from vnode.backend import ObjectRef, ObservedPod, ReferenceKind, Token, TokenKey
from vnode.kube.client import KubeClient
from vnode.kube.types import UID, ConfigMap, ObjectKey, PartialObject, Secret
from vnode.runtime.store import Change, Store


class ObjectCopies:
    """Stores, listeners and writers of copied objects."""

    def __init__(
        self,
        client: KubeClient,
        *,
        cluster: str,
        owner: Owner,
        mapping: NamespaceMapping,
        tokens_gone: Callable[[ObjectKey], None],
    ) -> None:
        """Make the stores; the backend's watches fill them.

        Args:
            client: of the compute cluster.
            cluster: its name, for the stores.
            owner: who we are.
            mapping: where tenant namespaces lie.
            tokens_gone: called with the tenant key of a pod whose token set somebody removed.
        """
        self._owner = owner
        self._mapping = mapping
        self._tokens_gone = tokens_gone
        self._listeners: list[Callable[[ObjectRef], None]] = []
        self.config_maps: Store[PartialObject] = Store(f"{cluster} configmaps")
        self.secrets: Store[PartialObject] = Store(f"{cluster} secrets")
        self._stores = {
            ReferenceKind.CONFIG_MAP: self.config_maps,
            ReferenceKind.SECRET: self.secrets,
        }
        self._writers = {
            kind: ObjectWriter(client, RESOURCES[kind], store, owner, mapping)
            for kind, store in self._stores.items()
        }
        for kind, store in self._stores.items():
            store.subscribe(self._listener(kind))

    def synced(self, below: str) -> bool:
        """Whether all of ours in a compute namespace was listed."""
        return all(store.synced(below) for store in self._stores.values())

    def any_in(self, below: str) -> bool:
        """Whether there is any of ours in a compute namespace."""
        return any(key.namespace == below for store in self._stores.values() for key in store)

    def subscribe(self, listener: Callable[[ObjectRef], None]) -> None:
        """Call `listener` when a copy changed or went."""
        self._listeners.append(listener)

    def tell_all(self, namespace: str) -> None:
        """Tell of every copy that was made from an object of a tenant namespace."""
        below = self._mapping.below(namespace)
        for kind, store in self._stores.items():
            for held in store.values():
                ref = self._ref(kind, held) if held.metadata.namespace == below else None
                if ref is not None and ref.namespace == namespace:
                    for listener in self._listeners:
                        listener(ref)

    def version(self, ref: ObjectRef) -> str | None:
        """`uid/resourceVersion` of the tenant object that the copy was made from; None: no copy."""
        held = self._stores[ref.kind].get(self._key(ref))
        if held is None or self._ref(ref.kind, held) != ref:
            return None
        return held.metadata.annotations[ANNOTATION_SOURCE_VERSION]

    async def put(self, ref: ObjectRef, body: ConfigMap | Secret) -> None:
        """Create or update a copy. Raises NameConflict or Waiting."""
        key = self._key(ref)
        built = object_below(ref, body, owner=self._owner, namespace=key.namespace)
        await self._writers[ref.kind].put(key, built, names=Names(key.namespace, ref.namespace))

    async def drop(self, ref: ObjectRef) -> None:
        """Remove a copy. Raises Waiting."""
        key = self._key(ref)
        await self._writers[ref.kind].delete(key, names=Names(key.namespace, ref.namespace))

    async def put_tokens(
        self, pod: ObservedPod, below: str, tokens: Mapping[TokenKey, Token]
    ) -> None:
        """Write the token set of a copy in its compute namespace. Raises Waiting."""
        body = token_set(pod, tokens, owner=self._owner, namespace=below)
        await self._writers[ReferenceKind.SECRET].put(
            ObjectKey(below, token_secret_name(pod.uid)),
            body,
            names=Names(below, pod.key.namespace),
        )

    def tokens_due(self, uid: UID, below: str) -> float | None:
        """Unix seconds at which the tokens of a tenant pod are due; None: it has none below."""
        held = self.secrets.get(ObjectKey(below, token_secret_name(uid)))
        if held is None or not self._owner.owns(held.metadata):
            return None
        return tokens_refresh_at(held.metadata)

    def _key(self, ref: ObjectRef) -> ObjectKey:
        below = self._mapping.below(ref.namespace)
        return ObjectKey(below or "", object_name_below(ref.kind, ref.name))

    def _ref(self, kind: ReferenceKind, held: PartialObject) -> ObjectRef | None:
        """Which tenant object a copy was made from; None for token sets and foreign objects."""
        if ANNOTATION_SOURCE_VERSION not in held.metadata.annotations:
            return None
        key = tenant_key(held.metadata, owner=self._owner, namespaces=self._mapping)
        name = held.metadata.annotations.get(ANNOTATION_NAME, "")
        return ObjectRef(key.namespace, kind, name) if key else None

    def _listener(self, kind: ReferenceKind) -> Callable[[Change[PartialObject]], None]:
        def changed(change: Change[PartialObject]) -> None:
            held = change.new or change.old
            ref = self._ref(kind, held) if held else None
            if ref is not None:
                for listener in self._listeners:
                    listener(ref)
            elif held is not None and change.new is None:
                self._lost_tokens(held)

        return changed

    def _lost_tokens(self, held: PartialObject) -> None:
        """Somebody removed a token set: its pod needs another, long before the next renewal."""
        key = tenant_key(held.metadata, owner=self._owner, namespaces=self._mapping)
        if key is not None and ANNOTATION_TOKENS_REFRESH in held.metadata.annotations:
            self._tokens_gone(key)
