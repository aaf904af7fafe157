"""Reflectors for a changing set of namespaces, all into one store.

In: namespaces that come and go, and how to make the reflector of one. Out: a store that has each of
them as a scope. Owned by whoever runs `run`; it ends by cancellation alone.
"""

import asyncio
from collections.abc import Callable
from typing import Generic, Never, TypeVar

from vnode.kube.errors import KubeError
from vnode.kube.types import UID, HasMetadata, ObjectKey
from vnode.runtime.reflector import Reflector
from vnode.runtime.store import Store

__all__ = ["ReflectorSet"]

T = TypeVar("T", bound=HasMetadata)


class ReflectorSet(Generic[T]):
    """Reflectors for a changing set of namespaces, all into one store.

    `make` builds the reflector of one namespace; its scope must be the namespace (the default).
    """

    def __init__(self, store: Store[T], make: Callable[[str], Reflector[T]]) -> None:
        self._store = store
        self._make = make
        self._reflectors: dict[str, Reflector[T]] = {}
        self._running: dict[str, tuple[Reflector[T], asyncio.Task[Never]]] = {}
        self._changed = asyncio.Event()

    def add(self, namespace: str) -> None:
        """Begin to mirror a namespace; nothing happens if it is in the set."""
        if namespace not in self._reflectors:
            self._reflectors[namespace] = self._make(namespace)
            self._changed.set()

    def remove(self, namespace: str) -> None:
        """Stop mirroring a namespace and drop its objects from the store."""
        if self._reflectors.pop(namespace, None) is not None:
            self._changed.set()

    def error(self, namespace: str) -> KubeError | None:
        """What is wrong with the reflector of a namespace now; None: nothing, or there is none."""
        reflector = self._reflectors.get(namespace)
        return reflector.last_error if reflector is not None else None

    def suspect(self, key: ObjectKey, uid: UID) -> None:
        """See `Reflector.suspect`."""
        if (reflector := self._reflectors.get(key.namespace)) is not None:
            reflector.suspect(key, uid)

    async def run(self) -> Never:
        """Run the reflectors of the set, as it changes, until cancelled."""
        async with asyncio.TaskGroup() as group:
            while True:
                self._changed.clear()
                # A namespace that left and came back has another reflector.
                for namespace, (reflector, _) in list(self._running.items()):
                    if self._reflectors.get(namespace) is not reflector:
                        await self._stop(namespace)
                for namespace, reflector in self._reflectors.items():
                    if namespace not in self._running:
                        task = group.create_task(reflector.run(), name=f"reflector {namespace}")
                        self._running[namespace] = reflector, task
                await self._changed.wait()
        raise AssertionError("a task group ended by itself")

    async def _stop(self, namespace: str) -> None:
        _, task = self._running.pop(namespace)
        task.cancel()
        await asyncio.wait([task])
        self._store.drop_scope(namespace)
