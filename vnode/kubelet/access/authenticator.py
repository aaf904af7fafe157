"""Decides who may use the kubelet API of a virtual node.

In: what a request proves about its sender and the right it needs. Out: the `Caller`, or an error
that says which answer to give. Same order as the kubelet: client certificate (one that
TLS could not verify counts as none), else bearer token by TokenReview, else nobody; then
SubjectAccessReview for everyone, the group system:masters included (the API server decides that
too).
"""

import structlog

from vnode.kubelet.access.reviews import Reviews, ReviewUnavailable
from vnode.kubelet.access.rights import Access, Caller, Credentials, certificate_caller

__all__ = ["AccessDenied", "AuthError", "AuthUnavailable", "Authenticator", "Unauthenticated"]

log = structlog.get_logger(__name__)


class AuthError(Exception):
    """A request is not let in. `code` is the HTTP status, the text is for the client."""

    code = 403


class Unauthenticated(AuthError):
    """No credentials, or unknown ones."""

    code = 401


class AccessDenied(AuthError):
    """A known user without the right."""

    code = 403


class AuthUnavailable(AuthError):
    """The API server cannot be asked; refused, since nothing is allowed on a guess."""

    code = 503


class Authenticator:
    """Authenticates and authorises requests against one tenant cluster.

    One for all virtual nodes of an agent: the node is part of every question.
    """

    def __init__(self, reviews: Reviews | None) -> None:
        """Ask `reviews` about every request.

        None is insecure: everybody may do everything, for test suites that cannot send credentials.
        """
        if reviews is None:
            log.warning("The kubelet API accepts every request without credentials")
        self._reviews = reviews

    @property
    def secure(self) -> bool:
        """Whether requests are judged at all."""
        return self._reviews is not None

    async def admit(self, credentials: Credentials, access: Access) -> Caller:
        """The caller, who has the right.

        Raises:
            Unauthenticated, AccessDenied, AuthUnavailable: as they say.
        """
        if self._reviews is None:
            return Caller(name="system:unsecured")
        try:
            caller = await self._authenticate(credentials, self._reviews)
            if await self._authorise(caller, access, self._reviews):
                return caller
        except ReviewUnavailable as error:
            raise AuthUnavailable(f"The request cannot be authorised now: {error}") from error
        raise AccessDenied(
            f"Forbidden (user={caller.name}, verb={access.verb}, resource=nodes, "
            f"subresource(s)=[{' '.join(access.subresources)}])"
        )

    @staticmethod
    async def _authenticate(credentials: Credentials, reviews: Reviews) -> Caller:
        caller = certificate_caller(credentials.certificate)
        if caller is None and credentials.token:
            caller = await reviews.caller_of(credentials.token)
        if caller is None:
            raise Unauthenticated("Unauthorized")
        return caller

    @staticmethod
    async def _authorise(caller: Caller, access: Access, reviews: Reviews) -> bool:
        for subresource in access.subresources:
            if await reviews.allowed(
                caller, node=access.node, verb=access.verb, subresource=subresource
            ):
                return True
        return False
