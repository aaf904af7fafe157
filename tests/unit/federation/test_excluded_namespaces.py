"""A tenant namespace that the configuration forwarded once, and does no more."""

import asyncio
from collections.abc import Mapping
from typing import Any

import pytest

from tests.builders import UID_2, make_error, make_key, make_pod, make_secret
from tests.unit.federation.both_sides import BELOW, COPY, LONG, Sides
from vnode.kube.resources import PODS, SECRETS
from vnode.kube.types import ObjectKey
from vnode.pods.view import FORWARDED

pytestmark = pytest.mark.looptime

MINUTES = 600.0
"""After which an agent has found what is left of ours below."""


async def exclude(sides: Sides) -> None:
    """Start the agent again, with another configuration."""
    await sides.stop()
    sides.excluded.add("team-a")
    sides.start()
    await asyncio.sleep(20)


async def die_before_it_is_marked(sides: Sides) -> None:
    """The first agent makes a copy and is killed before the tenant pod's status says so."""
    sides.tenant.put(PODS, make_pod())
    sides.start()
    sides.backend.namespaces.add("team-a")
    for _ in range(200):
        if sides.copy() is None:
            await asyncio.sleep(0.1)
    await sides.stop()
    assert FORWARDED not in str(sides.pod().get("status"))


def using(secret: str) -> list[Mapping[str, object]]:
    source = {"secretRef": {"name": secret}}
    return [{"name": "main", "image": "i", "envFrom": [source]}]


def copied_login(sides: Sides) -> Any:
    body = sides.compute.get_body(SECRETS, ObjectKey(BELOW, "login"))
    return body["data"] if body is not None else None


async def test_a_deleted_pod_stays_while_a_copy_runs_that_no_mark_tells_of(sides: Sides) -> None:
    await die_before_it_is_marked(sides)
    await exclude(sides)
    sides.tenant.delete_gracefully(PODS, make_key(), 30)
    await asyncio.sleep(100)
    assert sides.copy()["metadata"].get("deletionTimestamp") is None
    assert sides.pod() is not None
    await asyncio.sleep(LONG)
    assert sides.copy()["metadata"]["deletionTimestamp"]
    sides.compute.drop(PODS, COPY)
    await asyncio.sleep(100)
    assert sides.pod() is None


async def test_a_deleted_pod_stays_while_nobody_may_look_for_its_copy(sides: Sides) -> None:
    sides.tenant.put(PODS, make_pod())
    await exclude(sides)
    sides.compute.fail(make_error(403, "no"), "get pods")
    sides.tenant.delete_gracefully(PODS, make_key(), 30)
    await asyncio.sleep(0.5)
    assert sides.pod() is not None
    await asyncio.sleep(60)
    assert sides.pod() is None


async def test_a_pod_that_was_never_brought_there_goes_at_once(sides: Sides) -> None:
    sides.tenant.put(PODS, make_pod())
    await exclude(sides)
    sides.tenant.delete_gracefully(PODS, make_key(), 30)
    await asyncio.sleep(2)
    assert sides.pod() is None


async def test_nothing_of_new_pods_travels_there(sides: Sides) -> None:
    await sides.run_a_pod()
    await exclude(sides)
    await asyncio.sleep(MINUTES)
    sides.tenant.put(SECRETS, make_secret())
    sides.tenant.put(PODS, make_pod("next", uid=UID_2, containers=using("login")))
    await asyncio.sleep(LONG)
    assert sides.compute.get_body(PODS, ObjectKey(BELOW, "next")) is None
    assert "login" not in sides.copied_objects()
    waiting = sides.tenant.get_body(PODS, make_key("next"))
    assert waiting is not None
    assert "is not forwarded to compute clusters" in waiting["status"]["message"]
    sides.tenant.delete_gracefully(PODS, make_key("next"), 30)
    await asyncio.sleep(2)
    assert sides.tenant.get_body(PODS, make_key("next")) is None


async def test_what_runs_there_is_seen_through_and_its_secrets_kept_up_to_date(
    sides: Sides,
) -> None:
    sides.tenant.put(SECRETS, make_secret(password="old"))
    await sides.run_a_pod(containers=using("login"))
    before = copied_login(sides)
    assert before
    sides.tenant.put(SECRETS, make_secret(password="new"))
    await exclude(sides)
    await asyncio.sleep(MINUTES)
    assert sides.pod()["status"]["phase"] == "Running"
    assert copied_login(sides) not in (None, before)
    sides.tenant.delete_gracefully(PODS, make_key(), 30)
    await asyncio.sleep(10)
    sides.compute.drop(PODS, COPY)
    await asyncio.sleep(100)
    assert sides.pod() is None
    assert "login" not in sides.copied_objects()
