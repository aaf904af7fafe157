"""The machinery of field tables: what a row can say, and how a value is taken through a table.

In: decoded JSON of a tenant pod, and what the handlers of a table may look at. Out: new JSON of
what travels; nothing of the input is changed, but parts of it are shared. A value that may not
travel raises `Refused`, which collects the path of its field on the way out; `rejected` words it as
the seam does. The rows themselves are each backend's own: its `translate.fields`.
"""

import enum
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Generic, Protocol, TypeAlias, TypeVar

from vnode.backend import Rejected, Waiting
from vnode.kube.types import JSON, JSONObject

_UNSET: tuple[JSON, ...] = (None, "", [], {})


class Refused(Exception):
    """A field's value may not travel. Outside of this package: `Rejected`, or `Waiting`.

    Args:
        text: why, as users read it.
        waits_as: the pod waits with that reason instead of being rejected.
    """

    def __init__(self, text: str, *, waits_as: str = "") -> None:
        super().__init__(text)
        self.text = text
        self.waits_as = waits_as
        self._segments: list[str] = []

    def inside(self, segment: str) -> None:
        """Note, from the inside out, where the value stands: `.name` or `[index]`."""
        self._segments.append(segment)

    def path(self, root: str) -> str:
        """The field's path below `root`, e.g. `spec.containers[0].ports[1].hostPort`."""
        return root + "".join(reversed(self._segments))


class Allowing(Protocol):
    """What every handler may look at, and this module itself: the policy's permissions."""

    @property
    def allow(self) -> Collection[str]:
        """Features that the policy allows; each backend has its own."""
        ...


C = TypeVar("C", bound=Allowing)
At = TypeVar("At", bound=Allowing, contravariant=True)
Handler: TypeAlias = Callable[[JSON, C], JSON]
"""Computes a field's value below; None leaves the field out."""


class Action(enum.Enum):
    """What happens to a field."""

    KEEP = "keep"
    REWRITE = "rewrite"
    DROP = "drop"
    REJECT = "reject"


@dataclass(frozen=True)
class Row(Generic[At]):
    """What happens to one field. Made by `keep`, `rewrite`, `drop` and `reject`."""

    action: Action
    of: "Table[At] | None" = None
    """Table of the field's value; None: the value is taken as it is."""
    many: bool = False
    """The value is a list of `of`."""
    handler: Callable[[JSON, At], JSON] | None = None
    default: JSON = None
    """REJECT: the API's default, which is left out and not refused."""
    unless: frozenset[str] = frozenset()
    """REJECT: policy features of which one is enough to keep the field."""
    text: str = ""
    """Why it is dropped or rejected, as users read it."""
    waits_as: str = ""
    """REJECT: the pod waits with that reason."""


@dataclass(frozen=True)
class Table(Generic[At]):
    """All fields of one API type."""

    name: str
    """Name of the type in the OpenAPI document, without its group."""
    rows: Mapping[str, Row[At]]


KEEP: Row[Allowing] = Row(Action.KEEP)
"""The value travels as it is."""


def keep(of: Table[C], *, many: bool = False) -> Row[C]:
    """The value travels if all of its own fields do."""
    return Row(Action.KEEP, of=of, many=many)


def rewrite(handler: Handler[C], of: Table[C] | None = None, *, many: bool = False) -> Row[C]:
    """The value goes through its own table first, then through `handler`."""
    return Row(Action.REWRITE, of=of, many=many, handler=handler)


def drop(text: str, *, of: Table[C] | None = None, many: bool = False) -> Row[C]:
    """The value stays in the tenant cluster, or is computed anew, because of `text`.

    `of` is the table of values that travel by another way.
    """
    return Row(Action.DROP, of=of, many=many, text=text)


def reject(
    text: str,
    *,
    default: JSON = None,
    unless: tuple[str, ...] = (),
    of: Table[C] | None = None,
    many: bool = False,
    waits_as: str = "",
) -> Row[C]:
    """A value other than `default` refuses the pod, unless the policy allows such a feature."""
    return Row(
        Action.REJECT,
        of=of,
        many=many,
        default=default,
        unless=frozenset(unless),
        text=text,
        waits_as=waits_as,
    )


def walk(value: JSON, table: Table[C], at: C) -> JSONObject:
    """Take an object through its table.

    Raises:
        Refused: a field is unknown, or its row refuses the value.
    """
    rows = table.rows
    result: JSONObject = {}
    for name, item in as_object(value).items():
        row = rows.get(name)
        if row is KEEP:
            if item is not None:
                result[name] = item
            continue
        try:
            kept = _apply(row, item, at)
        except Refused as refused:
            refused.inside(f".{name}")
            raise
        if kept is not None:
            result[name] = kept
    return result


def walk_list(value: JSON, table: Table[C], at: C) -> list[JSONObject]:
    """Take every object of a list through the same table.

    Raises:
        Refused: see `walk`.
    """
    result: list[JSONObject] = []
    for index, item in enumerate(as_list(value)):
        try:
            result.append(walk(item, table, at))
        except Refused as refused:
            refused.inside(f"[{index}]")
            raise
    return result


def _apply(row: Row[C] | None, item: JSON, at: C) -> JSON:
    if row is None:
        if item in _UNSET:
            return None
        raise Refused("this field is not known to this virtual node, so it cannot be forwarded")
    if item is None or row.action is Action.DROP:
        return None
    if row.action is Action.REJECT:
        if item in _UNSET or item == row.default:
            return None
        if row.unless.isdisjoint(at.allow):
            raise Refused(row.text, waits_as=row.waits_as)
    if row.of is not None:
        # list[JSONObject] is a JSON value, though lists are invariant to the type checker
        item = list(walk_list(item, row.of, at)) if row.many else walk(item, row.of, at)
    return item if row.handler is None else row.handler(item, at)


def as_object(value: JSON) -> JSONObject:
    """The value as an object. Raises Refused if it is none."""
    if not isinstance(value, dict):
        raise Refused("must be an object")
    return value


def as_list(value: JSON) -> list[JSON]:
    """The value as a list; null is an empty one. Raises Refused if it is none."""
    if value is None:
        return []
    if not isinstance(value, list):
        raise Refused("must be a list")
    return value


def as_objects(value: JSON) -> list[JSONObject]:
    """The value as a list of objects; null is an empty one. Raises Refused if it is none."""
    return [as_object(item) for item in as_list(value)]


def as_text(value: JSON) -> str:
    """The value as a string; null is an empty one. Raises Refused if it is none."""
    if value is None:
        return ""
    if not isinstance(value, str):
        raise Refused("must be a string")
    return value


@contextmanager
def inside(segment: str) -> Iterator[None]:
    """Note where a value stands that is refused in the block: `.name` or `[index]`."""
    try:
        yield
    except Refused as refused:
        refused.inside(segment)
        raise


@contextmanager
def rejected(root: str) -> Iterator[None]:
    """Turn `Refused` into `Rejected`, whose field begins with `root`, or into `Waiting`."""
    try:
        yield
    except Refused as refused:
        why = as_rejected(refused, root)
        if refused.waits_as:
            raise Waiting(str(why), reason=refused.waits_as) from None
        raise why from None


def as_rejected(refused: Refused, root: str) -> Rejected:
    """A refusal as the seam words it."""
    path = refused.path(root)
    return Rejected(f"{path}: {refused.text}", field=path)
