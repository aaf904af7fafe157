"""All end-to-end tests, in two runs beside each other: `python -m tests.e2e`.

Tests marked `apart` have clusters of their own and mostly wait: for certificates that run out, for
certainty that something is gone. They fill no time of the others here. Their output is shown when
they are done. Tests marked `afterwards` judge what both runs have left in a folder. Those marked
`kind`, which make clusters of kind, are left out. The exit code is 0 if all passed. With `--twin` a
second tenant has the same names, in the clusters that tests share and in all others (`twins.py`);
one run follows the other then, since two cores are too few for both. The last lines say what
failed, and what each run came to (`outcome.py`).
"""

from __future__ import annotations

import argparse
import contextlib
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.agents import rights
from tests.e2e import outcome, twins

_TESTS = "tests/e2e"
_MOST_SECONDS = 3600.0
"""Of the run beside, after which it is ended; every test has a limit of its own."""


_SLOWEST = ("--durations=20", "--durations-min=10")
"""Of each run are told: where a run's time goes."""
_BESIDE = ("-n", "2", "--dist", "loadfile", "-p", "no:cacheprovider")
"""Two files at a time: most of them wait most of their time."""


def _command(marks: str, outcomes: Path, *options: str) -> list[str]:
    told = ("-p", outcome.__name__, f"{outcome.OPTION}={outcomes}")
    return [sys.executable, "-m", "pytest", _TESTS, "-m", marks, *_SLOWEST, *told, *options]


def main() -> int:
    """Run both, then the judges; returns 0 if all passed."""
    parser = argparse.ArgumentParser(prog="python -m tests.e2e", description=main.__doc__)
    parser.add_argument("--twin", action="store_true", help="beside a tenant with the same names")
    twin: bool = parser.parse_args().twin
    extra = {twins.WANTED: "1"} if twin else {}
    when = "after" if twin else "beside"
    print(f"tests with clusters of their own run {when} the others and are shown at the end")
    with (
        tempfile.TemporaryDirectory(prefix="vnode-rights-") as seen,
        tempfile.TemporaryDirectory(prefix="vnode-outcomes-") as told,
    ):
        environment = {**os.environ, rights.FOLDER: seen, **extra}
        runs = _run_both(environment, Path(told), beside=not twin)
        outcomes = Path(told, "judges")
        judges = subprocess.run(_command("afterwards", outcomes), env=environment, check=False)
        runs.append(outcome.Run("judges", judges.returncode, outcomes))
        print(f"\n{outcome.summary(runs)}", flush=True)
    return next((run.code for run in runs if run.code), 0)


def _run_both(environment: dict[str, str], told: Path, *, beside: bool) -> list[outcome.Run]:
    # Sockets lie in these folders, and their paths may have 107 characters.
    with tempfile.TemporaryFile("w+") as output, tempfile.TemporaryDirectory() as folder:

        def start_apart() -> subprocess.Popen[bytes]:
            return subprocess.Popen(
                _command(
                    "apart and not kind", told / "apart", *_BESIDE, f"--basetemp={folder}/e2e"
                ),
                stdout=output,
                stderr=output,
                env=environment,
            )

        began = time.monotonic()
        apart = start_apart() if beside else None
        try:
            marks = "not apart and not afterwards and not kind"
            done = subprocess.run(_command(marks, told / "shared"), env=environment, check=False)
            print("tests with clusters of their own", flush=True)
            if apart is None:
                began, apart = time.monotonic(), start_apart()
            with contextlib.suppress(subprocess.TimeoutExpired):
                apart.wait(max(1.0, began + _MOST_SECONDS - time.monotonic()))
        finally:
            if apart is not None and apart.poll() is None:
                apart.terminate()
                apart.wait(60)
            output.seek(0)
            print(output.read(), flush=True)
    return [
        outcome.Run("shared", done.returncode, told / "shared"),
        outcome.Run("apart", apart.returncode, told / "apart"),
    ]


if __name__ == "__main__":
    sys.exit(main())
