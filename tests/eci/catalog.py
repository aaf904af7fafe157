"""What ECI sells: sizes by vCPU and memory, and instance types. Prices are invented.

Sizes are those of all regions: https://www.alibabacloud.com/help/en/eci/user-guide/
specify-the-number-of-vcpus-and-memory-size-to-create-an-elastic-container-instance
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tests.eci.refusal import Refusal

SIZES: Mapping[float, tuple[float, ...]] = {
    0.25: (0.5, 1),
    0.5: (1, 2),
    1: (2, 4, 8),
    2: (1, 2, 4, 8, 16),
    4: (2, 4, 8, 16, 32),
    8: (4, 8, 16, 32, 64),
    12: (12, 24, 48, 96),
    16: (16, 32, 64, 128),
    24: (24, 48, 96, 192),
    32: (32, 64, 128, 256),
    52: (96, 192, 384),
    64: (128, 256, 512),
}
"""Memory in GiB by vCPUs."""
DEFAULT = (2.0, 4.0)
"""vCPUs and GiB when nothing is asked for."""
MOST_TYPES = 5
_SIZE = re.compile(r"(\d+(?:\.\d+)?)-(\d+(?:\.\d+)?)Gi")


@dataclass(frozen=True)
class Bought:
    """What a group gets and is paid for."""

    cpu: float
    memory: float
    """GiB."""
    type: str = ""
    """Instance type, if one was asked for."""
    gpus: int = 0
    price: float = 0.0
    """Yuan an hour."""


def _type(name: str, cpu: float, memory: float, gpus: int, price: float) -> Bought:
    return Bought(cpu, memory, name, gpus, price)


TYPES: dict[str, Bought] = {
    one.type: one
    for one in (
        _type("ecs.c6.large", 2, 4, 0, 0.4),
        _type("ecs.c6.xlarge", 4, 8, 0, 0.8),
        _type("ecs.g6.large", 2, 8, 0, 0.5),
        _type("ecs.g6.xlarge", 4, 16, 0, 1.0),
        _type("ecs.gn6i-c4g1.xlarge", 4, 15, 1, 11.0),
        _type("ecs.gn6i-c8g1.2xlarge", 8, 31, 1, 13.0),
        _type("ecs.gn6i-c24g1.12xlarge", 48, 186, 2, 30.0),
        _type("ecs.gn6i-c24g1.24xlarge", 96, 372, 4, 60.0),
        _type("ecs.gn6v-c8g1.2xlarge", 8, 32, 1, 26.0),
        _type("ecs.gn6v-c8g1.8xlarge", 32, 128, 4, 105.0),
        _type("ecs.gn6v-c8g1.16xlarge", 64, 256, 8, 211.0),
        _type("ecs.gn7i-c8g1.2xlarge", 8, 30, 1, 16.0),
        _type("ecs.gn7i-c16g1.4xlarge", 16, 60, 1, 18.0),
        _type("ecs.gn7i-c32g1.8xlarge", 32, 188, 1, 24.0),
    )
}


def size(cpu: float, memory: float) -> Bought:
    """The smallest size that holds both; the fewer vCPUs first. Raises Refusal."""
    for cpus, memories in SIZES.items():
        for gib in memories:
            if cpus >= cpu and gib >= memory:
                return Bought(cpus, gib, price=0.35 * cpus + 0.04 * gib)
    raise Refusal("InvalidParameter.CPU.Memory", "The specified cpu and memory are not allowed")


def bought(asked: Mapping[str, Any]) -> list[Bought]:
    """What would do for a create, in the order to try. Raises Refusal."""
    counted = [one for one in asked["Container"] if not _ignored(one)]
    cpu, memory = (sum(float(one.get(what, 0)) for one in counted) for what in ("Cpu", "Memory"))
    inits = asked.get("InitContainer", ())
    cpu = max([cpu, *(float(one.get("Cpu", 0)) for one in inits)])
    memory = max([memory, *(float(one.get("Memory", 0)) for one in inits)])
    gpus = sum(int(one.get("Gpu", 0)) for one in asked["Container"])
    kinds = [kind for kind in asked.get("InstanceType", "").split(",") if kind]
    if len(kinds) > MOST_TYPES:
        raise Refusal("InvalidParameter.LengthExceeded", "There are more than 5 instance types.")
    found = [_kind(kind) for kind in kinds]
    if not found:
        whole = float(asked.get("Cpu", 0)), float(asked.get("Memory", 0))
        if any(whole) and (whole[0] < cpu or whole[1] < memory):
            raise Refusal(
                "InvalidParameter.CPU.Memory", "The containers ask for more than the group has."
            )
        cpu, memory = (max(pair) for pair in zip((cpu, memory), whole, strict=True))
        found = [size(*((cpu, memory) if cpu or memory else DEFAULT))]
    for one in found:
        if one.gpus < gpus or one.cpu < cpu or one.memory < memory:
            name = one.type or "what is sold by vCPU and memory"
            raise Refusal("InvalidParameter.CPU.Memory", f"The containers do not fit in {name}.")
    return found


def _kind(kind: str) -> Bought:
    if match := _SIZE.fullmatch(kind):
        return size(float(match[1]), float(match[2]))
    if kind not in TYPES:
        raise Refusal(
            "InvalidInstanceTypeForEciBuy",
            "Sales of this current instance type is not supported in eci.",
        )
    return TYPES[kind]


def _ignored(container: Mapping[str, Any]) -> bool:
    variables = container.get("EnvironmentVar", ())
    return any(
        one["Key"] == "__ECI_RESOURCE_IGNORE__" and one.get("Value", "").upper() == "TRUE"
        for one in variables
    )
