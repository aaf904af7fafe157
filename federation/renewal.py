"""Renews the agent's own token in a compute cluster, in the Secret that it is mounted from.

In: the Secret in the tenant (`clusters[].kubeconfigSecret`), whose kubeconfig holds a token of a
ServiceAccount. Out: the same Secret with a fresh one (KEP-1205), once 70 to 80 % of its life have
passed. The kubelet brings it into the files of all replicas, and each takes it up without a restart
(`vnode.kube.credentials`). One task per compute cluster, run by the replica that holds its Lease,
so that nobody else writes; a restart finds the newest token in the Secret. See ADR 11.

Nothing is asked or written while the Secret holds another credential than the one in use: it may be
another cluster's, or newer than the file that the kubelet has yet to bring.

What fails is logged with the time that is left and tried again, for ever. A token that ended
because nobody could renew it is mended by `vnode join`, which the log says.
"""

import base64
import binascii
import random
from collections.abc import Callable
from typing import Never

import structlog

from federation.credential import (
    SECRET_KEY,
    SHORTEST_LIFE,
    AccountToken,
    request_token,
    server_in,
    token_in,
    with_token,
)
from vnode.kube.client import KubeClient
from vnode.kube.errors import KubeError
from vnode.kube.resources import SECRETS
from vnode.kube.timestamps import rfc3339
from vnode.kube.types import JSONObject, encode_base64, object_in
from vnode.runtime.backoff import Backoff
from vnode.runtime.clock import Clock

_LOG = structlog.get_logger(__name__)

_EARLIEST, _LATEST = 0.7, 0.8
"""Shares of a token's life between which it is renewed; the kubelet takes 0.8 for its tokens."""
_LONGEST = 3600.0
"""Seconds between two looks at the Secret: somebody may have joined again."""
_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"
_RETRY, _LONGEST_RETRY = 5.0, 300.0
_SYNC = 60.0
"""Seconds between two looks at a Secret that is not what the agent uses; kubelets take longer."""


class TokenRenewal:
    """Keeps the token of one compute cluster alive while it runs."""

    def __init__(
        self,
        tenant: KubeClient,
        compute: KubeClient,
        *,
        cluster: str,
        namespace: str,
        secret: str,
        context: str | None,
        clock: Clock,
        rng: random.Random,
        ends: Callable[[float], None] = lambda _: None,
    ) -> None:
        """Nothing is asked yet.

        Args:
            tenant: of the cluster that has the Secret; may write to it.
            compute: of the cluster that gives the token, with the agent's own credential.
            cluster: name of the compute cluster in the configuration.
            namespace: of the Secret.
            secret: its name.
            context: of the kubeconfig in it; None: its current one.
            clock: of the agent.
            rng: chooses at which share of a life this agent renews.
            ends: told when the token in the Secret ends, in Unix seconds.
        """
        self._tenant = tenant
        self._compute = compute
        self._cluster = cluster
        self._namespace = namespace
        self._secret = secret
        self._context = context
        self._clock = clock
        self._share = rng.uniform(_EARLIEST, _LATEST)
        self._backoff = Backoff(_RETRY, _LONGEST_RETRY, rng=rng)
        self._ends = ends
        self._known: AccountToken | None = None
        self._puzzled = False
        self._waits = False

    async def run(self) -> Never:
        """Renew until cancelled."""
        while True:
            try:
                pause = await self._look()
            except KubeError as error:
                self._failed(error)
                pause = self._backoff.next()
            else:
                self._backoff.reset()
            await self._clock.sleep(pause)

    async def _look(self) -> float:
        """Renew the token if it is time; returns the seconds until the next look."""
        secret: JSONObject = await self._tenant.get(
            SECRETS, dict, name=self._secret, namespace=self._namespace
        )
        text = _kubeconfig(secret)
        token = self._known = token_in(text, self._context)
        if token is None:
            self._cannot_renew()
            return _LONGEST
        self._puzzled = False
        self._ends(token.expires_at)
        left = token.issued_at + token.life * self._share - self._now()
        if left > 0:
            return min(left, _LONGEST)
        if not self._compute.uses(server=server_in(text, self._context), token=token.value):
            self._not_ours()
            return _SYNC
        self._waits = False
        seconds = max(token.life, SHORTEST_LIFE)
        fresh = await request_token(self._compute, token.account, seconds=seconds)
        await self._write(secret, with_token(text, self._context, fresh.value))
        self._known = fresh
        self._ends(fresh.expires_at)
        _LOG.info("token renewed", cluster=self._cluster, until=rfc3339(fresh.expires_at))
        return min(fresh.life * self._share, _LONGEST)

    async def _write(self, secret: JSONObject, kubeconfig: str) -> None:
        """Exactly the Secret that was read: its UID and version are in its metadata."""
        metadata = object_in(secret.get("metadata"))
        # kubectl keeps there what it applied: the first token, for all who may see annotations.
        notes = object_in(metadata.get("annotations"))
        notes = {key: value for key, value in notes.items() if key != _APPLIED}
        data = {**object_in(secret.get("data")), SECRET_KEY: encode_base64(kubeconfig)}
        body = {**secret, "metadata": {**metadata, "annotations": notes}, "data": data}
        await self._tenant.replace(SECRETS, body, name=self._secret, namespace=self._namespace)

    def _cannot_renew(self) -> None:
        if not self._puzzled:
            self._puzzled = True
            _LOG.warning(
                "nothing to renew",
                cluster=self._cluster,
                why=f"key {SECRET_KEY} of Secret {self._namespace}/{self._secret} holds no "
                "ServiceAccount token; remove kubeconfigSecret, or join again",
                mend=self._mend,
            )

    def _not_ours(self) -> None:
        if not self._waits:
            self._waits = True
            _LOG.warning(
                "renewal waits",
                cluster=self._cluster,
                why=f"Secret {self._namespace}/{self._secret} holds another server or token than "
                "the kubeconfig in use: the kubelet brings it within minutes, unless it is not the "
                "Secret that this cluster's kubeconfig is mounted from",
            )

    def _failed(self, error: KubeError) -> None:
        left = self._known.expires_at - self._now() if self._known is not None else None
        log = _LOG.error if left is not None and left <= 0 else _LOG.warning
        log(
            "token not renewed",
            cluster=self._cluster,
            why=str(error),
            seconds_left=None if left is None else round(left),
            mend=self._mend,
        )

    @property
    def _mend(self) -> str:
        return mend(self._cluster)

    def _now(self) -> float:
        """By the clock of the API server that made the token, and judges it."""
        return self._clock.time() + self._compute.clock_offset


def mend(cluster: str) -> str:
    """The commands that make a new credential."""
    return (
        f"vnode join --config FILE --cluster {cluster} --tenant-uid UID "
        "--secret-file SECRET.yaml, in the compute cluster; "
        "then kubectl apply --filename SECRET.yaml, in the tenant"
    )


def _kubeconfig(secret: JSONObject) -> str:
    data = object_in(secret.get("data")).get(SECRET_KEY)
    try:
        return base64.b64decode(data if isinstance(data, str) else "", validate=True).decode()
    except (binascii.Error, UnicodeDecodeError):
        return ""
