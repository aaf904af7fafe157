"""`vnode join`: makes, or prints, what a tenant needs in a compute cluster, and its credential.

In: options, or the agent's configuration; a kubeconfig of an administrator of the compute cluster.
Out: a table or JSON on stdout, or the manifests as YAML; with --secret-file the tenant's Secret.
`federation.join` does the work. Exit codes as everywhere: 1 where the cluster or somebody else's
objects are in the way, 2 for wrong options.
"""

import asyncio
import contextlib
import os
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from federation.cli.failures import ExitCode, reported
from federation.cli.output import Output

if TYPE_CHECKING:
    from federation.credential import Account, AccountToken
    from federation.join.apply import Applied
    from federation.join.credential import Credential
    from federation.join.leftovers import Leftover
    from federation.join.render import Object
    from vnode.kube.config import Connection

_STDOUT = Path("-")
_LIFE = "168h"
_PATIENCE = 2.0
"""Seconds after which a line says what is being done."""


def join(
    config: Annotated[
        Path | None,
        typer.Option(
            "--config",
            help="The agent's configuration file: tenant, namespaces, mode, on demand, capacity "
            "and usage are taken from it.",
            show_default=False,
        ),
    ] = None,
    tenant: Annotated[
        str | None,
        typer.Option("--tenant", help="Name of the tenant, without --config.", show_default=False),
    ] = None,
    cluster: Annotated[
        str | None,
        typer.Option(
            "--cluster",
            help="Name of the compute cluster in the agent's configuration.",
            show_default=False,
        ),
    ] = None,
    namespaces: Annotated[
        str | None,
        typer.Option(
            "--namespaces",
            metavar="NAME[=COMPUTE-NAME],...",
            help="Tenant namespaces, without --config. [default compute name: <tenant>--<name>]",
            show_default=False,
        ),
    ] = None,
    same_names: Annotated[
        bool, typer.Option("--same-names", help="Compute namespaces have the tenant's names.")
    ] = False,
    on_demand: Annotated[
        bool,
        typer.Option(
            "--on-demand",
            help="The agent makes its namespaces itself, with rights in the whole cluster.",
        ),
    ] = False,
    capacity_nodes: Annotated[
        bool, typer.Option("--capacity-nodes", help="Rights for capacity source `nodes`.")
    ] = False,
    usage_kubelet: Annotated[
        bool, typer.Option("--usage-kubelet", help="Rights for `usage: kubelet`; broad.")
    ] = False,
    quota: Annotated[
        list[str] | None,
        typer.Option(
            "--quota",
            metavar="[NAMESPACE:]RESOURCE=QUANTITY,...",
            help="What each namespace, or that one, may use; may be given more than once. "
            "[default: 1000 pods, 500 CPUs, 2Ti of memory, 64 nvidia.com/gpu]",
            show_default=False,
        ),
    ] = None,
    pod_security: Annotated[
        str,
        typer.Option("--pod-security", help="Pod Security level of the compute namespaces."),
    ] = "baseline",
    tenant_api_server: Annotated[
        str | None,
        typer.Option(
            "--tenant-api-server",
            metavar="ADDRESS:PORT",
            help="Where pods reach the tenant's API server, for the NetworkPolicies. "
            "[default: tenant.apiServer of --config]",
            show_default=False,
        ),
    ] = None,
    tenant_uid: Annotated[
        str | None,
        typer.Option(
            "--tenant-uid",
            help="UID of the tenant's namespace kube-system: refuses other tenant clusters that "
            "come with the same tenant name. --secret-file needs it.",
            show_default=False,
        ),
    ] = None,
    kubeconfig: Annotated[
        Path | None,
        typer.Option(
            "--kubeconfig",
            envvar="KUBECONFIG",
            help="Kubeconfig of an administrator of the compute cluster. [default: ~/.kube/config]",
            show_default=False,
        ),
    ] = None,
    context: Annotated[
        str | None,
        typer.Option(
            "--context", help="A context of it. [default: its current one]", show_default=False
        ),
    ] = None,
    secret_file: Annotated[
        Path | None,
        typer.Option(
            "--secret-file",
            metavar="FILE",
            help="Make a token and write the tenant's Secret to this file (mode 0600); -: stdout.",
            show_default=False,
        ),
    ] = None,
    token_life: Annotated[
        str,
        typer.Option("--token-life", help="How long the token lives unless the agent renews it."),
    ] = _LIFE,
    server: Annotated[
        str | None,
        typer.Option(
            "--server",
            metavar="URL",
            help="The compute cluster's API server as the agent reaches it. "
            "[default: as in the kubeconfig]",
            show_default=False,
        ),
    ] = None,
    ca: Annotated[
        Path | None,
        typer.Option(
            "--ca",
            metavar="FILE",
            help="PEM file of the CA that signed its certificate. [default: as in the kubeconfig]",
            show_default=False,
        ),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Ask the cluster what would change; change nothing.")
    ] = False,
    print_only: Annotated[
        bool,
        typer.Option("--print", help="Print the manifests as YAML; no cluster is asked."),
    ] = False,
    output: Annotated[Output, typer.Option("--output", "-o", help="Form.")] = Output.TABLE,
) -> None:
    """Prepare a compute cluster for a tenant and make the agent's credential there.

    Run by an administrator of the compute cluster. It may be run again: what is as it should be is
    left alone, and what belongs to others is never changed.
    """
    # Imported here: the other commands start faster without it.
    from federation.cli.join_shown import as_json, as_text
    from federation.cli.join_wishes import (
        Wishes,
        check_place,
        exclude,
        kubeconfig_of,
        route_of,
        seconds_of,
    )
    from federation.credential import account_of
    from federation.join.credential import as_yaml, credential_of
    from federation.join.render import compute_objects
    from vnode.kube.config import Connection

    with reported(), _explained():
        exclude(print_only, dry_run, "--print", "--dry-run")
        exclude(print_only or dry_run, secret_file, "--print or --dry-run", "--secret-file")
        wanted = Wishes(
            config=config,
            tenant=tenant,
            cluster=cluster,
            namespaces=namespaces,
            same_names=same_names,
            on_demand=on_demand,
            capacity_nodes=capacity_nodes,
            usage_kubelet=usage_kubelet,
            quota=quota or [],
            pod_security=pod_security,
            tenant_api_server=tenant_api_server,
            tenant_uid=tenant_uid,
        )
        plan = wanted.plan()
        for warning in plan.warnings:
            typer.echo(f"warning: {warning}", err=True)
        if print_only:
            typer.echo(as_yaml(compute_objects(plan)), nl=False)
            return
        life = seconds_of(token_life)
        if secret_file is not None and secret_file != _STDOUT:
            check_place(secret_file)
        admin = kubeconfig_of(kubeconfig, os.environ.get("KUBECONFIG", ""))
        route = None if secret_file is None else route_of(admin, context, server, ca)
        objects = compute_objects(plan)
        applied, left, token = asyncio.run(
            _work(
                Connection(plan.cluster, admin, context, user_agent="vnode-join"),
                plan.tenant,
                objects,
                account=account_of(plan.tenant) if route is not None else None,
                seconds=life,
                dry_run=dry_run,
            )
        )
        made = None
        if route is not None and token is not None and secret_file is not None:
            made = credential_of(plan, route, token)
            _write(made, secret_file)
        on_stdout = secret_file == _STDOUT
        shown = as_json if output is Output.JSON else as_text
        text = shown(plan, applied, made, left=left, file=secret_file, dry_run=dry_run)
        typer.echo(text, err=on_stdout)


