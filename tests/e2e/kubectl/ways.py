"""The ways from a kubectl into a container, and the mark of a test that goes them. Pure.

A way is a kubectl, the protocol that it speaks, and a tenant's API server, which speaks the same
to the virtual node, or SPDY where it does not know better.
"""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, TypeVar

import pytest

from tests.clusters import programs

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import ModuleType

T = TypeVar("T", bound="Callable[..., object]")


class Protocol(Enum):
    """How streams are carried over HTTP."""

    WEBSOCKET = "WebSocket"
    SPDY = "SPDY"


class Server(Enum):
    """A tenant's API server; both are of the newest version."""

    NEW = "WebSocket and SPDY to nodes"
    """It speaks WebSocket to nodes that declare the feature ExtendWebSocketsToKubelet."""
    OLD = "SPDY to nodes"
    """It does not know the feature, like all before 1.36."""


@dataclass(frozen=True)
class Way:
    """One of the table's columns."""

    program: str
    """Name of the kubectl for `tests.clusters.programs`."""
    client: Protocol
    server: Server = Server.NEW

    @property
    def node(self) -> Protocol:
        """What the virtual node is spoken to in, and the compute cluster after it."""
        return self.client if self.server is Server.NEW else Protocol.SPDY

    @property
    def version(self) -> str:
        """Of kubectl."""
        version = programs.family_of(self.program).version
        return version.replace("v0.", "v1.")  # Kubernetes' libraries count from v0.

    @property
    def name(self) -> str:
        """As the page heads it."""
        return f"{self.version}, {self.client.value}, {self.node.value}"

    def __str__(self) -> str:
        return f"{self.version}-{self.client.value}-{self.node.value}"


_WEBSOCKET = Way(programs.KUBECTL, Protocol.WEBSOCKET)
_OLD_KUBECTL = Way(programs.OLD_KUBECTL, Protocol.SPDY)
STREAMS = (
    _WEBSOCKET,
    Way(programs.KUBECTL, Protocol.SPDY),
    _OLD_KUBECTL,
    Way(programs.KUBECTL, Protocol.WEBSOCKET, Server.OLD),
)
"""What opens streams goes these ways."""
PLAIN = (_WEBSOCKET, _OLD_KUBECTL)
"""What is one request and its answer goes these: the protocol of streams has no part in it."""


@dataclass(frozen=True)
class Row:
    """One of the table's rows."""

    verb: str
    shows: str
    ways: tuple[Way, ...]


def shows(verb: str, what: str, *, ways: tuple[Way, ...] = STREAMS) -> Callable[[T], T]:
    """Mark a test as a row: it shows `what` of kubectl's `verb`, once by each of the ways."""
    row = Row(verb, what, ways)
    mark = pytest.mark.parametrize(
        ("site", "kubectl"),
        [pytest.param(way.server, way, id=str(way)) for way in ways],
        indirect=True,
        scope="module",  # so that tests of one site come together
    )

    def decorate(test: T) -> T:
        mark(test)
        vars(test)["row"] = row
        return test

    return decorate


def rows(module: ModuleType) -> Iterator[tuple[str, Row]]:
    """Names of the marked tests of a module with their rows, in the order of the file."""
    for name, test in vars(module).items():
        row = getattr(test, "row", None)
        if inspect.isfunction(test) and isinstance(row, Row):
            yield name, row
