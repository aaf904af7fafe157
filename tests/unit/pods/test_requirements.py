"""A pod that needs what the backend cannot do is refused with the field."""

import dataclasses

import msgspec
import pytest

from vnode.backend import Capabilities, TokenKey
from vnode.pods.objects.references import references, token_requests
from vnode.pods.requirements import unmet

EVERYTHING = Capabilities(
    token_refresh=True,
    secret_objects=True,
    cluster_dns=True,
    upgrade_streams=True,
    session_streams=True,
    start_gates=True,
)

TOKEN = {"projected": {"sources": [{"serviceAccountToken": {"path": "token"}}]}}
SECRET_ENV = {"name": "A", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}
NEEDS: dict[str, dict[str, object]] = {
    "secret_objects": {"containers": [{"name": "c", "env": [SECRET_ENV]}]},
    "token_refresh": {"containers": [], "volumes": [{"name": "t", **TOKEN}]},
    "cluster_dns": {"containers": [], "subdomain": "job"},
}


def _refusal(spec: dict[str, object], capabilities: Capabilities) -> str:
    raw = msgspec.Raw(msgspec.json.encode(spec))
    tokens: frozenset[TokenKey] = token_requests(raw)
    found = unmet(raw, uses=references(raw), tokens=tokens, capabilities=capabilities)
    return found.field if found else ""


@pytest.mark.parametrize("capability", NEEDS)
def test_a_pod_is_refused_without_the_capability_and_taken_with_it(capability: str) -> None:
    without = dataclasses.replace(EVERYTHING, **{capability: False})
    assert _refusal(NEEDS[capability], without)
    assert not _refusal(NEEDS[capability], EVERYTHING)


@pytest.mark.parametrize("capability", NEEDS)
def test_pods_that_do_not_need_it_are_taken(capability: str) -> None:
    without = dataclasses.replace(EVERYTHING, **{capability: False})
    others = [spec for name, spec in NEEDS.items() if name != capability]
    assert not any(_refusal(spec, without) for spec in others)


@pytest.mark.parametrize(
    ("capability", "allowed"),
    [
        (
            "secret_objects",
            dataclasses.replace(EVERYTHING, secret_objects=False, inline_secrets=True),
        ),
        ("token_refresh", dataclasses.replace(EVERYTHING, token_refresh=False, start_tokens=3600)),
    ],
)
def test_a_weaker_form_that_the_configuration_allows_is_enough(
    capability: str, allowed: Capabilities
) -> None:
    assert not _refusal(NEEDS[capability], allowed)
