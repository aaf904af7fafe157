"""Lists of objects, page by page.

In: a resource, which part of it, and the type to decode into. Out: pages whose resourceVersion is
the same from the first to the last. The first call leaves resourceVersion unset, so the API server
answers with the state as of now and never with one that is older than an earlier answer. Whoever
iterates gets the errors; Gone in the middle means that the list has to be begun again.
"""

from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import TypeVar

from vnode.kube.accept import JSON, METADATA_ONLY_LIST
from vnode.kube.client import KubeClient
from vnode.kube.decode import Page, decode, detached
from vnode.kube.resources import Resource

__all__ = ["Selection", "list_pages"]

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Selection:
    """Which objects of a resource, and how much of them."""

    resource: Resource
    namespace: str | None = None
    """None: the whole cluster."""
    label_selector: str = ""
    field_selector: str = ""
    metadata_only: bool = False
    """Let the server send PartialObjectMetadata."""

    @property
    def path(self) -> str:
        """Path of the collection."""
        return self.resource.path(namespace=self.namespace)

    def query(self) -> dict[str, str]:
        """Query parameters that select."""
        query = {"labelSelector": self.label_selector, "fieldSelector": self.field_selector}
        return {name: value for name, value in query.items() if value}


async def list_pages(
    client: KubeClient,
    selection: Selection,
    kind: type[T],
    *,
    page_size: int = 500,
    timeout: float = 60.0,
) -> AsyncGenerator[Page[T], None]:
    """Yield the pages of a consistent listing; `timeout` (seconds) is for each page.

    Raises Gone if the listing took longer than the server remembers, and the rest of the tree.
    """
    query = {**selection.query(), "limit": str(page_size)}
    while True:
        data = await client.request(
            "GET",
            selection.path,
            query=query,
            accept=METADATA_ONLY_LIST if selection.metadata_only else JSON,
            timeout=timeout,
            compress=True,
        )
        page: Page[T] = decode(data, Page[kind])  # type: ignore[valid-type]
        items = [detached(item) for item in page.items or ()]
        yield Page(metadata=page.metadata, items=items)
        if not page.metadata.continue_:
            return
        query["continue"] = page.metadata.continue_
