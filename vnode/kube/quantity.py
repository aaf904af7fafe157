"""Kubernetes quantities (`500m`, `1.5Gi`, `2e3`), exactly.

Text in, `Quantity` out, and back in the API server's canonical form. Pure. Values are integers in
units of 10^-9, the smallest that Kubernetes knows; anything finer is rounded away from zero, as
there. Source: k8s.io/apimachinery/pkg/api/resource. Unlike Go, nothing is capped at 2^63-1.
"""

import enum
import functools
import re
from dataclasses import dataclass
from fractions import Fraction
from typing import Self

__all__ = ["ZERO", "InvalidQuantity", "Notation", "Quantity"]

_NANO = 10**9
_TEXT = re.compile(
    r"(?P<sign>[+-]?)(?P<number>[0-9]+(?:\.[0-9]*)?|\.[0-9]+)"
    r"(?:(?P<suffix>[KMGTPE]i|[numkMGTPE])|[eE](?P<exponent>[+-]?[0-9]{1,2}))?"
)
_MAX_LENGTH = 64
_DECIMAL = ("n", "u", "m", "", "k", "M", "G", "T", "P", "E")
_BINARY = ("", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei")


class InvalidQuantity(ValueError):
    """A text is not a Kubernetes quantity."""


class Notation(enum.Enum):
    """How a quantity was written, and will be written again."""

    DECIMAL = "DecimalSI"
    """`500m`, `2k`"""
    BINARY = "BinarySI"
    """`2Ki`"""
    EXPONENT = "DecimalExponent"
    """`2e3`"""


@functools.total_ordering
@dataclass(frozen=True, slots=True, eq=False)
class Quantity:
    """An exact amount. Equal amounts are equal however they are written."""

    nanos: int
    """The amount in units of 10^-9."""
    notation: Notation = Notation.DECIMAL

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a quantity. Raises InvalidQuantity."""
        match = _TEXT.fullmatch(text) if len(text) <= _MAX_LENGTH else None
        if match is None:
            raise InvalidQuantity(f"{text[:_MAX_LENGTH]!r} is not a quantity such as 500m or 2Gi")
        sign, number, suffix, exponent = match.group("sign", "number", "suffix", "exponent")
        notation = Notation.DECIMAL
        scale = Fraction(1)
        if exponent is not None:
            notation, scale = Notation.EXPONENT, Fraction(10) ** int(exponent)
        elif suffix in _BINARY:
            notation, scale = Notation.BINARY, Fraction(1024) ** _BINARY.index(suffix)
        elif suffix:
            scale = Fraction(1000) ** (_DECIMAL.index(suffix) - 3)
        amount = Fraction(number if number[-1] != "." else number[:-1]) * scale * _NANO
        nanos = -(-amount.numerator // amount.denominator)  # rounded up
        return cls(-nanos if sign == "-" else nanos, notation)

    @classmethod
    def of(cls, value: int) -> Self:
        """A whole number."""
        return cls(value * _NANO)

    def __str__(self) -> str:
        """The canonical form: no fraction, the largest suffix that loses nothing."""
        if self.nanos == 0:
            return "0"
        sign, nanos = ("-", -self.nanos) if self.nanos < 0 else ("", self.nanos)
        whole, rest = divmod(nanos, _NANO)
        if self.notation is Notation.BINARY and not rest and whole >= 1024:
            power = 0
            while whole % 1024 == 0 and power < len(_BINARY) - 1:
                whole, power = whole // 1024, power + 1
            return f"{sign}{whole}{_BINARY[power]}"
        power = 0
        while nanos % 1000 == 0 and power < len(_DECIMAL) - 1:
            nanos, power = nanos // 1000, power + 1
        if self.notation is Notation.EXPONENT:
            exponent = (power - 3) * 3
            return f"{sign}{nanos}e{exponent}" if exponent else f"{sign}{nanos}"
        return f"{sign}{nanos}{_DECIMAL[power]}"

    def __add__(self, other: "Quantity") -> "Quantity":
        """The sum, written as the first that is not zero."""
        return Quantity(self.nanos + other.nanos, self._wins(other))

    def __sub__(self, other: "Quantity") -> "Quantity":
        """The difference, written as the first that is not zero; may be negative."""
        return Quantity(self.nanos - other.nanos, self._wins(other))

    def __eq__(self, other: object) -> bool:
        """Whether the amounts are equal."""
        return self.nanos == other.nanos if isinstance(other, Quantity) else NotImplemented

    def __lt__(self, other: "Quantity") -> bool:
        """Whether the amount is smaller."""
        return self.nanos < other.nanos

    def __hash__(self) -> int:
        """Equal amounts have equal hashes."""
        return hash(self.nanos)

    def _wins(self, other: "Quantity") -> Notation:
        return self.notation if self.nanos else other.notation


ZERO = Quantity(0)