async def _work(
    connection: "Connection",
    tenant: str,
    objects: "Sequence[Object]",
    *,
    account: "Account | None",
    seconds: float,
    dry_run: bool,
) -> "tuple[list[Applied], list[Leftover], AccountToken | None]":
    """Apply the objects, see what else is there, and request a token of the account, if any."""
    from federation.credential import request_token
    from federation.join.apply import apply
    from federation.join.leftovers import leftovers
    from vnode.kube.client import KubeClient

    async with await KubeClient.connect(connection) as client:
        for_token = account is not None
        progress = _progress()
        applied = await apply(
            client, objects, dry_run=dry_run, for_token=for_token, progress=progress
        )
        left = await leftovers(client, tenant, objects)
        if account is None:
            return applied, left, None
        return applied, left, await request_token(client, account, seconds=seconds)


@contextlib.contextmanager
def _explained() -> Iterator[None]:
    """Errors of this command, a line each."""
    from federation.join.apply import Refused
    from federation.join.plan import PlanError

    try:
        yield
    except PlanError as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(ExitCode.CONFIGURATION) from None
    except Refused as error:
        for problem in error.problems:
            typer.echo(f"error: {problem}", err=True)
        changed = f"{error.made} objects were made before that" if error.made else "nothing changed"
        typer.echo(f"error: {changed}; run this again when that is mended", err=True)
        raise typer.Exit(ExitCode.FAILURE) from None


def _progress() -> Callable[[str], None]:
    """Says on stderr what is done, when it takes longer than people like to wait in silence."""
    said = time.monotonic()

    def say(text: str) -> None:
        nonlocal said
        now = time.monotonic()
        if now - said >= _PATIENCE:
            typer.echo(text, err=True)
            said = now

    return say


def _write(made: "Credential", file: Path) -> None:
    """The Secret's manifests to a file that only its owner reads, or to stdout."""
    if file == _STDOUT:
        typer.echo(made.manifests, nl=False)
        return
    # Beside it and then in its place: it never exists with other rights, nor half.
    handle, name = tempfile.mkstemp(dir=file.parent, prefix=f".{file.name}.")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as out:
            out.write(made.manifests)
        Path(name).replace(file)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
