import pytest

from federation.readiness import Readiness, cluster_line
from vnode.kubelet.health import Report


@pytest.mark.parametrize(
    ("leads", "served", "holder", "ready", "says"),
    [
        (True, True, "me", True, "served by this replica"),
        (True, False, "me", False, "about to serve"),
        (False, True, "other", True, "served by other"),
        (False, False, "other", True, "served by other"),
        (False, False, "", False, "nobody is known"),
        (False, True, "", False, "nobody is known"),
    ],
)
def test_a_replica_is_ready_for_a_cluster_that_it_or_a_known_other_serves(
    leads: bool, served: bool, holder: str, ready: bool, says: str
) -> None:
    found, line = cluster_line("gpu-a", leads=leads, served=served, holder=holder)
    assert found is ready
    assert line.startswith("gpu-a: ")
    assert says in line


def test_a_replica_that_starts_is_not_ready_and_says_what_it_does() -> None:
    readiness = Readiness()
    assert readiness.report() == Report(ready=False, lines=["starting"])
    readiness.starting("asking the tenant")
    assert readiness.report() == Report(ready=False, lines=["asking the tenant"])


def test_a_replica_is_ready_when_it_is_for_all_clusters() -> None:
    readiness = Readiness()
    states = {"gpu-a": (True, "a"), "gpu-b": (False, "b")}
    readiness.started([lambda name=name: states[name] for name in states])  # type: ignore[misc]
    assert readiness.report() == Report(ready=False, lines=["a", "b"])
    states["gpu-b"] = (True, "b")
    assert readiness.report() == Report(ready=True, lines=["a", "b"])
