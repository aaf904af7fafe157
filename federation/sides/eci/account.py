"""The way to an ECI account, as the agent and commands open it.

In: a cluster of kind eci in the configuration. Out: an `EciAccount` with the API, its access key
and its one budget of calls. Owned by whoever opened it, which also runs `key.run` where it stays
for long.
"""

import asyncio
import secrets
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from federation.backends.eci.access_key import AccessKeyFiles
from federation.backends.eci.api import EciApi
from federation.backends.eci.budget import Budget
from federation.backends.eci.errors import Denied, EciError
from federation.backends.eci.stock import Stock
from federation.backends.eci.translate import registries
from federation.backends.eci.translate.identity import TENANT
from federation.backends.eci.translate.policy import RegistryLogin
from federation.backends.eci.transport import HttpTransport
from federation.config import EciClusterConfig
from federation.fluid import profiles
from federation.fluid.profiles import Thin
from vnode.kube.errors import ConfigError, Unreachable
from vnode.runtime.clock import Clock

__all__ = ["EciAccount", "open_account"]

_NOBODY = "-"
"""No tenant's name."""


@dataclass(frozen=True)
class EciAccount:
    """One account in one region."""

    config: EciClusterConfig
    name: str
    """For errors."""
    api: EciApi
    key: AccessKeyFiles
    budget: Budget
    clock: Clock
    logins: tuple[RegistryLogin, ...] = ()
    """The platform's own, for image registries."""
    profiles: Mapping[str, Thin] = field(default_factory=dict)
    """ThinRuntimeProfiles that claims may name."""

    async def probe(self) -> None:
        """See that the API answers and knows our key. Asked for is what polling asks for.

        Raises:
            ConfigError: it refuses the key.
            Unreachable: it does not answer.
        """
        try:
            async for _ in self.api.statuses(tags={TENANT: _NOBODY}):
                break
        except Denied as error:
            raise ConfigError(
                f"{self.name}: {error}; put a key into {self.config.credentials} that may use ECI "
                "in this region, or correct region"
            ) from None
        except EciError as error:
            raise Unreachable(
                f"{self.name}: {error}; check region and endpoint, and the network on the way"
            ) from None

    async def sells(self, instance_type: str) -> bool:
        """Whether an instance type can be had in the region now; False also if that is unknown."""
        stock = Stock(self.api, [instance_type], clock=self.clock)
        await stock.refresh()
        found = stock.of(instance_type)
        return found is not None and found.anywhere


@asynccontextmanager
async def open_account(
    config: EciClusterConfig, *, name: str, clock: Clock
) -> AsyncIterator[EciAccount]:
    """Open the way; nothing is asked yet. `name`: for errors.

    Raises:
        ConfigError: there is no access key, or registry logins or profiles cannot be read.
    """
    logins = await asyncio.to_thread(_logins, config.registry_logins, name=name)
    offered = await asyncio.to_thread(_profiles, config, name=name)
    key = await AccessKeyFiles.load(config.credentials, name=name, clock=clock)
    budget = Budget(clock=clock, share=config.account_share)
    api = EciApi(
        HttpTransport(config.url),
        key=key.current,
        region=config.region,
        budget=budget,
        clock=clock,
        nonce=partial(secrets.token_hex, 16),
    )
    try:
        yield EciAccount(config, name, api, key, budget, clock, logins, offered)
    finally:
        await api.close()


def _logins(path: Path | None, *, name: str) -> tuple[RegistryLogin, ...]:
    try:
        return () if path is None else registries.of_file(path.read_bytes())
    except OSError as error:
        why = (error.strerror or "cannot be read").lower()
    except ValueError as error:
        why = str(error)
    raise ConfigError(
        f"{name}: no registry logins in {path} ({why}); put a docker config.json there, or correct "
        "registryLogins"
    )


def _profiles(config: EciClusterConfig, *, name: str) -> Mapping[str, Thin]:
    fluid = config.policy.fluid
    if fluid is None or fluid.profiles is None:
        return {}
    try:
        return profiles.of_file(fluid.profiles.read_bytes())
    except OSError as error:
        why = (error.strerror or "cannot be read").lower()
    except ValueError as error:
        why = str(error)
    raise ConfigError(
        f"{name}: no profiles in {fluid.profiles} ({why}); put the manifests of "
        "ThinRuntimeProfiles there, or correct policy.fluid.profiles"
    )
