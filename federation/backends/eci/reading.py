"""Reads JSON of the service where a single odd field must not hide everything else.

In: bytes of an answer, or of one item of a list. Out: the struct, or ValidationError. The service's
types are not public to the last field: a null where none is named counts as left out. Pure.
"""

from typing import TypeVar

import msgspec

__all__ = ["read"]

T = TypeVar("T")


def read(data: bytes | msgspec.Raw, into: type[T]) -> T:
    """Decode.

    Raises:
        msgspec.DecodeError: it is no JSON, or of another form even without its nulls. The words
            name a field's place, never its value.
    """
    try:
        return msgspec.json.decode(data, type=into)
    except msgspec.ValidationError:
        return msgspec.convert(_without_nulls(msgspec.json.decode(data)), type=into)


def _without_nulls(found: object) -> object:
    if isinstance(found, dict):
        return {name: _without_nulls(each) for name, each in found.items() if each is not None}
    if isinstance(found, list):
        return [_without_nulls(each) for each in found if each is not None]
    return found
