"""Which serving certificate each virtual node of one compute cluster has, by `kubelet.certificate`.

In: the configuration, the tenant's client and client CA. Out: per virtual node one
`ServingCertificate` and the task that keeps it fresh. Owned by `federation.cluster` for the life of
the process, not of a leadership: a certificate that somebody approved survives the loss of a Lease.
Files that cannot be used are a `CertificateError` at the first use.
"""

import random
from collections.abc import Callable, Coroutine
from typing import Never

from federation.config import CertificateConfig, CertificateSource
from vnode.kube.client import KubeClient
from vnode.kube.types import NodeName
from vnode.node.serving.key_pair import self_signed
from vnode.node.serving.renewal import CertificateFiles, keep_self_signed
from vnode.node.serving.requested import RequestedCertificate
from vnode.node.serving.tls import ServingCertificate
from vnode.runtime.clock import Clock

Keep = Callable[[], Coroutine[None, None, Never]]
"""Makes the task that keeps a certificate fresh; one at a time."""


class Certificates:
    """The serving certificates of the virtual nodes of one cluster."""

    def __init__(
        self,
        client: KubeClient,
        config: CertificateConfig,
        *,
        address: str,
        client_ca: bytes,
        clock: Clock,
        rng: random.Random,
    ) -> None:
        self._client = client
        self._config = config
        self._address = address
        self._client_ca = client_ca
        self._clock = clock
        self._rng = rng
        self._made: dict[NodeName, tuple[ServingCertificate, Keep]] = {}

    async def of(self, node: NodeName) -> tuple[ServingCertificate, Keep]:
        """The certificate of that node, the same one each time. Raises CertificateError."""
        if node not in self._made:
            self._made[node] = await self._make(node)
        return self._made[node]

    async def _make(self, node: NodeName) -> tuple[ServingCertificate, Keep]:
        config, clock = self._config, self._clock
        if config.file is not None and config.key is not None:
            files = CertificateFiles(config.file, config.key)
            serving = ServingCertificate(await files.read(), client_ca=self._client_ca)
            return serving, lambda: files.keep(serving, clock=clock)
        addresses = (self._address,)
        own = self_signed(node=node, addresses=addresses, now=clock.time())
        serving = ServingCertificate(own, client_ca=self._client_ca)
        if config.source is CertificateSource.AUTO:
            requested = RequestedCertificate(
                self._client,
                serving,
                node=node,
                addresses=lambda: addresses,
                clock=clock,
                rng=self._rng,
            )
            return serving, requested.run
        return serving, lambda: keep_self_signed(
            serving, node=node, addresses=addresses, clock=clock
        )
