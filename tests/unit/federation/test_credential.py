"""Tokens and kubeconfigs: whose they are, until when, and another token in the same place."""

import yaml

from federation.credential import (
    Account,
    account_of,
    kubeconfig,
    read_token,
    request_token,
    token_in,
    with_token,
)
from tests.fakes.client import RecordingClient
from tests.unit.federation.tokens import make_token


def test_a_token_says_whose_it_is_and_until_when() -> None:
    token = read_token(make_token(issued=100.0, life=600.0))
    assert token is not None
    assert token.account == account_of("red")
    assert (token.issued_at, token.expires_at, token.life) == (100.0, 700.0, 600.0)


def test_what_is_no_token_of_an_account_is_none() -> None:
    assert read_token("opaque") is None
    assert read_token("a.!!!.c") is None
    assert read_token(make_token(subject="system:admin")) is None
    assert read_token(make_token(life=0.0)) is None


def test_a_token_is_in_no_repr() -> None:
    value = make_token()
    assert value not in repr(read_token(value))


def test_a_kubeconfig_is_read_back_and_takes_another_token() -> None:
    text = kubeconfig("gpu-a", server="https://h", ca=b"PEM", token=make_token(life=600.0))
    fresh = make_token(life=900.0)
    changed = with_token(text, None, fresh)
    before, after = token_in(text, None), token_in(changed, None)
    assert before is not None
    assert after is not None
    assert (before.life, after.life) == (600.0, 900.0)
    assert yaml.safe_load(changed)["clusters"] == yaml.safe_load(text)["clusters"]


def test_the_context_says_which_user_it_is() -> None:
    document = {
        "current-context": "a",
        "contexts": [
            {"name": "a", "context": {"user": "one"}},
            {"name": "b", "context": {"user": "two"}},
        ],
        "users": [
            {"name": "one", "user": {"token": make_token(life=1.0)}},
            {"name": "two", "user": {"token": make_token(life=2.0)}},
        ],
    }
    text = yaml.safe_dump(document)
    found = [token_in(text, context) for context in (None, "b", "c")]
    assert [each and each.life for each in found] == [1.0, 2.0, None]


def test_a_kubeconfig_without_token_has_none() -> None:
    assert token_in("", None) is None
    assert token_in("[", None) is None
    assert token_in("users: 1", None) is None


async def test_a_token_of_an_unknown_form_has_the_time_that_the_server_tells() -> None:
    client = RecordingClient(unix_time=lambda: 1000.0)
    token = await request_token(client.client, Account("ns", "name"), seconds=600)
    assert (token.expires_at, token.life) == (1600.0, 600.0)
    (call,) = client.calls
    assert (call.name, str(call.key)) == ("create serviceaccounts/token", "ns/name")
