"""All of it, as one measurement: start, rounds, verdict.

In: how many pods, and what is to be broken. Out: a `Report`. A round that does not come to its end
is a missed target, with what was seen until then.
"""

from __future__ import annotations

import shutil
import tempfile
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from tests.clusters import Harness
from tests.eci.scale.rounds import Rounds
from tests.eci.scale.seen import EVENTS, PODS, Seen
from tests.eci.scale.site import built
from tests.eci.scale.verdict import Evidence, report
from tests.measuring.onlooker import Onlooker
from tests.measuring.waiting import MeasurementError

if TYPE_CHECKING:
    from collections.abc import Generator

    from tests.clusters.programs import Progress
    from tests.eci.scale.rounds import Round
    from tests.measuring.report import Report


def measure(
    progress: Progress,
    *,
    pods: int,
    runs: int,
    limits: float = 1.0,
    broken: str | None = None,
    keep_log: Path | None = None,
) -> Generator[Report, None, None]:
    """Carry it out.

    Args:
        progress: is told how far it is.
        pods: how many at once.
        runs: seconds that they run in the steady round.
        limits: the part of the documented limits of calls that holds, for account and agent.
        broken: see `tests.eci.scale.broken`.
        keep_log: where the agent's log is copied to.
    """
    with (
        Harness(progress=progress) as harness,
        tempfile.TemporaryDirectory(prefix="vnode-eci-") as directory,
        built(harness, Path(directory), limits=limits, broken=broken) as site,
    ):
        seen = Seen()
        with Onlooker(site.tenant.kubeconfig, [PODS, EVENTS], seen.hear) as onlooker:
            rounds = Rounds(site, onlooker, seen, pods=pods, limits=limits, progress=progress)
            done: list[Round] = []
            failure = ""
            try:
                rounds.steady(done, runs=runs)
                rounds.killed(done)
                rounds.collected()
            except MeasurementError as error:
                failure = str(error)
        evidence = Evidence(
            journal=site.account.journal(),
            calls=site.account.state()["calls"],
            pods=seen.pods,
            throttled=seen.throttled,
            warnings=Counter(seen.warnings),
            failure=failure,
        )
        if keep_log:
            shutil.copy(site.agent.log, keep_log)
        yield report(done, evidence, pods=pods, limits=limits)
