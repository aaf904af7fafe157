"""Which nodes of a tenant are Ready, asked once for all of them.

In: a tenant. Out: names. With many nodes that is what a wait has to be made of.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from tests.measuring.waiting import wait

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from tests.clusters import Cluster


def wait_ready(tenant: Cluster, names: Collection[str], *, timeout: float) -> None:
    """Until all of these are Ready and have room for pods. Raises MeasurementError."""
    wanted = set(names)

    def done() -> bool:
        items = json.loads(tenant.kubectl("get", "nodes", "-o", "json"))["items"]
        return wanted <= {item["metadata"]["name"] for item in items if is_ready(item["status"])}

    wait(done, f"{len(wanted)} virtual nodes are Ready", timeout=timeout, every=0.5)


def is_ready(status: Mapping[str, Any]) -> bool:
    """Whether pods can be sent there."""
    conditions = {each["type"]: each["status"] for each in status.get("conditions", [])}
    has_room = status.get("allocatable", {}).get("pods", "0") != "0"
    return has_room and conditions.get("Ready") == "True"
