"""`vnode gc`: copies that run below although their tenant pods are gone, and their release.

In: the agent's configuration file. Out: a table or JSON; with --release deletions below, after a
question. It may run beside the agent, which sees what was deleted.
"""

import asyncio
import json
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from federation.cli.failures import reported
from federation.cli.output import Output
from federation.config import AgentConfig, load_config
from federation.held import POD_EXISTS, HeldCopies, HeldCopy, held_copies
from vnode.backend import BackendError, Waiting
from vnode.kube.errors import ApiError
from vnode.kube.timestamps import parse

_HEAD = ("CLUSTER", "POD", "NODE", "AGE", "REASON", "UNTIL")


def gc(
    config: Annotated[
        Path, typer.Option("--config", help="The agent's configuration file.", show_default=False)
    ],
    release: Annotated[
        list[str] | None,
        typer.Option(
            "--release",
            metavar="NAMESPACE/NAME",
            help="Delete this copy below; may be given more than once.",
            show_default=False,
        ),
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="Delete all that are listed.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    output: Annotated[Output, typer.Option("-o", "--output", help="Form.")] = Output.TABLE,
) -> None:
    """List copies that are held without tenant pod, or delete them."""
    with reported():
        asyncio.run(_gc(load_config(config), release or [], everything, yes, output))


async def _gc(
    config: AgentConfig, release: Sequence[str], everything: bool, yes: bool, output: Output
) -> None:
    async with held_copies(config) as copies:
        found = await copies.find()
        chosen = found if everything else _chosen(found, release)
        if not (release or everything):
            typer.echo(_shown(found, output, now=time.time()))
            return
        typer.echo(_shown(chosen, output, now=time.time()))
        if chosen and (yes or typer.confirm(_question(chosen), err=True)):
            await _release(copies, chosen)


async def _release(copies: HeldCopies, chosen: Sequence[HeldCopy]) -> None:
    """Raises BackendError at the end for those that were refused; no other waits for them."""
    refused = 0
    for copy in chosen:
        what = f"{copy.key} in {copy.cluster}"
        try:
            await copies.release(copy)
        except (Waiting, ApiError) as error:
            if isinstance(error, Waiting) and error.reason != POD_EXISTS:
                raise  # It is the same for all.
            refused += 1
            typer.echo(f"not released {what}: {error}", err=True)
        else:
            typer.echo(f"released {what}", err=True)
    if refused:
        raise BackendError(f"{refused} of {len(chosen)} were not released")


def _question(chosen: Sequence[HeldCopy]) -> str:
    return f"Stop and delete {len(chosen)} running cop{'y' if len(chosen) == 1 else 'ies'}?"


def _chosen(found: Sequence[HeldCopy], names: Sequence[str]) -> list[HeldCopy]:
    """Raises BackendError for a name that is not held."""
    for name in names:
        if name not in {str(copy.key) for copy in found}:
            raise BackendError(f'"{name}" is not held; see what is with: vnode gc')
    return [copy for copy in found if str(copy.key) in names]


def _shown(found: Sequence[HeldCopy], output: Output, *, now: float) -> str:
    if output is Output.JSON:
        return json.dumps([_as_json(copy) for copy in found], indent=2)
    if not found:
        return "no copy is held"
    rows = [_HEAD, *(_row(copy, now) for copy in found)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_HEAD))]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        for row in rows
    ]
    return "\n".join(line.rstrip() for line in lines)


def _row(held: HeldCopy, now: float) -> tuple[str, ...]:
    copy = held.copy
    age = _age(now - parse(copy.made_at)) if copy.made_at else "?"
    return held.cluster, str(held.key), copy.node, age, held.reason, _stamp(held.until) or "-"


def _as_json(held: HeldCopy) -> dict[str, str | None]:
    copy = held.copy
    return {
        "cluster": held.cluster,
        "namespace": copy.key.namespace,
        "name": copy.key.name,
        "uid": copy.uid,
        "node": copy.node,
        "madeAt": copy.made_at,
        "reason": held.reason,
        "until": _stamp(held.until),
    }


def _stamp(seconds: float | None) -> str | None:
    return None if seconds is None else f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%SZ}"


def _age(seconds: float) -> str:
    """As kubectl says it, roughly."""
    for unit, size in (("d", 86_400), ("h", 3_600), ("m", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f}{unit}"
    return f"{max(0.0, seconds):.0f}s"
