"""`python -m tests.clusters`: clusters from a shell.

    up --state DIR --cluster tenant --cluster gpu-a:real=1,gpus=8 --cluster gpu-b:kwok=4
    down --state DIR         end and remove everything
    ps --state DIR           processes with memory and processor time
    programs                 get every program of `make test`: download, build, install
    programs conformance     also those, and the images, of Kubernetes' own tests on real nodes
    check                    what can run here, and why not

Without --detached, `up` stays in the foreground until Ctrl-C or SIGTERM and takes everything down.
"""

from __future__ import annotations

import argparse
import signal
import sys
from pathlib import Path

from tests.clusters import e2e_images, packages, programs
from tests.clusters.errors import HarnessError, ProgramError
from tests.clusters.harness import Harness
from tests.clusters.host import can_run_containers
from tests.clusters.progress import begin
from tests.clusters.report import process_table
from tests.clusters.spec import SpecError, parse_cluster_spec

_SETS = {"ordinary": programs.ORDINARY, "conformance": programs.CONFORMANCE}


def main(arguments: list[str]) -> int:
    """Runs one command; returns the exit code."""
    options = _parser().parse_args(arguments)
    options.progress = begin()
    try:
        code: int = options.run(options)
    except (HarnessError, SpecError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return code


def _up(options: argparse.Namespace) -> int:
    specs = [parse_cluster_spec(text) for text in options.cluster]
    with Harness(
        state=options.state, detached=options.detached, progress=options.progress
    ) as harness:
        for cluster in harness.up(specs).values():
            print(f"{cluster.name:12} {cluster.server:32} KUBECONFIG={cluster.kubeconfig}")
        print(f"servers on this host listen on {harness.listen_address}", flush=True)
        if not options.detached:
            print("Ctrl-C ends everything", flush=True)
            signal.pause()
    return 0


def _down(options: argparse.Namespace) -> int:
    Harness(state=options.state, progress=options.progress).down()
    return 0


def _ps(options: argparse.Namespace) -> int:
    print(process_table(options.state.absolute()))
    return 0


def _programs(options: argparse.Namespace) -> int:
    if can_run_containers()[0]:
        packages.ensure(options.progress)
        packages.ensure_programs(packages.OF_TESTS, options.progress)
    found = programs.ensure(_SETS[options.set], options.progress)
    if options.set == "ordinary":
        found |= _of_some_tests(options.progress)
    for name, path in found.items():
        print(f"{name:24} {path}")
    if options.set == "conformance":
        print(f"{'images':24} {e2e_images.ensure(options.progress)}")
    return 0


def _of_some_tests(progress: programs.Progress) -> dict[str, Path]:
    """Before tests begin: builds take both processors for minutes."""
    found: dict[str, Path] = {}
    for name in programs.OF_SOME_TESTS:
        try:
            found |= programs.ensure([name], progress)
        except ProgramError as error:
            progress(f"no {name}, its tests are skipped: {error}")
    return found


def _check(_: argparse.Namespace) -> int:
    possible, reason = can_run_containers()
    print(f"real nodes: {'yes' if possible else f'no: {reason}'}")
    if possible and (wanted := packages.missing()):
        print(f"  to be installed first: {', '.join(wanted)}")
    for name, source in programs.sources().items():
        print(f"{name}: {source}")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tests.clusters",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    up = commands.add_parser("up", help="start clusters")
    up.add_argument("--cluster", action="append", required=True, metavar="NAME[:KEY=VALUE,...]")
    up.add_argument("--detached", action="store_true", help="return and leave them running")
    up.set_defaults(run=_up)
    down = commands.add_parser("down", help="end clusters and remove their state")
    down.set_defaults(run=_down)
    ps = commands.add_parser("ps", help="processes of clusters")
    ps.set_defaults(run=_ps)
    for command in (up, down, ps):
        command.add_argument("--state", type=Path, required=True, metavar="DIR")
    get = commands.add_parser("programs", help="get every program")
    get.add_argument("set", nargs="?", choices=sorted(_SETS), default="ordinary")
    get.set_defaults(run=_programs)
    commands.add_parser("check", help="what can run here").set_defaults(run=_check)
    return parser


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
