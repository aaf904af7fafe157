"""Which tests run beside a second tenant with the same names, and how sites get one.

In: a site that is joined, and the wish for a twin (`python -m tests.e2e --twin`). Out: one more
tenant in the site's harness, joined to the same compute clusters on the same terms, over links
that nobody breaks, with an agent of its own and a `Twin` that follows and looks. Judged when the
site ends: what was seen of one tenant with the other is an error there.
"""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import TYPE_CHECKING

from tests.agents import AgentProcess
from tests.agents.join import join_another
from tests.clusters import ClusterSpec
from tests.clusters.existing import requested
from tests.e2e.twin import NAME, Twin

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from tests.agents import Federation
    from tests.clusters import Cluster, Harness

WANTED = "VNODE_E2E_TWIN"
"""Environment variable: whether the run has twins."""
WITHOUT = {
    "install/test_install.py": """follows a page and tells a story in a process of its own, and then
        asks for all that is left in the clusters; the same workloads have a twin in
        test_deployment.py""",
    "install/test_kind_program.py": "starts no cluster: kind ends before its first container",
    "lifecycle": """an agent in the test's process on five kinds of places, of which one is an API
        server. There each world has a namespace and an agent of its own, and in test_death.py a
        dozen worlds at once have a pod and a ConfigMap of one name: one copy each, by UID""",
    "test_chaos.py": """its verdict is over everything that anybody wrote, in a given time;
        others' namesakes in the compute namespaces are among its faults""",
    "test_sessions.py": "has no compute cluster: its backend is in the memory of the virtual node",
    "test_tenants.py": """is about two tenants with the same names itself, and tries more on them
        than a twin would""",
}
"""Tests with clusters of their own that have no twin there, by path, and why."""


def wanted() -> bool:
    """Whether this run has twins; on given clusters there is no tenant for one."""
    return bool(os.environ.get(WANTED)) and not requested()


def specs() -> list[ClusterSpec]:
    """What a harness has to start besides the clusters of a site."""
    return [ClusterSpec(NAME)] if wanted() else []


def up(harness: Harness, of_site: Sequence[ClusterSpec]) -> dict[str, Cluster]:
    """Start the clusters of a site, and its twin's beside them; returns those of the site."""
    clusters = harness.up([*of_site, *specs()])
    clusters.pop(NAME, None)
    return clusters


@contextmanager
def opened(
    harness: Harness, first: Federation, directory: Path, *, claims: bool = False
) -> Iterator[Twin]:
    """A twin that works, for as long as the block; nobody judges it here."""
    second = join_another(
        harness, harness.clusters[NAME], first, directory=directory / NAME, name=NAME
    )
    with AgentProcess(second, identity=f"{NAME}-0") as process:
        process.wait_ready()
        with Twin(first, second, claims=claims) as other:
            yield other
        assert process.alive, f"the twin's agent ended by itself\n{process.log_tail()}"


@contextmanager
def beside(
    harness: Harness, first: Federation, directory: Path, *, claims: bool = False
) -> Iterator[None]:
    """A twin of a site for as long as the block, judged at its end; none if none is wanted.

    The clusters are those of `up`. `directory` gets a folder of the twin's. With `claims` it has
    the first tenant's claims and volumes, too. AssertionError at the end: something of one tenant
    was seen with the other, or nothing was tried.
    """
    if not wanted():
        yield
        return
    with opened(harness, first, directory, claims=claims) as other:
        yield
        print(other.tally)
        other.judge()
