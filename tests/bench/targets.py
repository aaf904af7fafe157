"""What has to be so (DESIGN: performance). Pure.

In: numbers of a measurement. Out: `Target`s that are met or missed. Speeds are ratios to what the
same control planes do without us in the same run; of the rest, on two cores shared with them.
"""

from __future__ import annotations

from statistics import median
from typing import TYPE_CHECKING

from tests.measuring.report import Target, mebibytes, milliseconds, percentile

if TYPE_CHECKING:
    from collections.abc import Sequence

MOST_OF_FLOOR = 1.3
MOST_WRITES = {True: 7.0, False: 5.0}
"""A pod's whole life, with and without the default ServiceAccount's token."""
MOST_WRITES_SHARED = 1.0
"""More, with one ConfigMap and one Secret shared by 100 pods."""
MOST_PROCESSOR = {True: 0.014, False: 0.010}
"""Seconds, likewise."""
MOST_RESIDENT = 300e6
MOST_CHURN_P99 = 0.5
MOST_NODE_PATCHES, MOST_FOREIGN_PROCESSOR, MOST_SLOWDOWN = 20, 1.0, 1.1
MOST_TO_STEADY = 15.0
MOST_AT_REST = 0.02
LEAST_AT_A_DISTANCE = 0.8
_ABOVE_OWN = {0.5: 0.005, 0.99: 0.015}


def of_speed(floor: Sequence[float], through: Sequence[float]) -> Target:
    """Seconds until all are Ready, of each run."""
    ratio = median(through) / median(floor)
    return Target(
        f"Deployment: at most {MOST_OF_FLOOR:g} x the floor",
        f"{ratio:.2f} x",
        met=ratio <= MOST_OF_FLOOR,
    )


def of_cost(
    *,
    writes: float,
    processor: float,
    peak: float,
    automount: bool,
    what: str,
    shared: bool = False,
) -> list[Target]:
    """Writes and processor seconds per pod, from creation to its end; bytes at most.

    Writes count to the hundredth: one that is sent again in thousands of lives is no habit.
    """
    token = "with" if automount else "without"
    most = MOST_WRITES[automount] + MOST_WRITES_SHARED * shared
    return [
        Target(
            f"{what}, {token} token: at most {most:g} writes per pod",
            f"{writes:.2f}",
            met=round(writes, 2) <= most,
        ),
        Target(
            f"{what}, {token} token: at most {milliseconds(MOST_PROCESSOR[automount])} of processor"
            " per pod",
            f"{processor * 1000:.1f} ms",
            met=processor <= MOST_PROCESSOR[automount],
        ),
        Target(
            f"{what}, {token} token: at most {MOST_RESIDENT / 1e6:.0f} MB resident",
            mebibytes(peak),
            met=peak <= MOST_RESIDENT,
        ),
    ]


def of_churn(status: Sequence[float]) -> Target:
    """Seconds that each status took under churn."""
    found = percentile(status, 0.99)
    return Target(
        f"churn: status p99 at most {milliseconds(MOST_CHURN_P99)}",
        milliseconds(found),
        met=found <= MOST_CHURN_P99,
    )


def of_latency(added: Sequence[float], own: Sequence[float]) -> list[Target]:
    """Seconds that a status took longer through us, and what the tenant takes by itself."""
    found = []
    for share, more in _ABOVE_OWN.items():
        most, took = percentile(own, share) + more, percentile(added, share)
        name = f"idle: added p{share * 100:g} at most the tenant's own + {milliseconds(more)}"
        said = f"{took * 1000:.1f} of {most * 1000:.1f} ms"
        found.append(Target(name, said, met=took <= most))
    return found


def of_foreign(
    *, node_patches: Sequence[int], processor: Sequence[float], slowdown: float
) -> list[Target]:
    """What a thousand pods of others cost us, each run, and what we cost them."""
    return [
        Target(
            f"foreign pods: at most {MOST_NODE_PATCHES} node patches",
            f"{max(node_patches)}",
            met=max(node_patches) <= MOST_NODE_PATCHES,
        ),
        Target(
            f"foreign pods: at most {MOST_FOREIGN_PROCESSOR:g} s of processor",
            f"{max(processor):.2f} s",
            met=max(processor) <= MOST_FOREIGN_PROCESSOR,
        ),
        Target(
            f"foreign pods: their time to Ready at most {MOST_SLOWDOWN:g} x without us",
            f"{slowdown:.2f} x",
            met=slowdown <= MOST_SLOWDOWN,
        ),
    ]


def of_restart(*, seconds: float, writes: int, at_rest: float, resident: float) -> list[Target]:
    """A restart under running pods; `at_rest` is a share of one core."""
    return [
        Target(
            f"restart: steady in at most {MOST_TO_STEADY:g} s",
            f"{seconds:.1f} s",
            met=seconds <= MOST_TO_STEADY,
        ),
        Target("restart: pods are not written", f"{writes}", met=writes == 0),
        Target(
            f"at rest: at most {MOST_AT_REST:.0%} of a core",
            f"{at_rest:.1%}",
            met=at_rest <= MOST_AT_REST,
        ),
        Target(
            f"at rest: at most {MOST_RESIDENT / 1e6:.0f} MB resident",
            mebibytes(resident),
            met=resident <= MOST_RESIDENT,
        ),
    ]


def of_distance(*, without: float, rate: float, delay: float) -> Target:
    """Pods a second without a delay between the clusters, and with one (seconds)."""
    share = rate / without
    return Target(
        f"{milliseconds(delay)} between the clusters: at least {LEAST_AT_A_DISTANCE:.0%} of the"
        " speed",
        f"{share:.0%}",
        met=share >= LEAST_AT_A_DISTANCE,
    )


def of_wide(*, nodes: int, used: int, processor: float, peak: float) -> list[Target]:
    """Many virtual nodes in one agent; processor seconds per pod."""
    return [
        Target(
            f"{nodes} virtual nodes: all of them have pods",
            f"{used}",
            met=used == nodes,
        ),
        Target(
            f"{nodes} virtual nodes: at most {milliseconds(MOST_PROCESSOR[True])} of processor per"
            " pod",
            f"{processor * 1000:.1f} ms",
            met=processor <= MOST_PROCESSOR[True],
        ),
        Target(
            f"{nodes} virtual nodes: at most {MOST_RESIDENT / 1e6:.0f} MB resident",
            mebibytes(peak),
            met=peak <= MOST_RESIDENT,
        ),
    ]


def of_tenants(*, right: int, tenants: int) -> Target:
    """How many have all their pods, and no others, in their own compute namespace."""
    return Target(
        f"{tenants} tenants: each has its pods in its own namespace",
        f"{right}",
        met=right == tenants,
    )
