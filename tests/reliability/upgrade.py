"""A rolling upgrade from an older version of this repository, with pods running.

In: a commit. Out: what a user of both versions sees: the new replica joins, the old one ends, and
goes on with the same pods; then back again. Needs the repository's history, so it is no part of CI.
"""

from __future__ import annotations

import io
import subprocess
import sys
import tarfile
import time
from typing import TYPE_CHECKING

from tests.agents import AgentProcess
from tests.agents.join import ROOT
from tests.agents.replica import replica
from tests.e2e.recorder import PodRecorder
from tests.e2e.user import BELOW
from tests.e2e.workloads import NAMESPACE
from tests.measuring.report import Report, Table, Target
from tests.measuring.waiting import MeasurementError
from tests.reliability import evidence
from tests.reliability.site import LOAD, SECOND_ADDRESS

if TYPE_CHECKING:
    from pathlib import Path

    from tests.reliability.site import Site

_START = (
    "import sys; sys.path.insert(0, {!r}); from federation.cli import app; app(prog_name='vnode')"
)
_MOST = 60.0
_SETTLE = 10.0
"""Seconds: both have to know the Lease before one of them ends."""


def older(commit: str, directory: Path) -> list[str]:
    """The program of that version, with the libraries of this one."""
    packed = subprocess.run(
        ["git", "archive", commit, "vnode", "federation"],
        cwd=ROOT,
        capture_output=True,
        check=False,
    )
    if packed.returncode:
        raise MeasurementError(f"git archive {commit}: {packed.stderr.decode().strip()}")
    with tarfile.open(fileobj=io.BytesIO(packed.stdout)) as archive:
        archive.extractall(directory, filter="data")
    return [sys.executable, "-c", _START.format(str(directory))]


def measure(site: Site, *, commit: str, directory: Path) -> Report:
    """The site's agent is the old one; a new one joins it, and takes over."""
    site.submit()
    before, below = evidence.uids(site.load()), evidence.uids(site.below.items("pods"))
    marks = evidence.AuditMark(site.tenant), evidence.AuditMark(site.compute)
    probe, old = next(iter(before)), site.agents[0]
    view = replica(site.federation, "agent-new", SECOND_ADDRESS)
    with (
        PodRecorder(site.user, f"app={LOAD}", directory / "upgrade.json") as recorder,
        AgentProcess(view, identity="agent-new") as new,
    ):
        recorder.wait_for_any()
        time.sleep(_SETTLE)
        old.stop()
        site.progress("the old one has ended")
        up = site.wait_mirrored(probe, 1, timeout=_MOST)
        old.start()
        time.sleep(_SETTLE)
        new.stop()
        site.progress("and is back")
        down = site.wait_mirrored(probe, 2, timeout=_MOST)
        time.sleep(_SETTLE)
    trouble = evidence.seen_otherwise(recorder)
    upstairs, downstairs = marks[0].of_pods({NAMESPACE}), marks[1].of_pods({BELOW})
    after, copies = evidence.uids(site.load()), evidence.uids(site.below.items("pods"))
    targets = [
        Target("pods deleted, failed or shown otherwise", str(dict(trouble)), not trouble),
        Target("pods created or deleted in the tenant", str(dict(upstairs)), not upstairs),
        Target("copies created or deleted below", str(dict(downstairs)), not downstairs),
        Target("the same pods before and after", f"{len(after)}", before == after),
        Target("the same copies before and after", f"{len(copies)}", below == copies),
    ]
    rows = [[f"from {commit}", f"{up:.1f} s"], [f"back to {commit}", f"{down:.1f} s"]]
    return Report(
        f"upgrade under {site.pods} running pods",
        [Table(["replaced", "a change is shown"], rows)],
        targets,
        {"up": up, "down": down},
    )
