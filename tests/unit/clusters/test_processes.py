"""Processes are known for ever, and only ours are ended."""

import os
import signal
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.clusters.errors import StartError
from tests.clusters.processes import (
    MARKER,
    Identity,
    ProcessTable,
    Record,
    Stage,
    find_marked,
    log_tail,
    parse_stat,
)

SLEEP = ["sleep", "600"]


@pytest.fixture
def table(tmp_path: Path) -> Iterator[ProcessTable]:
    table = ProcessTable(tmp_path)
    yield table
    table.kill([record.identity for record in table.records()])


def spawn(
    table: ProcessTable, tmp_path: Path, name: str = "p", stage: Stage = Stage.ETCD
) -> Record:
    return table.spawn("tenant", name, SLEEP, stage=stage, log=tmp_path / f"{name}.log")


def stat_line(*, state: str = "S", threads: int = 1, start: int = 77) -> str:
    fields = ["0"] * 48
    fields[0], fields[17], fields[19] = state, str(threads), str(start)
    return f"12 (a (strange) name) {' '.join(fields)}"


def test_the_start_time_is_found_behind_any_command_name() -> None:
    assert parse_stat(stat_line()) == (True, 77)


def test_a_zombie_has_ended_only_without_other_threads() -> None:
    assert parse_stat(stat_line(state="Z"))[0] is False
    assert parse_stat(stat_line(state="Z", threads=3))[0] is True


def test_an_identity_is_of_the_process_that_has_the_pid_now() -> None:
    me = Identity.of(os.getpid())
    assert me is not None
    assert me.alive()


def test_a_process_with_a_reused_pid_is_neither_alive_nor_signalled() -> None:
    me = Identity.of(os.getpid())
    assert me is not None
    for stranger in (replace(me, start_ticks=me.start_ticks - 1), replace(me, boot="before")):
        assert not stranger.alive()
        assert not stranger.signal(signal.SIGKILL)


def test_an_ended_process_is_not_signalled(table: ProcessTable, tmp_path: Path) -> None:
    record = spawn(table, tmp_path)
    table.stop(record, hard=True)
    assert not record.identity.signal(signal.SIGTERM)


def test_stopping_waits_for_the_end(table: ProcessTable, tmp_path: Path) -> None:
    record = spawn(table, tmp_path)
    table.stop(record, hard=False)
    assert not record.identity.alive()
    assert not table.any_alive()


def test_another_harness_reads_the_ledger(table: ProcessTable, tmp_path: Path) -> None:
    record = spawn(table, tmp_path)
    assert ProcessTable(tmp_path).records() == [record]


def test_a_ledger_that_was_cut_off_is_read_up_to_there(table: ProcessTable, tmp_path: Path) -> None:
    record = spawn(table, tmp_path)
    with (tmp_path / "processes.jsonl").open("a") as ledger:
        ledger.write('{"owner": "ten')
    assert ProcessTable(tmp_path).records() == [record]


def test_a_restart_replaces_the_record_and_keeps_the_command(
    table: ProcessTable, tmp_path: Path
) -> None:
    old = spawn(table, tmp_path)
    assert table.restart("tenant", "p") == old  # still runs
    table.stop(old, hard=True)
    new = table.restart("tenant", "p")
    assert (new.argv, new.identity.alive()) == (old.argv, True)
    assert ProcessTable(tmp_path).records() == [new]


def test_records_come_in_the_order_of_shutting_down(table: ProcessTable, tmp_path: Path) -> None:
    spawn(table, tmp_path, "etcd", Stage.ETCD)
    spawn(table, tmp_path, "kube-apiserver", Stage.API_SERVER)
    spawn(table, tmp_path, "kubelet", Stage.KUBELET)
    assert [r.name for r in table.records()] == ["kubelet", "kube-apiserver", "etcd"]


def test_a_stage_ends_alone(table: ProcessTable, tmp_path: Path) -> None:
    etcd = spawn(table, tmp_path, "etcd", Stage.ETCD)
    kubelet = spawn(table, tmp_path, "kubelet", Stage.KUBELET)
    table.end(Stage.KUBELET)
    assert (etcd.identity.alive(), kubelet.identity.alive()) == (True, False)


def test_an_unrecorded_process_is_found_by_its_mark(table: ProcessTable, tmp_path: Path) -> None:
    environment = {**os.environ, MARKER: str(tmp_path)}
    with subprocess.Popen(SLEEP, env=environment) as stray:
        assert [identity.pid for identity in find_marked(tmp_path)] == [stray.pid]
        assert not list(find_marked(tmp_path / "other"))
        table.end_marked()
        assert stray.wait() == -signal.SIGKILL


def test_waiting_ends_when_the_process_does(table: ProcessTable, tmp_path: Path) -> None:
    log = tmp_path / "p.log"
    command = ["sh", "-c", "echo broken; sleep 0.3; exit 1"]
    record = table.spawn("tenant", "p", command, stage=Stage.ETCD, log=log)
    with pytest.raises(StartError, match="broken"):
        table.wait_until("cluster", lambda: False, watch=record, timeout=5)


def test_waiting_has_a_limit(table: ProcessTable, tmp_path: Path) -> None:
    record = spawn(table, tmp_path)
    with pytest.raises(StartError, match="not ready after 0 s"):
        table.wait_until("cluster", lambda: False, watch=record, timeout=0)


def test_a_closed_table_starts_nothing_and_waits_for_nothing(
    table: ProcessTable, tmp_path: Path
) -> None:
    record = spawn(table, tmp_path)
    table.close()
    with pytest.raises(StartError, match="given up"):
        table.wait_until("cluster", lambda: False, watch=record, timeout=60)
    with pytest.raises(StartError, match="given up"):
        spawn(table, tmp_path, "another")


def test_the_end_of_a_log_is_cut_to_a_dozen_lines(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text("\n".join(str(number) for number in range(100)))
    lines = log_tail(log).splitlines()
    assert (len(lines), lines[-1]) == (13, "  99")
    assert "no log" in log_tail(tmp_path / "missing")
