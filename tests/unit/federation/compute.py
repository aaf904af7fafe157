"""A compute cluster for tests of its backend: objects in memory, a watch that the test lets run.

`Compute.deliver` hands on what the watch has to say; until then the backend knows only what its own
calls were answered. `Compute.open` prepares a namespace as the platform team does.
"""

import asyncio
import random
from collections.abc import Callable
from typing import Any, TypeVar

from federation.backends.kubernetes.backend import KubernetesBackend
from federation.backends.kubernetes.namespaces import NamespaceState
from federation.backends.kubernetes.on_demand import OnDemand
from federation.backends.kubernetes.pod_writer import ClaimJudge
from federation.backends.kubernetes.prepared_claims import PreparedClaims
from federation.backends.kubernetes.translate.names import (
    LABEL_TENANT,
    NamespaceMapping,
    Owner,
)
from federation.backends.kubernetes.translate.policy import TranslationPolicy
from tests.builders import NODE, OWNER, make_metadata
from tests.fakes.client import Body, RecordingClient
from tests.fakes.clock import LoopClock
from vnode.kube.client import KubeClient
from vnode.kube.decode import decode
from vnode.kube.resources import CONFIG_MAPS, EVENTS, NAMESPACES, PODS, SECRETS
from vnode.kube.types import Event, HasMetadata, ObjectKey, PartialObject, Pod, encode
from vnode.runtime.store import Store

T = TypeVar("T", bound=HasMetadata)

BELOW = "red--team-a"


def home_backend(client: KubeClient, *, on_demand: OnDemand | None = None) -> KubernetesBackend:
    """A backend whose tasks and time are the test's."""
    return KubernetesBackend(
        client,
        cluster="home",
        owner=OWNER,
        namespaces=NamespaceMapping(OWNER.tenant),
        policies={NODE: TranslationPolicy()},
        clock=LoopClock(),
        rng=random.Random(1),
        on_demand=on_demand,
    )


class Compute:
    """One compute cluster and this tenant's backend for it."""

    def __init__(
        self,
        *,
        owner: Owner = OWNER,
        policy: TranslationPolicy | None = None,
        forwards: Callable[[str], bool] = lambda _: True,
        claim_check: ClaimJudge | None = None,
        prepared_claims: Callable[[KubeClient], PreparedClaims] | None = None,
    ) -> None:
        clock = LoopClock()
        self.client = RecordingClient(name="clusters[0] gpu", unix_time=clock.time)
        self.backend = KubernetesBackend(
            self.client.client,
            cluster="gpu",
            owner=owner,
            namespaces=NamespaceMapping("red"),
            policies={NODE: policy or TranslationPolicy()},
            clock=clock,
            rng=random.Random(1),
            forwards=forwards,
            claim_check=claim_check,
            prepared_claims=prepared_claims(self.client.client) if prepared_claims else None,
        )
        self._waiting: list[tuple[str, Body, bool]] = []
        self.client.on_change.append(lambda *change: self._waiting.append(change))

    async def open(self, namespace: str = "team-a", *, tenant: str = "red") -> None:
        """The platform team has prepared the namespace, and the watches have listed it."""
        below = f"red--{namespace}"
        labels = {LABEL_TENANT: tenant}
        self.client.put(NAMESPACES, make_metadata(below, namespace="", labels=labels))
        self.backend.namespaces.add(namespace)
        task = asyncio.ensure_future(self.backend.namespaces.run())
        for _ in range(10):  # the fake answers at once
            await asyncio.sleep(0)
        assert self.backend.namespaces.state(namespace) is not NamespaceState.UNKNOWN
        task.cancel()
        await asyncio.wait([task])
        self.client.calls.clear()
        self.backend.pods.mark_synced(below)
        objects = self.backend._objects
        for store in (objects.config_maps, objects.secrets):
            store.mark_synced(below)

    def deliver(self, *, initial: bool = False) -> None:
        """The watch says what has happened since."""
        waiting, self._waiting = self._waiting, []
        for plural, body, exists in waiting:
            owned = body["metadata"].get("labels", {}).get(LABEL_TENANT) == "red"
            match plural:
                case PODS.plural if owned:
                    _take(self.backend.pods, decode(encode(body), Pod), exists, initial)
                case CONFIG_MAPS.plural if owned:
                    store = self.backend._objects.config_maps
                    _take(store, decode(encode(body), PartialObject), exists, initial)
                case SECRETS.plural if owned:
                    store = self.backend._objects.secrets
                    _take(store, decode(encode(body), PartialObject), exists, initial)
                case EVENTS.plural:
                    events = self.backend._events.store
                    _take(events, decode(encode(body), Event), exists, initial)
                case _:
                    pass

    def pod(self, name: str = "job-0") -> Any:
        """The pod below, as JSON."""
        return self.client.get_body(PODS, ObjectKey(BELOW, name))


def _take(store: Store[T], value: T, exists: bool, initial: bool) -> None:
    if exists:
        store.upsert(value, scope=value.metadata.namespace, initial=initial)
    else:
        store.remove(value.metadata.key, last=value)
