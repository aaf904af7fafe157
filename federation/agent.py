"""The agent process: what runs, in which order it starts and stops.

    run_agent
    ├── health    /livez and /readyz, if asked for        (federation.readiness)
    ├── loop lag  how late the event loop is              (vnode.runtime.loop_lag)
    ├── tenant    client, facts, shared watches           (federation.tenant)
    └── per compute cluster: a connection                 (federation.sides), and a Lease in the
        │                    tenant; while it is held
        └── ComputeCluster.serve                          (federation.cluster)

Everything is built here and handed down; there are no globals. What is wrong at the start (a
kubeconfig, a credential, a cluster that does not answer) ends the process with one clear error. A
compute cluster that already has its virtual nodes is the exception: its nodes have to be kept alive
while it is away (DESIGN 7, Two links).
"""

import asyncio
import os
import random
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack, nullcontext
from functools import partial
from importlib.metadata import version
from ipaddress import ip_address

import structlog

from federation.cluster import ComputeCluster
from federation.config import AgentConfig, AnyClusterConfig
from federation.patience import when_granted
from federation.readiness import Readiness, cluster_line
from federation.shared import Shared
from federation.sides.connecting import connect
from federation.sides.side import Compute
from federation.telemetry import FederationMetrics, metrics_registry
from federation.tenant import Tenant, left_nodes, read_facts
from vnode.kube.client import KubeClient
from vnode.kube.config import Connection
from vnode.kube.errors import ConfigError, NotFound
from vnode.kube.resources import NODES
from vnode.kube.types import PartialObject
from vnode.kubelet.access.authenticator import Authenticator
from vnode.kubelet.access.reviews import Reviews
from vnode.kubelet.health import health_server
from vnode.kubelet.metrics import KubeletMetrics
from vnode.kubelet.passing import PassedConnections, Passing
from vnode.kubelet.sessions import Sessions
from vnode.runtime.backoff import Backoff
from vnode.runtime.clock import Clock, SystemClock
from vnode.runtime.leader import LeaseElector
from vnode.runtime.loop_lag import observe_lag

_LOG = structlog.get_logger(__name__)

_DISTRIBUTION = "vnode-federation"

_LONGEST_PAUSE = 60.0
"""Seconds between two attempts to serve a cluster that fails again and again."""


async def run_agent(config: AgentConfig, *, identity: str, health_port: int | None = None) -> None:
    """Run one replica until cancelled.

    Args:
        config: validated configuration.
        identity: name of this replica in leader election, unique among replicas.
        health_port: of `/livez` and `/readyz`, from the first moment on; None: not served.

    Raises:
        KubeError: the tenant, or a compute cluster that was never joined, cannot be used.
        OSError: a kubelet port or the health port cannot be bound.
    """
    clusters = [cluster.name for cluster in config.clusters]
    _LOG.info("starting", version=version(_DISTRIBUTION), identity=identity, clusters=clusters)
    readiness = Readiness()
    clock, rng = SystemClock(), random.Random()  # noqa: S311 - jitter only
    address = _address(config)
    async with AsyncExitStack() as stack:
        if health_port is not None:
            host = str(config.kubelet.listen)
            server = health_server(host=host, port=health_port, report=readiness.report)
            await stack.enter_async_context(server)
        readiness.starting("asking the tenant cluster who it is")
        client = await stack.enter_async_context(await _connect(config))
        facts = await when_granted(
            partial(read_facts, client), of=client.name, clock=clock, rng=rng
        )
        left = await left_nodes(client, config)
        tenant = Tenant(client, config, facts, clock=clock, rng=rng, left=left)
        joined: list[tuple[AnyClusterConfig, Compute]] = []
        for index, cluster in enumerate(config.clusters):
            name = f"clusters[{index}] {cluster.name}"
            compute = await stack.enter_async_context(
                connect(cluster, name=name, user_agent=_user_agent(), clock=clock, rng=rng)
            )
            readiness.starting(f"asking compute cluster {cluster.name} for an answer")
            await compute.probe(known=partial(_has_nodes, cluster, config, client))
            joined.append((cluster, compute))
        shared = _share(config, tenant, address, clock=clock, rng=rng)
        await _work(shared, joined, identity, readiness)


