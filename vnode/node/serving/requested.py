"""Keeps a virtual node supplied with serving certificates that somebody else approves.

In: a `ServingCertificate` that serves a self-signed pair, the node's name and addresses. Out: one
CertificateSigningRequest at a time in the tenant cluster; what is issued is shown from the next
handshake on, asked for again before it ends, and replaced by a self-signed pair if it ends first.
Serving never waits for any of this, and nothing here may approve.

    ask -> look, look ... -> issued: install, ask again at 70-90 % of its life (as kubelets do)
                          -> Denied, Failed, pruned, unusable: ask again, 1 min to 1 h later

A request is left to be found until the tenant's controller manager prunes it (24 h undecided, 1 h
decided): taking it back would need the right to delete those of others. The key is in memory only,
so after a restart there is a new request, unless many of earlier lives still wait, which is looked
at every minute. API errors are retried for ever, capped. One `run` task at a time; state survives
between two of them, so a lost and regained leadership costs no approval.
"""

import random
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Never

import structlog

from vnode.kube.client import KubeClient
from vnode.kube.errors import AlreadyExists, KubeError, NotFound
from vnode.kube.listing import Selection, list_pages
from vnode.kube.resources import CERTIFICATE_SIGNING_REQUESTS
from vnode.kube.timestamps import rfc3339
from vnode.kube.types import UID, NodeName
from vnode.node.serving.key_pair import CertificateError, KeyPair, renewal_due, self_signed
from vnode.node.serving.request import (
    LABEL_SELECTOR,
    Asked,
    Outcome,
    SigningRequest,
    answer_in,
    check,
    covers,
    is_unanswered,
    new_request,
)
from vnode.node.serving.tls import ServingCertificate
from vnode.runtime.backoff import Backoff
from vnode.runtime.clock import Clock

__all__ = ["RequestedCertificate"]

log = structlog.get_logger(__name__)

FIRST_LOOK, LONGEST_LOOK = 1.0, 10.0
"""Seconds between two looks at a request: so long may an approved certificate be late."""
FIRST_AGAIN, LONGEST_AGAIN = 60.0, 3600.0
"""Seconds until a refused request is made again."""
LONGEST_RETRY = 300.0
"""Seconds between two tries of a call that fails."""
IDLE = 60.0
"""Seconds between two looks at time and addresses while nothing is to be asked for."""
BETWEEN_REQUESTS = 30.0
"""Seconds between two requests at least, however short-lived certificates are."""
MOST_UNANSWERED = 5
"""Undecided requests of one node, made by agents that are gone, from which on none is added."""
_TOO_MANY = (
    f"{MOST_UNANSWERED} requests of earlier starts of the agent wait. Their keys are gone, so to"
    " approve them gives no certificate: deny or delete them, and another is made within a minute"
    f" (kubectl get csr -l {LABEL_SELECTOR})"
)
RENEW_FROM, RENEW_TO = 0.7, 0.9
"""Share of its life here after which a certificate is replaced (client-go, certificate_manager)."""


