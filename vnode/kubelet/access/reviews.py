"""Asks the tenant API server who a token belongs to and what a user may do.

In: tokens, and users with the right they need. Out: `Caller` or None, and yes or no, remembered
for a while (`ReviewLifetimes`). Owned by the `Authenticator`. When the API server gives no usable
answer `ReviewUnavailable` is raised: nobody is let in on a guess.

Everybody may send tokens, and junk ones are new every time. So TokenReviews have turns of their own
with a short queue, and unknown tokens a small memory of their own: strangers keep nobody out who is
known by certificate or whose token is remembered.

Sources: authentication.k8s.io/v1 TokenReview, authorization.k8s.io/v1 SubjectAccessReview; life
times are the kubelet's defaults.
"""

import asyncio
import hashlib
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import NamedTuple, Protocol, TypeVar

import msgspec
import structlog

from vnode.kube.errors import KubeError
from vnode.kube.resources import SUBJECT_ACCESS_REVIEWS, TOKEN_REVIEWS, Resource
from vnode.kube.types import NodeName
from vnode.kubelet.access.review_cache import ReviewCache
from vnode.kubelet.access.rights import Caller
from vnode.runtime.clock import Clock

__all__ = ["ReviewClient", "ReviewLifetimes", "ReviewUnavailable", "Reviews"]

T = TypeVar("T")

_UNKNOWN_TOKENS = 256
"""So many are remembered: enough for clients that repeat themselves."""

log = structlog.get_logger(__name__)


class ReviewClient(Protocol):
    """The part of `vnode.kube.client.KubeClient` that reviews need."""

    async def create(self, resource: Resource, body: object, kind: type[T], /) -> T:
        """POST `body` and decode the answer. Raises KubeError."""
        ...


class ReviewUnavailable(Exception):
    """The tenant API server did not answer a review, so the request must be refused."""


@dataclass(frozen=True, slots=True)
class ReviewLifetimes:
    """Seconds for which answers are believed."""

    authenticated: float = 120.0
    unknown_token: float = 10.0
    allowed: float = 300.0
    denied: float = 30.0


class _Question(NamedTuple):
    caller: Caller
    node: NodeName
    verb: str
    subresource: str


class _UserInfo(msgspec.Struct, frozen=True):
    username: str = ""
    uid: str = ""
    groups: list[str] | None = None
    extra: dict[str, list[str]] | None = None


class _TokenReviewStatus(msgspec.Struct, frozen=True):
    authenticated: bool = False
    user: _UserInfo = _UserInfo()


class _TokenReview(msgspec.Struct, frozen=True):
    status: _TokenReviewStatus = _TokenReviewStatus()


class _AccessReviewStatus(msgspec.Struct, frozen=True):
    allowed: bool = False


class _SubjectAccessReview(msgspec.Struct, frozen=True):
    status: _AccessReviewStatus = _AccessReviewStatus()


class Reviews:
    """Cached TokenReviews and SubjectAccessReviews against one tenant cluster."""

    def __init__(
        self,
        client: ReviewClient,
        *,
        clock: Clock,
        lifetimes: ReviewLifetimes = ReviewLifetimes(),
        size: int = 4096,
        parallel: int = 32,
        parallel_tokens: int = 8,
        waiting_tokens: int = 32,
        timeout: float = 10.0,
    ) -> None:
        """Hold up to `size` answers of each kind; ask about `parallel` rights at once.

        `parallel_tokens` tokens are asked about at once, `waiting_tokens` more wait, and others get
        no answer. `timeout` is in seconds and covers waiting for one's turn as well.
        """
        self._client = client
        self._timeout = timeout
        self._right_turns = asyncio.Semaphore(parallel)
        self._token_turns = asyncio.Semaphore(parallel_tokens)
        self._token_places = parallel_tokens + waiting_tokens
        # What has no life is not kept, so each of the two holds one kind only.
        self._tokens: ReviewCache[bytes, Caller | None] = ReviewCache(
            life=lambda caller: 0.0 if caller is None else lifetimes.authenticated,
            size=size,
            clock=clock,
        )
        self._unknown: ReviewCache[bytes, Caller | None] = ReviewCache(
            life=lambda caller: lifetimes.unknown_token if caller is None else 0.0,
            size=_UNKNOWN_TOKENS,
            clock=clock,
        )
        self._rights: ReviewCache[_Question, bool] = ReviewCache(
            life=lambda allowed: lifetimes.allowed if allowed else lifetimes.denied,
            size=size,
            clock=clock,
        )

    async def caller_of(self, token: str) -> Caller | None:
        """The user of a bearer token; None if the API server does not know it.

        Raises:
            ReviewUnavailable: no answer, or too many tokens wait for one.
        """
        digest = hashlib.sha256(token.encode()).digest()
        return await self._tokens.get(
            digest, lambda: self._unknown.get(digest, lambda: self._ask_token(token))
        )

    async def allowed(self, caller: Caller, *, node: NodeName, verb: str, subresource: str) -> bool:
        """Whether `caller` may `verb` on `nodes/<subresource>` of that node.

        Raises:
            ReviewUnavailable: no answer.
        """
        question = _Question(caller, node, verb, subresource)
        return await self._rights.get(question, lambda: self._ask_right(question))

    async def _ask_token(self, token: str) -> Caller | None:
        body = {
            "apiVersion": TOKEN_REVIEWS.api_version,
            "kind": TOKEN_REVIEWS.kind,
            "spec": {"token": token},
        }
        review = await self._create(TOKEN_REVIEWS, body, _TokenReview, turn=self._token_turn())
        user = review.status.user
        if not review.status.authenticated or not user.username:
            return None
        return Caller(
            name=user.username,
            uid=user.uid,
            groups=tuple(user.groups or ()),
            extra=tuple(sorted((key, tuple(values)) for key, values in (user.extra or {}).items())),
        )

    async def _ask_right(self, question: _Question) -> bool:
        caller = question.caller
        body = {
            "apiVersion": SUBJECT_ACCESS_REVIEWS.api_version,
            "kind": SUBJECT_ACCESS_REVIEWS.kind,
            "spec": {
                "user": caller.name,
                "uid": caller.uid,
                "groups": caller.groups,
                "extra": dict(caller.extra),
                "resourceAttributes": {
                    "verb": question.verb,
                    "version": "v1",
                    "resource": "nodes",
                    "subresource": question.subresource,
                    "name": question.node,
                },
            },
        }
        review = await self._create(
            SUBJECT_ACCESS_REVIEWS, body, _SubjectAccessReview, turn=self._right_turns
        )
        return review.status.allowed

    @asynccontextmanager
    async def _token_turn(self) -> AsyncIterator[None]:
        """Wait in the queue, unless it is full."""
        if not self._token_places:
            raise ReviewUnavailable("TokenReview: too many tokens wait for an answer")
        self._token_places -= 1
        try:
            async with self._token_turns:
                yield
        finally:
            self._token_places += 1

    async def _create(
        self,
        resource: Resource,
        body: object,
        kind: type[T],
        *,
        turn: AbstractAsyncContextManager[None],
    ) -> T:
        try:
            async with asyncio.timeout(self._timeout), turn:
                return await self._client.create(resource, body, kind)
        except (KubeError, TimeoutError) as error:
            log.warning(
                "A kubelet API request cannot be reviewed", kind=resource.kind, error=str(error)
            )
            raise ReviewUnavailable(
                f"{resource.kind}: the API server gave no usable answer"
            ) from error
