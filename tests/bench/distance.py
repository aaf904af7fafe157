"""The same Deployment with clusters that are far from each other.

In: a site of our own agent. Out: its speed with no delay, and with each delay on all that goes
between agent and compute cluster. The agent is near the tenant, as where it is installed. All runs
go through the same program that delays, also those without a delay: it needs the processor too.
"""

from __future__ import annotations

import subprocess
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from tests.agents.join import ROOT
from tests.bench import one, targets
from tests.bench.site import COMPUTE
from tests.chaos.site import redirect
from tests.measuring.report import Report, Table, milliseconds
from tests.measuring.waiting import MeasurementError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tests.bench.one import Outcome
    from tests.bench.site import Site
    from tests.clusters import Harness

_END_SECONDS = 10.0


def measure(site: Site, harness: Harness, *, pods: int, delays: Sequence[float]) -> Report:
    """One run without a delay (seconds), and one with each."""
    done = []
    for delay in (0.0, *delays):
        with far(site, harness.free_port(), delay):
            site.progress(f"{milliseconds(delay)} between the clusters")
            done.append((delay, one.run(site, "deployment", one.THROUGH, pods=pods)))
    return report(done)


def report(done: Sequence[tuple[float, Outcome]]) -> Report:
    """Of runs by the delay in seconds; the first one is without."""
    without = done[0][1].rate
    rows = [
        [milliseconds(d), f"{o.ready:.1f} s", f"{o.rate:.0f}", f"{o.rate / without:.0%}"]
        for d, o in done
    ]
    return Report(
        f"deployment: {done[0][1].pods} pods with a delay between the clusters",
        [Table(["round trip", "all there", "pods/s", "share"], rows)],
        [
            targets.of_distance(without=without, rate=outcome.rate, delay=delay)
            for delay, outcome in done[1:]
        ],
        {"delays": [{"delay": delay, **outcome.json()} for delay, outcome in done]},
    )


@contextmanager
def far(site: Site, port: int, seconds: float) -> Iterator[None]:
    """Let the agent reach the compute cluster by a long link."""
    kubeconfig = site.directory / f"{COMPUTE}.kubeconfig"
    before = kubeconfig.read_text()
    url = urlsplit(site.compute.server)
    command = [sys.executable, "-m", "tests.bench.delay", str(port), url.netloc, str(seconds)]
    link = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, start_new_session=True, cwd=ROOT
    )
    try:
        assert link.stdout is not None
        if link.stdout.readline() != b"\n":
            raise MeasurementError("the link with a delay did not start")
        redirect(kubeconfig, port)
        yield
    finally:
        kubeconfig.write_text(before)
        link.terminate()
        link.wait(timeout=_END_SECONDS)
