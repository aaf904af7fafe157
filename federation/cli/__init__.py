"""The `vnode` command: one module per group of commands, registered on `app` here.

Every command runs inside `failures.reported`, which turns errors into one line on stderr and an
exit code: 0 clean, 1 failed while running, 2 wrong configuration (or wrong usage).
"""

from importlib import metadata

import typer

from federation.cli import check, config, fence, gc, join, run

__all__ = ["app"]

_DISTRIBUTION = "vnode-federation"

# Rich wraps paths in boxes, and its tracebacks could show local variables: everything is plain.
app = typer.Typer(
    name="vnode",
    help="A virtual node in every tenant cluster, pods running in shared compute clusters.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
app.command()(run.run)
app.command()(join.join)
app.command()(check.check)
app.command()(fence.fence)
app.command()(gc.gc)
app.add_typer(config.app, name="config")


@app.command()
def version() -> None:
    """Print the version."""
    try:
        typer.echo(metadata.version(_DISTRIBUTION))
    except metadata.PackageNotFoundError:
        typer.echo("unknown (running from a source folder that is not installed)")
