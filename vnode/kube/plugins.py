"""Exec plugins and auth providers of kubeconfigs, which kubernetes_asyncio runs.

In: a kubeconfig whose user logs in by one. Out: the `Login` that it gave. Raises ConfigError that
names the user entry. The library is imported when the first one is needed: its models take 36 MB,
and most agents have a token.
"""

import asyncio
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from vnode.kube.errors import ConfigError
from vnode.kube.kubeconfig import ClientCertificate, Kubeconfig

if TYPE_CHECKING:
    from kubernetes_asyncio.client import Configuration
    from kubernetes_asyncio.config.kube_config import KubeConfigLoader

__all__ = ["Login", "log_in", "needs_plugin"]

_PROVIDER_MAX_AGE = 600.0
_PLUGIN_TIMEOUT = 60.0


@dataclass(frozen=True, slots=True, repr=False)
class Login:
    """How a client shows who it is."""

    authorization: str | None
    """Value of the Authorization header."""
    certificate: ClientCertificate | None
    max_age: float | None = None
    """Seconds after which it should be asked for again; None: only if it is refused."""


def needs_plugin(found: Kubeconfig) -> bool:
    """Whether its user logs in by a plugin or a provider."""
    return "exec" in found.user or "auth-provider" in found.user


async def log_in(found: Kubeconfig) -> Login:
    """Run the plugin or ask the provider. Raises ConfigError."""
    loader, configuration = await asyncio.to_thread(_library, found)
    try:
        async with asyncio.timeout(_PLUGIN_TIMEOUT):
            await loader.load_and_set(configuration)
    except TimeoutError:
        raise ConfigError(
            f"kubeconfig {found.path}: {found.user_source} gave no credential within "
            f"{_PLUGIN_TIMEOUT:.0f} s; run it by hand to see why"
        ) from None
    except Exception as error:
        raise ConfigError(
            f"kubeconfig {found.path}: {found.user_source}: {str(error)[:500]}; run it by hand to "
            "see why"
        ) from None
    certificate = found.certificate
    chain, key = getattr(loader, "cert_file", None), getattr(loader, "key_file", None)
    if chain and key:  # given by an exec plugin
        certificate = await asyncio.to_thread(_certificate, chain, key, found.user_source)
    max_age = None
    expiry = getattr(loader, "exec_plugin_expiry", None)
    if expiry is not None:
        remaining = max(0.0, expiry.timestamp() - time.time())
        max_age = max(5.0, remaining - min(60.0, remaining * 0.2))
    elif "auth-provider" in found.user:
        max_age = _PROVIDER_MAX_AGE
    return Login(configuration.api_key.get("BearerToken"), certificate, max_age)


def _library(found: Kubeconfig) -> "tuple[KubeConfigLoader, Configuration]":
    from kubernetes_asyncio.client import Configuration
    from kubernetes_asyncio.config.kube_config import KubeConfigLoader

    document, folder = found.document(), str(found.path.parent)
    return KubeConfigLoader(document, config_base_path=folder), Configuration()


def _certificate(certificate: str, key: str, source: str) -> ClientCertificate:
    return ClientCertificate(
        certificate=Path(certificate).read_bytes(), key=Path(key).read_bytes(), source=source
    )
