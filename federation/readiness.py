"""Whether this replica can do its part: serve its clusters, or take others over.

In: the step of the start that is under way, then per compute cluster what its elector saw last.
Out: the report behind `/readyz` (`vnode.kubelet.health`). A new replica is ready when it has spoken
to the tenant and every compute cluster, and either serves a cluster or knows who does; only then
may a rolling update go on with the next one. Owned by `run_agent`.

Later outages change nothing: they are the clusters', and another replica would see them as well.
"""

from collections.abc import Callable, Sequence

from vnode.kubelet.health import Report

__all__ = ["Readiness", "cluster_line"]


class Readiness:
    """What a replica is doing until it has electors, and what they say afterwards."""

    def __init__(self) -> None:
        self._step = "starting"
        self._clusters: Sequence[Callable[[], tuple[bool, str]]] = ()

    def starting(self, step: str) -> None:
        """What is done now, and what is not ready without."""
        self._step = step

    def started(self, clusters: Sequence[Callable[[], tuple[bool, str]]]) -> None:
        """From now on these are asked."""
        self._step, self._clusters = "", clusters

    def report(self) -> Report:
        """As of now."""
        if self._step:
            return Report(ready=False, lines=[self._step])
        found = [ask() for ask in self._clusters]
        return Report(ready=all(ready for ready, _ in found), lines=[line for _, line in found])


def cluster_line(name: str, *, leads: bool, served: bool, holder: str) -> tuple[bool, str]:
    """Whether this replica is ready for a compute cluster, and a line that says why.

    Args:
        name: of the compute cluster.
        leads: whether this replica has the cluster's Lease.
        served: whether it has served all its virtual nodes.
        holder: who has the Lease, as last seen; empty: nobody known.
    """
    if leads and served:
        return True, f"{name}: served by this replica"
    if leads:
        return False, f"{name}: this replica is about to serve it"
    if holder:
        return True, f"{name}: served by {holder}"
    return False, f"{name}: nobody is known to serve it"
