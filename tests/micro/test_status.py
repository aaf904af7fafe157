"""The status that a tenant pod should have, and the patch that gives it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.builders import make_copy, running_status, with_status
from tests.micro import material
from vnode.pods.status.patch import patch
from vnode.pods.status.statuses import Placement, mirrored
from vnode.pods.view import view

if TYPE_CHECKING:
    from tests.micro.conftest import Compare
    from vnode.kube.types import Pod

_PODS = 100
_PLACEMENT = Placement(host_ip="192.0.2.7", allocate_ip=None, now="2026-11-22T10:00:00Z")


def _wanted(pod: Pod) -> dict[str, object]:
    return dict(mirrored(pod, view(pod), make_copy(pod), _PLACEMENT))


def test_100_pods_begin_to_run(compare: Compare) -> None:
    pods = [material.tenant_pod(n) for n in range(_PODS)]
    pairs = [(pod, make_copy(pod, status=running_status())) for pod in pods]

    def work() -> None:
        for pod, copy in pairs:
            assert patch(pod, mirrored(pod, view(pod), copy, _PLACEMENT)) is not None

    compare(work, 4.0)


def test_100_statuses_that_are_right_are_compared(compare: Compare) -> None:
    pods = [material.tenant_pod(n) for n in range(_PODS)]
    pairs = [(with_status(pod, _wanted(pod)), make_copy(pod)) for pod in pods]

    def work() -> None:
        for pod, copy in pairs:
            assert patch(pod, mirrored(pod, view(pod), copy, _PLACEMENT)) is None

    compare(work, 5.5)
