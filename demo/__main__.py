"""`make demo` and `make demo-down`.

`up` starts a tenant and two compute clusters (real containers where this machine can run them, else
simulated nodes; CLUSTERS=existing takes given ones, CLUSTERS=kind those of kind), joins them with
the manifests of deploy/, starts the agent and tells the story.
The agent is a process beside the clusters, or (`--agent deployment`, real containers only) what
users have: the Deployment of deploy/tenant on the tenant's node. Everything stays until `down`. All
state is in the folder .demo/, or in the one that DEMO_STATE names. `burst` (`make demo BURST=1`)
tells another story, on clusters of its own that end with it.
"""

import dataclasses
import enum
import json
import os
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from demo.account import AccountStory
from demo.burst import BurstStory
from demo.stage import StoryError
from demo.story import Story
from tests.agents import AgentError, AgentProcess, Federation, join
from tests.agents.deployment import deploy
from tests.clusters import Cluster, ClusterSpec, Harness, HarnessError, NodePool, can_run_containers
from tests.clusters.errors import CommandError
from tests.clusters.processes import Identity
from tests.eci.account_site import account_site
from tests.standin.data_site import data_site

ROOT = Path(__file__).resolve().parents[1]
STATE = Path(os.environ.get("DEMO_STATE") or ROOT / ".demo").resolve()
COMPUTES = ("gpu-a", "gpu-b")


class AgentKind(enum.StrEnum):
    """How the agent runs."""

    PROCESS = "process"
    DEPLOYMENT = "deployment"


app = typer.Typer(add_completion=False, no_args_is_help=True)
console = Console(highlight=False, soft_wrap=True)


@app.command()
def up(
    story: Annotated[bool, typer.Option(help="Tell the story once everything runs.")] = True,
    agent: Annotated[AgentKind, typer.Option(help="How the agent runs.")] = AgentKind.PROCESS,
) -> None:
    """Start everything and tell the story."""
    if STATE.exists():
        _fail("there is a demo already; remove it first with: make demo-down")
    possible, why = can_run_containers()
    containers = possible or bool(os.environ.get("CLUSTERS"))
    if not containers and agent is AgentKind.DEPLOYMENT:
        _fail(f"the agent's pods need real containers ({why})")
    if not containers:
        console.print(f"[yellow]No real containers here ({why}): nodes are simulated by kwok,")
        console.print("[yellow]so there are no logs and no exec. Run as root for the whole story.")
    harness = Harness(state=STATE / "clusters", detached=True, progress=_progress)
    try:
        start = _deploy if agent is AgentKind.DEPLOYMENT else _start
        federation, log = start(harness, containers=possible)
        if story:
            Story(console, federation.tenant, containers=containers).tell()
    except (HarnessError, AgentError, StoryError) as error:
        _fail(f"{error}\n(everything that was started is still there: make demo-down)")
    _how_to_go_on(federation, log)


@app.command()
def burst() -> None:
    """Run a Job at home and on ECI, with a claim and with a price, and remove all of it."""
    possible, why = can_run_containers()
    if os.environ.get("CLUSTERS") or not possible:
        _fail(f"bursting needs real nodes started here ({why or 'clusters are given'})")
    began = time.monotonic()
    try:
        with (
            tempfile.TemporaryDirectory(prefix="vnode-burst-") as folder,
            Harness(state=Path(folder) / "clusters", progress=_progress) as harness,
            data_site(harness, Path(folder)) as site,
        ):
            BurstStory(console, site).tell()
        with (
            tempfile.TemporaryDirectory(prefix="vnode-burst-") as folder,
            Harness(state=Path(folder) / "clusters", progress=_progress) as harness,
            account_site(harness, Path(folder)) as paid,
        ):
            AccountStory(console, paid).tell()
    except (HarnessError, CommandError, AgentError, StoryError) as error:
        _fail(str(error))
    console.rule("[bold green]The same Job and claim in both places", align="left", style="green")
    console.print(f"all of it took {time.monotonic() - began:.0f} s, and is removed")


@app.command()
def down() -> None:
    """Remove everything."""
    if not STATE.exists():
        console.print("there is no demo to remove")
        return
    _stop_agent()
    Harness(state=STATE / "clusters", detached=True, progress=_progress).down()
    shutil.rmtree(STATE)
    console.print("the demo is removed")


def _start(harness: Harness, *, containers: bool) -> tuple[Federation, str]:
    """The agent as a process; also what shows its log."""
    tenant, computes = _clusters(harness, ClusterSpec("tenant"), containers=containers)
    _progress("giving the agent its rights: deploy/tenant and vnode join")
    federation = join(harness, tenant, computes, directory=STATE / "agent")
    process = AgentProcess(federation)
    process.start()
    _remember(process.pid)
    with console.status("the agent registers its virtual nodes"):
        process.wait_ready()
    _progress(f"agent runs, log in {process.log}")
    return federation, f"tail -f {process.log}"


def _deploy(harness: Harness, *, containers: bool) -> tuple[Federation, str]:
    """The agent as a Deployment; also what shows its log."""
    own = ClusterSpec("tenant", real_nodes=1, gpus_per_real_node=0, cluster_ips=True, agent=True)
    tenant, computes = _clusters(harness, own, containers=containers)
    _progress("joining: vnode join for each compute cluster, its Secret, and all of deploy/tenant")
    deployed = deploy(harness, tenant, computes, directory=STATE / "agent")
    with console.status("two replicas start and register their virtual nodes"):
        deployed.wait_ready(timeout=120)
    _progress("the agent's Deployment is ready")
    return deployed.federation, "kubectl -n vnode-system logs -f deployment/vnode"


def _clusters(
    harness: Harness, own: ClusterSpec, *, containers: bool
) -> tuple[Cluster, dict[str, Cluster]]:
    specs = [own]
    for name in COMPUTES:
        if containers:
            specs.append(ClusterSpec(name, real_nodes=1))
        else:
            specs.append(ClusterSpec(name, kwok=NodePool(2)))
    clusters = harness.up(specs)
    return clusters.pop(own.name), clusters


def _remember(pid: int) -> None:
    identity = Identity.of(pid)
    if identity is not None:
        (STATE / "agent.json").write_text(json.dumps(dataclasses.asdict(identity)))


def _stop_agent() -> None:
    path = STATE / "agent.json"
    if not path.exists():
        return
    identity = Identity(**json.loads(path.read_text()))
    identity.signal(signal.SIGTERM)
    deadline = time.monotonic() + 15
    while identity.alive() and time.monotonic() < deadline:
        time.sleep(0.1)
    identity.signal(signal.SIGKILL)


def _how_to_go_on(federation: Federation, log: str) -> None:
    tenant = federation.tenant.kubeconfig
    first = next(iter(federation.computes.values())).kubeconfig
    console.print()
    console.rule("[bold green]The demo works. Go on exploring", align="left", style="green")
    console.print(
        f"""\
  export KUBECONFIG={tenant}     # you are a user of the tenant
  kubectl get nodes
  kubectl -n team-a apply -f {ROOT / "demo" / "manifests" / "notebook.yaml"}
  kubectl -n team-a exec -it deployment/notebook -- sh

  kubectl --kubeconfig {first} get pods -A   # what really runs
  {log}

  make demo-down     # remove everything"""
    )


def _progress(text: str) -> None:
    console.print(f"[dim]{time.strftime('%H:%M:%S')}[/] {text}")


def _fail(text: str) -> None:
    console.print(f"[bold red]error:[/] {text}")
    sys.exit(1)


if __name__ == "__main__":
    app()
