"""Which tests had a node work for them, from the API server's audit log of the direct run.

In: audit lines (metadata only). Out: names of tests. Every request of a test carries the test's
name in its user agent (`e2e.test/... -- NAME`), so the log tells which namespaces a test made; and
a kubelet writes the status of each pod that it takes on. A test in whose namespaces a kubelet did
so has started a pod. All others (CRUD of objects, Leases, checks of the Node object) say nothing
about how pods run.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

_SEPARATOR = " -- "
_KUBELET = "system:node:"


def names_of_tests_with_pods(audit: Iterable[str]) -> set[str]:
    """Names of the tests in whose namespaces a kubelet has written a pod's status."""
    makers: dict[str, str] = {}
    worked: set[str] = set()
    for line in audit:
        if '"namespaces"' not in line and '"status"' not in line:
            continue
        entry = json.loads(line)
        about = entry.get("objectRef", {})
        if entry.get("responseStatus", {}).get("code", 0) >= 300:
            continue
        match entry["verb"], about.get("resource"), about.get("subresource"):
            case "create", "namespaces", None:
                test = entry.get("userAgent", "").partition(_SEPARATOR)[2]
                if test:
                    makers[about.get("name", "")] = test
            case "patch" | "update", "pods", "status":
                if entry["user"]["username"].startswith(_KUBELET):
                    worked.add(about["namespace"])
    return {makers[namespace] for namespace in worked if namespace in makers}
