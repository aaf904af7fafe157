"""Alibaba Cloud ECI as a compute side: everything of it that is no part of the seam.

In: an account, opened for as long as the agent lives. Out: `EciCompute`, and for each term an
`EciSide`: the backend with its polling, capacity as configured, stock and prices as data, the
access key kept fresh.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import asynccontextmanager
from functools import partial

import structlog

from federation.backends.eci.backend import EciBackend
from federation.backends.eci.prices import Prices
from federation.backends.eci.stock import Stock
from federation.claims.objects import Claim
from federation.config import EciClusterConfig, VirtualNode
from federation.fluid.groups import GroupClaims
from federation.fluid.names import PROFILE_LABEL
from federation.sides.eci.account import EciAccount, open_account
from federation.sides.eci.capacity import EciCapacity
from federation.sides.eci.policy import policies_of
from federation.sides.side import Task, Term
from vnode.backend import CapacitySource
from vnode.kube.errors import KubeError
from vnode.runtime.clock import Clock
from vnode.runtime.store import Change

__all__ = ["EciCompute", "EciSide", "connect"]

_LOG = structlog.get_logger(__name__)

_SHOW_EVERY = 15.0
"""Seconds between two looks at what the budget counted."""


@asynccontextmanager
async def connect(
    cluster: EciClusterConfig, *, name: str, clock: Clock
) -> AsyncIterator["EciCompute"]:
    """Open the way to an account; nothing is asked of it yet. `name`: for errors.

    Raises:
        ConfigError: there is no access key.
    """
    async with open_account(cluster, name=name, clock=clock) as account:
        yield EciCompute(account)


class EciCompute:
    """A `Compute`, reached by the ECI API."""

    def __init__(self, account: EciAccount) -> None:
        self._account = account

    async def probe(self, *, known: Callable[[], Awaitable[bool]]) -> None:
        """See `Compute.probe`."""
        try:
            await self._account.probe()
        except KubeError as error:
            if not await known():
                raise
            name = self._account.config.name
            _LOG.error("compute cluster not usable yet", cluster=name, error=str(error))

    def lead(self, term: Term) -> "EciSide":
        """See `Compute.lead`."""
        return EciSide(self._account, term)


class EciSide:
    """A `Side` for one term; see the module."""

    def __init__(self, account: EciAccount, term: Term) -> None:
        shared, config, api = term.shared, account.config, account.api
        self._account = account
        self._config = config
        self._term = term
        self._clock = shared.clock
        self._pods = term.pods
        self._metrics = shared.metrics.eci
        ours = {node.name for node in term.nodes}
        self.backend = EciBackend(
            api.guarded(term.may_write),
            policies=policies_of(config, term.owner, logins=account.logins),
            # Keys are exchanged; a security group belongs to one account for ever.
            account=f"{config.region}/{config.security_group}",
            forwards=shared.config.tenant.forwards,
            claims=self._claims(),
            others=[n.name for n in shared.config.virtual_nodes if n.name not in ours],
            clock=shared.clock,
            rng=shared.rng,
        )
        bought = {name for pool in config.pools for _, name in pool.type_names()}
        spot = {name for pool in config.pools if pool.spot for _, name in pool.type_names()}
        fixed = {n: t.price for n, t in config.instance_types.items() if t.price is not None}
        self.stock = Stock(
            api, bought, clock=shared.clock, changed=partial(self._metrics.stock, config.name)
        )
        self.prices = Prices(
            api,
            fixed=fixed,
            types=bought,
            spot=spot,
            clock=shared.clock,
            changed=partial(self._metrics.prices, config.name),
        )

    def node_labels(self, node: VirtualNode) -> Mapping[str, str]:
        """The GPU model, by which pods ask for it, where the pool has only one."""
        pool = self._config.pool_of(node.name)
        return {pool.gpu_label: next(iter(pool.gpu_types))} if len(pool.gpu_types) == 1 else {}

    def copies(self) -> int:
        """See `Side.copies`."""
        return self.backend.copies()

    def capacity(self, node: VirtualNode) -> CapacitySource:
        """What was configured, as nobody can count nodes there, less what is sold out."""
        capacity = EciCapacity(
            self._config.pool_of(node.name),
            node=node.name,
            pods=self._pods,
            stock=self.stock,
            refused=self.backend.out_of_stock,
        )
        self.backend.subscribe_stock(capacity.look)
        return capacity

    def follow(self) -> Callable[[], None]:
        """Claims, as pods wait for theirs; a group needs no place to lie in."""
        ends: list[Callable[[], None]] = [partial(self._metrics.left, self._config.name)]
        if self._config.policy.fluid is not None:
            ends.append(self._term.shared.tenant.claims.subscribe(self._claim_changed))

        def end() -> None:
            for each in ends:
                each()

        return end

    def _claim_changed(self, change: Change[Claim]) -> None:
        # Pods forget how long to wait when they hear of it; what else claims say is no news.
        if _for_pods(change.old) != _for_pods(change.new):
            self.backend.opened(change.key.namespace)

    def _claims(self) -> GroupClaims | None:
        """How claims of pods become parts of their groups; None: pods with claims wait."""
        fluid = self._config.policy.fluid
        if fluid is None:
            return None
        return GroupClaims(
            self._term.tenant,
            claim=self._term.shared.tenant.claims.get,
            profiles=self._account.profiles,
            volumes=fluid.volumes,
            secrets=self._config.allow_inline_secrets,
        )

    def tasks(self) -> Iterator[Task]:
        """See `Side.tasks`."""
        yield "access key", self._account.key.run()
        yield "stock", self.stock.run()
        yield "prices", self.prices.run()
        yield "calls", self._show_calls()

    async def _show_calls(self) -> None:
        while True:
            self._metrics.calls(self._config.name, self._account.budget.statistics())
            await self._clock.sleep(_SHOW_EVERY)


def _for_pods(claim: Claim | None) -> tuple[object, ...]:
    """What of a claim decides whether pods can have it."""
    if claim is None:
        return ()
    metadata = claim.metadata
    profile = metadata.labels.get(PROFILE_LABEL)
    return metadata.uid, metadata.deletion_timestamp, claim.spec.volume_name, profile
