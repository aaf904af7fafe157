"""The rights of deploy/ and `vnode join` are those that agents need: none lacked, none too many.

Judges a whole run of the end-to-end tests, whose agents had exactly these rights (`tests.agents`),
by what API servers wrote down of them. A right that no test needs is superfluous, or its test is
missing.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.agents.rights import FOLDER, Request, Right, Seen, gathered, granted
from tests.clusters import can_run_containers

pytestmark = pytest.mark.afterwards

RARE = {
    # Every five minutes, for namespaces that were left: tests/unit/federation/test_leftovers.py.
    ("join/on-demand-rbac.yaml", "list", "namespaces"),
}
"""What no run is long enough to see; the unit tests that show the need stand beside it."""
ON_DEMAND = "join/on-demand-rbac.yaml"
PREPARED = "join/namespace-rbac.yaml"


@pytest.fixture(scope="module")
def seen() -> Seen:
    """What all agents of the run did."""
    folder = os.environ.get(FOLDER)
    if folder is None:
        pytest.skip("judges a whole run: python -m tests.e2e")
    found = gathered(Path(folder))
    if not found.used:
        pytest.skip("the audit logs of given clusters cannot be read")
    return found


def test_every_right_is_needed(seen: Seen) -> None:
    possible, why = can_run_containers()
    if not possible:
        pytest.skip(f"most of the tests need containers: {why}")
    unused = [r for r in sorted(granted()) if r not in seen.used and not _same(r, seen)]
    superfluous = [str(r) for r in unused if (r.manifest, r.verb, r.resource) not in RARE]
    assert not superfluous, "no test needs these rights:\n" + "\n".join(superfluous)


def _same(right: Right, seen: Seen) -> bool:
    """In namespaces made on demand agents do what they do in prepared ones, by the same code."""
    twin = right._replace(manifest=PREPARED, role="Role vnode", names=())
    return right.manifest == ON_DEMAND and twin in seen.used


TRIED = {
    # `usage: auto` finds out whether it may (join/usage-kubelet.yaml).
    Request("get", "", "nodes/proxy", ""),
}
"""What agents try although they may lack the right."""


def test_no_right_is_missing(seen: Seen) -> None:
    missing = [f"{r} ({n} times)" for r, n in sorted(seen.lacked.items()) if r not in TRIED]
    assert not missing, "agents were refused:\n" + "\n".join(missing)