class RequestedCertificate:
    """Asks for the certificates of one virtual node; see the module."""

    def __init__(
        self,
        client: KubeClient,
        serving: ServingCertificate,
        *,
        node: NodeName,
        addresses: Callable[[], Sequence[str]],
        clock: Clock,
        rng: random.Random,
    ) -> None:
        self._client = client
        self._serving = serving
        self._node = node
        self._addresses = addresses
        self._clock = clock
        self._rng = rng
        self._issued: KeyPair | None = None
        """What is served, if it is not self-signed."""
        self._renew_at = 0.0  # Unix seconds
        self._asked: Asked | None = None
        self._uid: UID | None = None
        """Of the request; None until its create was answered."""
        self._ask_at = 0.0  # monotonic
        self._look = Backoff(FIRST_LOOK, LONGEST_LOOK, rng=rng)
        self._again = Backoff(FIRST_AGAIN, LONGEST_AGAIN, rng=rng)
        self._retry = Backoff(1.0, LONGEST_RETRY, rng=rng)
        self._problem: str | None = None

    async def run(self) -> Never:
        """Ask, look and renew; ends only by cancellation."""
        while True:
            addresses = tuple(self._addresses())
            await self._serve_what_is_valid(addresses)
            try:
                pause = await self._step(addresses)
            except (KubeError, CertificateError) as error:
                self._failed(str(error))
                pause = self._retry.next()
            else:
                self._retry.reset()
            await self._clock.sleep(pause)

    def _now(self) -> float:
        """Unix seconds by the API server's clock, whose signer sets the times in certificates."""
        return self._clock.time() + self._client.clock_offset

    async def _serve_what_is_valid(self, addresses: Sequence[str]) -> None:
        """Fall back to a self-signed pair, which is better than one that nobody can accept."""
        pair = self._serving.pair
        if self._issued is not None:
            if self._now() < pair.lifetime()[1]:
                return
            log.warning("The serving certificate ended before another was issued", node=self._node)
            self._issued = None
        elif self._now() < renewal_due(pair) and covers(pair, addresses):
            return
        fresh = self_signed(node=self._node, addresses=addresses, now=self._now())
        await self._serving.install(fresh)

    async def _step(self, addresses: tuple[str, ...]) -> float:
        """Do the next thing that is due. Returns seconds until the one after it."""
        if self._asked is not None and self._asked.addresses != addresses:
            self._forget()
        if self._asked is not None:
            await self._follow(self._asked)
        elif (wait := self._wait(addresses)) > 0:
            return min(max(wait, FIRST_LOOK), IDLE)
        elif await self._too_many_wait(addresses):
            self._failed(_TOO_MANY)
            return IDLE
        else:
            self._asked = new_request(self._node, addresses)
            await self._follow(self._asked)
        self._problem = None
        return self._look.next() if self._uid is not None else FIRST_LOOK

    def _wait(self, addresses: Sequence[str]) -> float:
        """Seconds until another certificate is to be asked for."""
        until_allowed = self._ask_at - self._clock.monotonic()
        if self._issued is None or not covers(self._issued, addresses):
            return until_allowed
        return max(until_allowed, self._renew_at - self._now())

    async def _too_many_wait(self, addresses: Sequence[str]) -> bool:
        """Whether our earlier lives left so many requests that none is to be added.

        Anybody may make requests with our label and names, so only those of our own user count.
        """
        selection = Selection(CERTIFICATE_SIGNING_REQUESTS, label_selector=LABEL_SELECTOR)
        waiting: Counter[str] = Counter()
        async for page in list_pages(self._client, selection, SigningRequest):
            waiting.update(
                item.spec.username
                for item in page.items or ()
                if is_unanswered(item, node=self._node)
            )
        if all(number < MOST_UNANSWERED for number in waiting.values()):
            return False
        # The server says who we are by what it would write, and this needs no further right.
        ours = await self._client.create(
            CERTIFICATE_SIGNING_REQUESTS,
            new_request(self._node, addresses).body(),
            SigningRequest,
            dry_run=True,
        )
        return waiting[ours.spec.username] >= MOST_UNANSWERED

    async def _follow(self, asked: Asked) -> None:
        if self._uid is None:
            await self._create(asked)
            return
        try:
            found = await self._client.get(
                CERTIFICATE_SIGNING_REQUESTS, SigningRequest, name=asked.name
            )
        except NotFound:
            self._refused(asked, "it was removed")
            return
        if found.metadata.uid != self._uid:
            self._refused(asked, "it was replaced by another")
            return
        answer = answer_in(found)
        if answer.outcome is Outcome.REFUSED:
            self._refused(asked, answer.why)
        elif answer.outcome is Outcome.ISSUED:
            await self._use(asked, answer.certificate)

    async def _create(self, asked: Asked) -> None:
        """Create the request, also when an earlier create had been carried out unheard."""
        try:
            made = await self._client.create(
                CERTIFICATE_SIGNING_REQUESTS, asked.body(), SigningRequest
            )
        except AlreadyExists:
            made = await self._client.get(
                CERTIFICATE_SIGNING_REQUESTS, SigningRequest, name=asked.name
            )
            if not asked.is_same(made):
                self._refused(asked, "somebody else's has its name")
                return
        self._uid = made.metadata.uid
        self._ask_at = self._clock.monotonic() + BETWEEN_REQUESTS
        self._look.reset()
        log.info(
            "A serving certificate was asked for and waits for approval",
            node=self._node,
            approve=f"kubectl certificate approve {asked.name}",
            meanwhile="self-signed" if self._issued is None else "the current one",
        )

    async def _use(self, asked: Asked, certificate: bytes) -> None:
        pair = KeyPair(certificate=certificate, key=asked.key)
        now = self._now()
        try:
            check(pair, addresses=asked.addresses, now=now)
            await self._serving.install(pair)
        except CertificateError as error:
            self._refused(asked, str(error))
            return
        # From now on, not from its begin, which signers put minutes into the past: certificates
        # of minutes would be due at once.
        end = pair.lifetime()[1]
        self._renew_at = now + self._rng.uniform(RENEW_FROM, RENEW_TO) * (end - now)
        self._issued = pair
        self._again.reset()
        self._forget()
        log.info(
            "The serving certificate that was asked for is in use",
            node=self._node,
            request=asked.name,
            until=rfc3339(end),
        )

    def _refused(self, asked: Asked, why: str) -> None:
        pause = self._again.next()
        self._ask_at = self._clock.monotonic() + pause
        self._forget()
        log.warning(
            "A serving certificate was not given; it will be asked for again",
            node=self._node,
            request=asked.name,
            why=why,
            seconds=round(pause),
        )

    def _forget(self) -> None:
        self._asked = self._uid = None

    def _failed(self, problem: str) -> None:
        known = self._problem == problem
        self._problem = problem
        # The same trouble again is not news.
        (log.debug if known else log.warning)(
            "No serving certificate can be asked for", node=self._node, error=problem
        )
