"""`vnode check`: every link, right, version, clock, certificate and setting, each with its mend.

In: the agent's configuration file, and kubeconfigs of administrators for what the agent may not
see. Out: a table or JSON on stdout; on stderr, after two seconds, what is still under way. Exit
code 0: nothing is wrong (warnings and what was not tried count as that), 1: something is, 2: it is
the configuration or a kubeconfig. `federation.check` does the work; nothing is changed anywhere.
"""

import asyncio
import json
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from federation.cli.failures import ExitCode, reported
from federation.cli.output import Output
from federation.config import AgentConfig, load_config

if TYPE_CHECKING:
    from federation.check.findings import Result
    from federation.check.runner import Check

_PATIENCE = 2.0
"""Seconds after which it is said what is under way, and between two such lines."""
_WIDE = 10_000
"""Columns where nobody reads at a terminal: lines are not broken."""
_STYLES = {"OK": "green", "WARN": "yellow", "WRONG": "bold red", "untried": "dim"}


def check(
    config: Annotated[
        Path,
        typer.Option("--config", help="The agent's configuration file; the default is its pod's."),
    ] = Path("/etc/vnode/config.yaml"),
    kubeconfig: Annotated[
        Path | None,
        typer.Option(
            "--kubeconfig",
            help="Of an administrator of the tenant: for what the agent may not see (logs through "
            "the API server, admission, DaemonSets, NetworkPolicies).",
            show_default=False,
        ),
    ] = None,
    compute_kubeconfig: Annotated[
        list[str] | None,
        typer.Option(
            "--compute-kubeconfig",
            metavar="CLUSTER=FILE",
            help="Of an administrator of a compute cluster (pod ranges); may be given more than "
            "once.",
            show_default=False,
        ),
    ] = None,
    output: Annotated[Output, typer.Option("-o", "--output", help="Form.")] = Output.TABLE,
) -> None:
    """Check a set-up: what works, what does not, and what mends it."""
    with reported(all_problems=True):
        settings = load_config(config)
    admins = _named(compute_kubeconfig or [], settings)
    with reported():
        results = asyncio.run(_check(settings, config, kubeconfig, admins))
        typer.echo(_as_json(results) if output is Output.JSON else _table(results))
        raise typer.Exit(_exit_code(results))


def _named(texts: Sequence[str], config: AgentConfig) -> dict[str, Path]:
    known = [cluster.name for cluster in config.kubernetes_clusters]
    found = {}
    for text in texts:
        name, _, path = text.partition("=")
        if name not in known or not path:
            names = ", ".join(known)
            raise typer.BadParameter(
                f"{text!r} is not CLUSTER=FILE with a cluster of {names}",
                param_hint="--compute-kubeconfig",
            )
        found[name] = Path(path)
    return found


async def _check(
    config: AgentConfig, file: Path, kubeconfig: Path | None, admins: dict[str, Path]
) -> "list[Result]":
    # Imported here: the other commands start faster without it.
    from federation.check.checklist import checklist
    from federation.check.runner import run_checks
    from federation.check.site import open_site

    running: dict[Check, None] = {}

    def progress(check: "Check", begins: bool) -> None:
        if begins:
            running[check] = None
        else:
            running.pop(check, None)

    async def say() -> None:
        while True:
            await asyncio.sleep(_PATIENCE)
            names = [str(each) for each in running]
            rest = f" and {len(names) - 3} more" if len(names) > 3 else ""
            what = f"{', '.join(names[:3])}{rest}" if names else "reading credentials"
            typer.echo(f"still checking: {what}", err=True)

    talk = asyncio.create_task(say())
    try:
        async with open_site(
            config, file=file, kubeconfig=kubeconfig, compute_kubeconfigs=admins
        ) as site:
            return await run_checks(checklist(site), progress=progress)
    finally:
        talk.cancel()


def _exit_code(results: "Sequence[Result]") -> ExitCode:
    from federation.check.checklist import CONFIGURATION
    from federation.check.findings import Level

    failed = {result.check for result in results if result.finding.level is Level.WRONG}
    if CONFIGURATION in failed:
        return ExitCode.CONFIGURATION
    return ExitCode.FAILURE if failed else ExitCode.CLEAN


def _as_json(results: "Sequence[Result]") -> str:
    return json.dumps(
        {
            "ok": _exit_code(results) is ExitCode.CLEAN,
            "checks": [
                {
                    "where": each.where,
                    "check": each.check,
                    "result": each.finding.level.value,
                    "text": each.finding.text,
                    "mend": each.finding.mend or None,
                }
                for each in results
            ],
        },
        indent=2,
        ensure_ascii=False,
    )


def _table(results: "Sequence[Result]") -> str:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, show_edge=False, header_style="bold")
    for title in ("WHERE", "CHECK", "RESULT"):
        table.add_column(title, no_wrap=True)
    table.add_column("WHAT", overflow="fold")
    before = ""
    for where, name, finding in results:
        level = finding.level.value
        what = Text(finding.text)
        if finding.mend:
            what.append(f"\n-> {finding.mend}", style="bold")
        table.add_row(
            Text("" if where == before else where), Text(name), Text(level, _STYLES[level]), what
        )
        before = where
    terminal = sys.stdout.isatty()
    console = Console(width=None if terminal else _WIDE, force_terminal=terminal)
    with console.capture() as shown:
        console.print(table)
    counts = Counter(each.finding.level.value for each in results)
    total = ", ".join(f"{counts[level]} {level}" for level in _STYLES if counts[level])
    lines = [line.rstrip() for line in shown.get().splitlines()]
    return "\n".join([*lines, "", total])
