"""`vnode config check` and `vnode config schema`: the configuration file, without any cluster."""

import json
from pathlib import Path
from typing import Annotated

import typer

from federation.cli.failures import reported
from federation.config import AgentConfig, config_schema, load_config

app = typer.Typer(help="Check the configuration file.", no_args_is_help=True, rich_markup_mode=None)


@app.command()
def check(
    file: Annotated[Path, typer.Argument(help="The configuration file.", show_default=False)],
) -> None:
    """Check a configuration file and show the virtual nodes that it asks for."""
    with reported(all_problems=True):
        typer.echo(f"{file}: {_summary(load_config(file))}")


@app.command()
def schema() -> None:
    """Print the JSON Schema of the configuration file."""
    typer.echo(json.dumps(config_schema(), indent=2, ensure_ascii=False))


def _summary(config: AgentConfig) -> str:
    nodes = ", ".join(f"{node.name} (port {node.port})" for node in config.virtual_nodes)
    return f"ok: tenant {config.tenant.name}, virtual nodes {nodes}"
