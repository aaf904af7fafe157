"""What profiles say of stacks."""

from __future__ import annotations

from typing import TYPE_CHECKING

import memray

from tests.bench import profile
from tests.bench.profile import Stack

if TYPE_CHECKING:
    from pathlib import Path

RECONCILE = "PodController.reconcile (vnode/pods/controller.py)"
CALL = "KubeClient.request (vnode/kube/client.py)"
SEND = "ClientRequest.send (aiohttp/client_reqrep.py)"
WRITE = "SSLObject.write (ssl.py)"
LOOP = "BaseEventLoop._run_once (asyncio/base_events.py)"


def rows(samples: list[Stack], memory: list[Stack], table: int) -> list[list[str]]:
    report = profile.report(samples, memory, pods=1)
    return [list(row) for row in report.tables[table].rows]


def test_samples_of_py_spy_are_read() -> None:
    text = f"{LOOP[:-1]}:1922);{RECONCILE[:-1]}:218) 12\n{LOOP[:-1]}:1922) 3\n"
    assert [*profile.sampled_stacks(text)] == [Stack([LOOP, RECONCILE], 12), Stack([LOOP], 3)]


def test_a_package_has_what_runs_in_it_and_what_it_calls() -> None:
    found = rows([Stack([LOOP, RECONCILE, CALL, SEND, WRITE], 3), Stack([LOOP], 1)], [], 0)
    assert found == [["ssl", "75.0%", "75.0%"], ["asyncio", "25.0%", "100.0%"]]


def test_a_function_of_ours_has_what_others_do_for_it() -> None:
    found = rows([Stack([LOOP, RECONCILE, CALL, SEND, WRITE], 3), Stack([RECONCILE], 1)], [], 1)
    assert found == [[RECONCILE, "25.0%", "100.0%"], [CALL, "75.0%", "75.0%"]]


def test_a_function_that_calls_itself_counts_once() -> None:
    assert rows([Stack([RECONCILE, RECONCILE], 2)], [], 1) == [[RECONCILE, "100.0%", "100.0%"]]


def test_who_waits_is_not_busy() -> None:
    wait = [LOOP, "EpollSelector.select (selectors.py)"]
    assert rows([Stack(wait, 9), Stack([LOOP], 1)], [], 0) == [["asyncio", "100.0%", "100.0%"]]


def test_memory_is_held_by_ours_or_else_by_a_package() -> None:
    found = rows([], [Stack([LOOP, CALL, SEND], 3 << 20), Stack([LOOP, WRITE], 1 << 20)], 2)
    assert found == [[CALL, "3.0 MiB", "75.0%"], ["ssl", "1.0 MiB", "25.0%"]]


def test_allocations_of_memray_are_read(tmp_path: Path) -> None:
    kept = []
    with memray.Tracker(tmp_path / "allocations", trace_python_allocators=True):
        kept.append(bytes(1 << 20))
    held = max(profile._held(tmp_path / "allocations"), key=lambda stack: stack.weight)
    assert held.weight >= 1 << 20
    assert held.frames[-1].startswith("test_allocations_of_memray_are_read (")
