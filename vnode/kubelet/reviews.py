"""Asks the tenant API server who a token belongs to and what a user may do.

In: tokens, and users with the right they need. Out: `Caller` or None, and yes or no, remembered
for a while (`ReviewLifetimes`). Owned by the `Authenticator`. When the API server gives no usable
answer `ReviewUnavailable` is raised: nobody is let in on a guess.

Sources: authentication.k8s.io/v1 TokenReview, authorization.k8s.io/v1 SubjectAccessReview; life
times are the kubelet's defaults.
"""

import asyncio
import hashlib
from dataclasses import dataclass
from typing import NamedTuple, Protocol, TypeVar

import msgspec
import structlog

from vnode.kube.errors import KubeError
from vnode.kube.resources import SUBJECT_ACCESS_REVIEWS, TOKEN_REVIEWS, Resource
from vnode.kube.types import NodeName
from vnode.kubelet.access import Caller
from vnode.kubelet.review_cache import ReviewCache
from vnode.runtime.clock import Clock

__all__ = ["ReviewClient", "ReviewLifetimes", "ReviewUnavailable", "Reviews"]

T = TypeVar("T")

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
        timeout: float = 10.0,
    ) -> None:
        """Hold up to `size` answers of each kind; ask `parallel` questions at once.

        `timeout` is in seconds and covers waiting for one's turn as well.
        """
        self._client = client
        self._timeout = timeout
        self._turns = asyncio.Semaphore(parallel)
        self._tokens: ReviewCache[bytes, Caller | None] = ReviewCache(
            life=lambda caller: (
                lifetimes.unknown_token if caller is None else lifetimes.authenticated
            ),
            size=size,
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
            ReviewUnavailable: no answer.
        """
        digest = hashlib.sha256(token.encode()).digest()
        return await self._tokens.get(digest, lambda: self._ask_token(token))

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
        review = await self._create(TOKEN_REVIEWS, body, _TokenReview)
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
        review = await self._create(SUBJECT_ACCESS_REVIEWS, body, _SubjectAccessReview)
        return review.status.allowed

    async def _create(self, resource: Resource, body: object, kind: type[T]) -> T:
        try:
            async with asyncio.timeout(self._timeout), self._turns:
                return await self._client.create(resource, body, kind)
        except (KubeError, TimeoutError) as error:
            log.warning(
                "A kubelet API request cannot be reviewed", kind=resource.kind, error=str(error)
            )
            raise ReviewUnavailable(
                f"{resource.kind}: the API server gave no usable answer"
            ) from error
