"""`vnode fence`: which pods were given up while their copies may still run, and letting go of them.

In: a kubeconfig of the tenant cluster. Out: a table or JSON on stdout. `federation.fences` does the
work.
"""

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from federation.cli.failures import reported
from federation.cli.output import Output

if TYPE_CHECKING:
    from federation.fences import Found, Listed

_COLUMNS = ("namespace", "name", "node", "since", "uid", "accepted")


def fence(
    kubeconfig: Annotated[
        Path | None,
        typer.Option(
            "--kubeconfig",
            envvar="KUBECONFIG",
            help="Kubeconfig of the tenant cluster. [default: ~/.kube/config; in a pod its own]",
            show_default=False,
        ),
    ] = None,
    context: Annotated[
        str | None,
        typer.Option(
            "--context", help="A context of it. [default: its current one]", show_default=False
        ),
    ] = None,
    accept: Annotated[
        str | None,
        typer.Option(
            "--accept",
            metavar="NAMESPACE/NAME",
            help="Say that the copy of this pod certainly does not run: nobody waits for it then.",
            show_default=False,
        ),
    ] = None,
    output: Annotated[
        Output, typer.Option("--output", "-o", help="How to show the list.")
    ] = Output.TABLE,
) -> None:
    """List pods that were given up while their copies may still run, or accept one of them."""
    name = _split(accept) if accept is not None else None
    with reported():
        found = asyncio.run(_work(kubeconfig, context, name))
    _tell_unreadable(found)
    if name is not None and not found.fences:
        typer.echo(
            f"error: no virtual node has a fence of pod {accept}; see: vnode fence", err=True
        )
        raise typer.Exit(1)
    if found.fences or not found.unreadable or output is Output.JSON:
        _show(found.fences, output)
    if name is None and found.unreadable:
        raise typer.Exit(1)


def _split(text: str) -> tuple[str, str]:
    namespace, _, name = text.partition("/")
    if not namespace or not name or "/" in name:
        raise typer.BadParameter(f"{text!r} is not NAMESPACE/NAME", param_hint="--accept")
    return namespace, name


async def _work(
    kubeconfig: Path | None, context: str | None, name: tuple[str, str] | None
) -> "Found":
    # Imported here: the other commands start faster without it.
    from federation.fences import accept, list_fences
    from vnode.kube.client import KubeClient
    from vnode.kube.config import Connection
    from vnode.kube.types import ObjectKey

    usual = Path.home() / ".kube" / "config"
    if kubeconfig is None and usual.exists():
        kubeconfig = usual
    connection = Connection(
        name="tenant", kubeconfig=kubeconfig, context=context, user_agent="vnode-fence"
    )
    async with await KubeClient.connect(connection) as client:
        if name is None:
            return await list_fences(client)
        return await accept(client, ObjectKey(*name))


def _tell_unreadable(found: "Found") -> None:
    from vnode.pods.partition.fence_list import FENCED

    for node in found.unreadable:
        typer.echo(
            f"error: the fence list of node {node} (annotation {FENCED}) cannot be read, and no "
            "pod starts before it can: put it right, or, if it is certain that no pod that was "
            f"given up runs there, remove it: kubectl annotate node {node} {FENCED}-",
            err=True,
        )


def _show(found: "list[Listed]", output: Output) -> None:
    import msgspec

    rows = [_row(one) for one in found]
    if output is Output.JSON:
        typer.echo(msgspec.json.format(msgspec.json.encode(rows)).decode())
    elif not rows:
        typer.echo("no pod is fenced")
    else:
        lines = [[column.upper() for column in _COLUMNS]]
        lines += [[_text(row[column]) for column in _COLUMNS] for row in rows]
        widths = [max(map(len, cells)) for cells in zip(*lines, strict=True)]
        for line in lines:
            cells = (cell.ljust(width) for cell, width in zip(line, widths, strict=True))
            typer.echo("  ".join(cells).rstrip())


def _row(one: "Listed") -> dict[str, str | bool]:
    from vnode.kube.timestamps import rfc3339

    fence = one.fence
    return {
        "namespace": fence.key.namespace,
        "name": fence.key.name,
        "node": one.node,
        "since": rfc3339(fence.since),
        "uid": fence.uid,
        "accepted": fence.accepted,
    }


def _text(value: str | bool) -> str:
    return value if isinstance(value, str) else "yes" if value else "no"
