"""Which tests had a node work for them, from the API server's audit log of the direct run.

In: audit lines (metadata only). Out: names of tests. Every request of a test carries the test's
name in its user agent (`e2e.test/... -- NAME`), so the log tells which namespaces a test made. A
test in whose namespaces somebody has created a pod starts pods. All others (CRUD of objects,
Leases, requests that the API server refuses) say nothing about how pods run.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

_SEPARATOR = " -- "
_CREATED = 201


def names_of_tests_with_pods(audit: Iterable[str]) -> set[str]:
    """Names of the tests in whose namespaces pods were created."""
    makers: dict[str, str] = {}
    worked: set[str] = set()
    for line in audit:
        if '"create"' not in line:
            continue
        entry = json.loads(line)
        about = entry.get("objectRef", {})
        created = entry.get("responseStatus", {}).get("code", 0) == _CREATED
        if not created or "dryRun=" in entry.get("requestURI", ""):
            continue
        match about.get("resource"), about.get("subresource"):
            case "namespaces", None:
                test = entry.get("userAgent", "").partition(_SEPARATOR)[2]
                if test:
                    makers[about.get("name", "")] = test
            case "pods", None:
                worked.add(about["namespace"])
    return {makers[namespace] for namespace in worked if namespace in makers}
