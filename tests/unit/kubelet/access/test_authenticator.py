import pytest

from tests.certificates import make_client_certificate
from tests.unit.kubelet.fakes import NODE, ManualClock, ScriptedReviews
from vnode.kube.errors import Unreachable
from vnode.kubelet.access.authenticator import (
    AccessDenied,
    Authenticator,
    AuthUnavailable,
    Unauthenticated,
)
from vnode.kubelet.access.reviews import Reviews
from vnode.kubelet.access.rights import Access, Credentials

PODS = Access(node=NODE, verb="get", subresources=("pods", "proxy"))
ADMIN = make_client_certificate(("O", "system:masters"), ("CN", "root"))


def make_authenticator(client: ScriptedReviews) -> Authenticator:
    return Authenticator(Reviews(client, clock=ManualClock()))


async def test_nobody_is_not_let_in() -> None:
    client = ScriptedReviews()
    with pytest.raises(Unauthenticated):
        await make_authenticator(client).admit(Credentials(), PODS)
    assert client.bodies == []


@pytest.mark.parametrize("subresource", ["pods", "proxy"])
async def test_one_of_the_rights_is_enough(subresource: str) -> None:
    client = ScriptedReviews(tokens={"t": "reader"}, rights={("reader", "get", subresource)})
    caller = await make_authenticator(client).admit(Credentials(token="t"), PODS)
    assert caller.name == "reader"


async def test_the_finer_right_is_asked_for_first_and_then_enough() -> None:
    client = ScriptedReviews(tokens={"t": "reader"}, rights={("reader", "get", "pods")})
    await make_authenticator(client).admit(Credentials(token="t"), PODS)
    assert client.count("SubjectAccessReview") == 1


async def test_a_denial_names_what_was_missing() -> None:
    client = ScriptedReviews(tokens={"t": "reader"})
    with pytest.raises(AccessDenied) as caught:
        await make_authenticator(client).admit(Credentials(token="t"), PODS)
    assert str(caught.value) == (
        "Forbidden (user=reader, verb=get, resource=nodes, subresource(s)=[pods proxy])"
    )


async def test_a_certificate_comes_before_a_token() -> None:
    client = ScriptedReviews(tokens={"t": "reader"}, rights={("root", "get", "pods")})
    credentials = Credentials(certificate=ADMIN, token="t")
    assert (await make_authenticator(client).admit(credentials, PODS)).name == "root"
    assert client.count("TokenReview") == 0


async def test_administrators_by_certificate_are_reviewed_like_everybody() -> None:
    client = ScriptedReviews()
    with pytest.raises(AccessDenied):
        await make_authenticator(client).admit(Credentials(certificate=ADMIN), PODS)
    assert client.count("SubjectAccessReview") == 2


async def test_nothing_is_allowed_on_a_guess() -> None:
    client = ScriptedReviews(error=Unreachable("connect"))
    for credentials in (Credentials(certificate=ADMIN), Credentials(token="t")):
        with pytest.raises(AuthUnavailable):
            await make_authenticator(client).admit(credentials, PODS)


async def test_without_reviews_everybody_may_do_everything() -> None:
    caller = await Authenticator(None).admit(Credentials(), PODS)
    assert caller.name == "system:unsecured"