async def _work(
    shared: Shared,
    joined: Sequence[tuple[AnyClusterConfig, Compute]],
    identity: str,
    readiness: Readiness,
) -> None:
    election = shared.config.leader_election
    states: list[Callable[[], tuple[bool, str]]] = []
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(shared.tenant.run(), name="tenant")
        lag = observe_lag(shared.metrics.loop_late, clock=shared.clock)
        tasks.create_task(lag, name="loop lag")
        for cluster, compute in joined:
            elector = LeaseElector(
                shared.tenant.client,
                namespace=election.namespace,
                name=f"vnode-{cluster.name}",
                identity=identity,
                duration=election.lease_duration,
                renew_deadline=election.renew_deadline,
                retry_period=election.retry_period,
                clock=shared.clock,
                rng=shared.rng,
                address=shared.own_address,
            )
            served = ComputeCluster(shared, cluster, compute, may_write=elector.may_write)
            states.append(partial(_state, elector, served))
            passing = served.passing(elector.holder_address) if shared.own_address else None
            if passing is not None:
                tasks.create_task(passing.run(), name=f"passing {cluster.name}")
            leading = _lead(elector, served, shared, passing=passing)
            tasks.create_task(leading, name=f"cluster {cluster.name}")
        readiness.started(states)


def _state(elector: LeaseElector, served: ComputeCluster) -> tuple[bool, str]:
    return cluster_line(
        served.name, leads=elector.is_leader, served=served.served, holder=elector.holder
    )


async def _lead(
    elector: LeaseElector,
    served: ComputeCluster,
    shared: Shared,
    *,
    passing: Passing | None = None,
) -> None:
    """Serve one cluster whenever its Lease is ours. A bug in one does not end the others.

    Raises:
        Exception: what went wrong before the cluster was served for the first time.
    """

    async def serve() -> None:
        async with passing.aside() if passing is not None else nullcontext():
            await served.serve()

    backoff = Backoff(1.0, _LONGEST_PAUSE, rng=shared.rng)
    while True:
        began = shared.clock.monotonic()
        try:
            await elector.run(serve)
        except Exception:
            if not served.served:
                raise
            _LOG.exception("serving a cluster failed", cluster=served.name)
        if shared.clock.monotonic() - began > _LONGEST_PAUSE:
            backoff.reset()  # Not a failure in a row: its nodes must not be left for a minute.
        await shared.clock.sleep(backoff.next())


def _share(
    config: AgentConfig, tenant: Tenant, address: str, *, clock: Clock, rng: random.Random
) -> Shared:
    sessions = Sessions(
        per_namespace=config.kubelet.sessions_per_namespace, total=config.kubelet.sessions
    )
    registry = metrics_registry()
    return Shared(
        config=config,
        tenant=tenant,
        address=address,
        own_address=_own_address(config),
        authenticator=Authenticator(
            None if config.kubelet.insecure else Reviews(tenant.client, clock=clock)
        ),
        sessions=sessions,
        kubelet_metrics=KubeletMetrics(registry, sessions=sessions),
        passed=PassedConnections(most=config.kubelet.sessions, registry=registry),
        metrics=FederationMetrics(registry),
        clock=clock,
        rng=rng,
    )


async def _connect(config: AgentConfig) -> KubeClient:
    return await KubeClient.connect(
        Connection(
            name="tenant",
            kubeconfig=config.tenant.kubeconfig,
            context=config.tenant.context,
            user_agent=_user_agent(),
        )
    )


async def _has_nodes(cluster: AnyClusterConfig, config: AgentConfig, tenant: KubeClient) -> bool:
    for node in config.virtual_nodes:
        if node.cluster.name == cluster.name:
            try:
                await tenant.get(NODES, PartialObject, name=node.name)
            except NotFound:
                continue
            return True
    return False


def _address(config: AgentConfig) -> str:
    """Address of the virtual nodes: as configured, else the pod's own."""
    address = config.kubelet.advertise or os.environ.get("POD_IP", "")
    if not address:
        raise ConfigError(
            "kubelet.advertise is not set and there is no POD_IP in the environment; set it to an "
            "address at which the tenant's API server reaches this process"
        )
    return str(address)


def _own_address(config: AgentConfig) -> str:
    """Where other replicas reach this one behind the address that all of them share."""
    kubelet = config.kubelet
    listens = "" if ip_address(kubelet.listen).is_unspecified else kubelet.listen
    own = os.environ.get("POD_IP", "") or listens
    return own if kubelet.advertise and own != kubelet.advertise else ""


def _user_agent() -> str:
    return f"vnode/{version(_DISTRIBUTION)}"
