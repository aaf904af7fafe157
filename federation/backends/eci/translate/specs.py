"""Sizes: what a pod asks for, and the size that ECI sells and bills for it.

In: quantities of the containers of a pod. Out: a legal pair of vCPU and GiB, the smallest that
holds them; or the instance types that do. Rules of ECI ("Specify vCPU and memory to create an
instance"): limits count where they are set, else requests; containers are summed up; init
containers run before them, each alone; a pod that asks for nothing gets 2 vCPU and 4 GiB.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction

from federation.backends.eci.translate.policy import InstanceType
from vnode.kube.quantity import Quantity

__all__ = ["DEFAULT", "SIZES", "Asked", "Size", "fitting", "rounded", "total"]

_NANO = 10**9
_GIB = 1 << 30


@dataclass(frozen=True, slots=True)
class Size:
    """A size that ECI sells."""

    cpu: float
    memory: float
    """GiB."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What containers ask for; None: nothing said."""

    cpu: Fraction | None = None
    memory: Fraction | None = None
    """GiB."""
    gpus: int = 0
    storage: Fraction = Fraction(0)
    """GiB of local storage."""


SIZES = tuple(
    Size(cpu, memory)
    for cpu, memories in (
        (0.25, (0.5, 1)),
        (0.5, (1, 2)),
        (1, (2, 4, 8)),
        (2, (1, 2, 4, 8, 16)),
        (4, (2, 4, 8, 16, 32)),
        (8, (4, 8, 16, 32, 64)),
        (12, (12, 24, 48, 96)),
        (16, (16, 32, 64, 128)),
        (24, (24, 48, 96, 192)),
        (32, (32, 64, 128, 256)),
        (52, (96, 192, 384)),
        (64, (128, 256, 512)),
    )
    for memory in memories
)
"""Those that all regions have, by vCPU and then by memory. Some regions have more between them,
which would be billed less: what is billed is never more than these say."""
DEFAULT = Size(2, 4)


def cpus(quantity: Quantity) -> Fraction:
    """A quantity of `cpu`."""
    return Fraction(quantity.nanos, _NANO)


def gibibytes(quantity: Quantity) -> Fraction:
    """A quantity of bytes."""
    return Fraction(quantity.nanos, _NANO * _GIB)


def total(containers: Iterable[Asked], *, before: Iterable[Asked] = ()) -> Asked:
    """What a pod asks for: its containers together, or one of those that run `before` them."""
    cpu: Fraction | None = None
    memory: Fraction | None = None
    gpus, storage = 0, Fraction(0)
    for one in containers:
        cpu = cpu if one.cpu is None else (cpu or 0) + one.cpu
        memory = memory if one.memory is None else (memory or 0) + one.memory
        gpus += one.gpus
        storage += one.storage
    for one in before:
        cpu = cpu if one.cpu is None else max(cpu or Fraction(0), one.cpu)
        memory = memory if one.memory is None else max(memory or Fraction(0), one.memory)
        gpus = max(gpus, one.gpus)
        storage = max(storage, one.storage)
    return Asked(cpu=cpu, memory=memory, gpus=gpus, storage=storage)


def rounded(asked: Asked) -> Size | None:
    """The smallest size that holds it: fewest vCPU, then least memory; None: none is large enough.

    Of what is not said, the default is taken.
    """
    if asked.cpu is None and asked.memory is None:
        return DEFAULT
    cpu = DEFAULT.cpu if asked.cpu is None else asked.cpu
    memory = DEFAULT.memory if asked.memory is None else asked.memory
    return next((size for size in SIZES if size.cpu >= cpu and size.memory >= memory), None)


def fitting(types: Sequence[InstanceType], asked: Asked) -> tuple[InstanceType, ...]:
    """Those of the instance types that hold it, in their order."""
    return tuple(
        one
        for one in types
        if one.cpu >= (asked.cpu or 0)
        and one.memory >= (asked.memory or 0)
        and one.gpus >= asked.gpus
    )
