"""Reports of parts, and the page that is made of them."""

import json
from collections import Counter
from functools import partial
from pathlib import Path

import pytest

from tests.bench import foreign, latency, page, restart, speed
from tests.bench.calls import Call
from tests.bench.latency import Sample
from tests.bench.one import DIRECT, FLOOR, THROUGH, Outcome

_CALLS = Counter(
    {
        Call("vnode/0.1.0", "gpu-a", "create", "pods", False): 100,
        Call("vnode/0.1.0", "tenant", "patch", "pods/status", False): 200,
        Call("vnode/0.1.0", "tenant", "watch", "pods", False): 1,
    }
)
_OTHERS = Counter({Call("kube-scheduler/v1.36", "tenant", "create", "pods/binding", False): 100})


def _outcome(variant: str, ready: float) -> Outcome:
    through = variant == THROUGH
    return Outcome(
        kind="deployment",
        variant=variant,
        pods=100,
        ready=ready,
        gone=5.0,
        create=[0.01] * 100 if through else (),
        status=[0.02] * 100 if through else (),
        curve=[(1.0, 50), (ready, 100)],
        calls=_CALLS if through else Counter(),
        others=_OTHERS if through else Counter(),
        late=Counter({0.001: 99, 0.1: 1}) if through else Counter(),
        processor=0.8 if through else 0.0,
        peak=1 << 27 if through else 0,
    )


SPEED = speed.report(
    [_outcome(DIRECT, 5.0), _outcome(FLOOR, 10.0), _outcome(THROUGH, 12.0)], automount=True
)


def test_a_speed_is_shown_as_ratio_to_the_floor_and_to_direct() -> None:
    row = next(row for row in SPEED.tables[0].rows if row[0] == THROUGH)
    assert list(row) == [THROUGH, "12.0 s", "8", "5.0 s", "1.20", "2.40"]


def test_calls_are_shown_per_pod() -> None:
    rows = [list(row) for row in SPEED.tables[2].rows]
    assert rows[0] == ["tenant: patch pods/status", "2.000", "write"]
    assert rows[2] == ["tenant: watch pods", "0.010", ""]


def test_writes_of_everybody_are_shown_by_cluster() -> None:
    rows = [list(row) for row in SPEED.tables[3].rows]
    assert rows[0] == ["tenant: vnode", "2.00"]
    assert ["tenant: kube-scheduler", "1.00"] in rows


def test_how_late_the_event_loop_was_is_shown() -> None:
    assert ["event loop late, at most", "1 ms", "1 ms", "1 ms"] in map(list, SPEED.tables[1].rows)


def test_speed_and_cost_are_judged() -> None:
    assert SPEED.passed
    assert {target.found for target in SPEED.targets} == {"1.20 x", "3.00", "8.0 ms", "128.0 MiB"}


def test_what_foreign_pods_cost_is_shown_round_by_round() -> None:
    report = foreign.report(
        [10.0, 12.0], [11.0, 13.0], patches=[3, 4], processor=[0.1, 0.2], pods=9
    )
    assert [list(row) for row in report.tables[0].rows][1] == [
        "2",
        "12.0 s",
        "13.0 s",
        "4",
        "0.20 s",
    ]
    assert report.passed


def test_what_the_bridge_adds_lies_between_the_two_watches() -> None:
    report = latency.report([Sample(compute=0.010, tenant=0.016, own=0.004)], rounds=1)
    assert [list(row)[:2] for row in report.tables[0].rows] == [
        ["compute's watch -> tenant's watch", "6.0 ms"],
        ["tenant: PATCH -> watch", "4.0 ms"],
        ["compute: PATCH -> watch", "10.0 ms"],
        ["compute: PATCH -> tenant's watch", "16.0 ms"],
    ]


def test_the_changes_that_a_restart_has_to_show_are_no_writes_too_many() -> None:
    calls = Counter({Call("vnode/0.1.0", "tenant", "patch", "pods/status", False): 2})
    calls[Call("vnode/0.1.0", "tenant", "patch", "nodes/status", False)] = 3
    report = partial(
        restart.report,
        pods=9,
        at_rest=0.0,
        resident=1.0,
        peak=2.0,
        seconds=3.0,
        processor=1.0,
        changed=2,
    )
    assert report(calls=calls).passed
    calls[Call("vnode/0.1.0", "gpu-a", "create", "pods", True)] += 1
    assert not report(calls=calls).passed


@pytest.mark.parametrize("number", [1, 2, 20, 500])
def test_changes_are_made_to_the_first_and_the_last_pod_and_some_between(number: int) -> None:
    names = [f"{n:03}" for n in range(100)]
    found = restart.spread(names, number)
    assert len(found) == min(number, 100)
    assert "000" in found
    assert number == 1 or "099" in found


def test_a_single_pod_can_be_changed() -> None:
    assert restart.spread(["a"], 20) == {"a"}


def test_the_page_has_targets_tables_pictures_and_raw_data(tmp_path: Path) -> None:
    idle = latency.report([Sample(0.01, 0.015, 0.004), Sample(0.01, 0.06, 0.004)], rounds=1)
    (tmp_path / "old.svg").touch()
    (tmp_path / "10000").mkdir()
    (tmp_path / "10000" / "README.md").touch()
    page.write([SPEED, idle], tmp_path, about="Measured on a Monday.")
    text = (tmp_path / "README.md").read_text()
    assert "| Deployment: at most 1.3 x the floor | 1.20 x | ok |" in text
    assert "**missed**" in text
    assert "Measured on a Monday." in text
    assert "More: [10000](10000/README.md)." in text
    assert {file.name for file in tmp_path.iterdir()} == {
        "README.md",
        "results.json",
        "deployment-100.svg",
        "latency.svg",
        "10000",
    }
    assert "(deployment-100.svg)" in text
    raw = json.loads((tmp_path / "results.json").read_text())
    assert raw["reports"][0]["numbers"]["runs"][2]["writes_per_pod"] == pytest.approx(3.0)
