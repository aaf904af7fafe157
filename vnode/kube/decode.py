"""JSON bytes of the API server in, structs out. Pure.

Decoders are built once per type. Whatever a caller may keep is detached from the answer's buffer:
`msgspec.Raw` fields are slices that would otherwise keep a whole page of a listing in memory.
"""

import functools
from typing import Generic, TypeVar, cast

import msgspec
from msgspec import Raw, Struct

from vnode.kube.errors import ServerError

__all__ = ["ListMeta", "Page", "WatchEvent", "decode", "detached"]

T = TypeVar("T")


class ListMeta(Struct, frozen=True, rename="camel"):
    """metav1.ListMeta."""

    resource_version: str = ""
    continue_: str = msgspec.field(default="", name="continue")


class Page(Struct, Generic[T], frozen=True):
    """One page of a listing. The API server writes `null` for no items at times."""

    metadata: ListMeta
    items: list[T] | None = None


class WatchEvent(Struct, frozen=True):
    """One line of a watch; `object` is decoded once its `type` is known."""

    type: str
    object: Raw = Raw(b"{}")


_decoders: dict[object, msgspec.json.Decoder[object]] = {}


def _decoder(kind: type[T]) -> "msgspec.json.Decoder[T]":
    decoder = _decoders.get(kind)
    if decoder is None:
        decoder = _decoders[kind] = msgspec.json.Decoder(kind)
    return cast("msgspec.json.Decoder[T]", decoder)


def decode(data: bytes | Raw, kind: type[T]) -> T:
    """Decode an answer; ServerError (code 200) if it is not what this API server would send."""
    try:
        return _decoder(kind).decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        # msgspec names the path and the expected type, never a value.
        raise ServerError(
            f"the answer is not a Kubernetes {kind.__name__}: {error}", code=200
        ) from None


@functools.cache
def _raw_fields(kind: type[Struct]) -> tuple[str, ...]:
    return tuple(field.name for field in msgspec.structs.fields(kind) if field.type is Raw)


def detached(value: T) -> T:
    """`value` without references into the buffer that it was decoded from."""
    if not isinstance(value, Struct):
        return value.copy() if isinstance(value, Raw) else value  # type: ignore[return-value]
    names = _raw_fields(type(value))
    if not names:
        return value
    copies = {name: getattr(value, name).copy() for name in names}
    return msgspec.structs.replace(value, **copies)
