"""Refusals in the middle of a write, and objects that are no longer ours (see `test_objects`)."""

import pytest

from federation.backends.kubernetes.translate.names import ANNOTATION_CLUSTER_UID
from tests.builders import make_config_map, make_error, make_metadata
from tests.unit.federation.test_objects import BELOW, NAMES, Written
from vnode.backend import NameConflict, Waiting
from vnode.kube.errors import KubeError, Unreachable
from vnode.kube.types import ObjectKey

KEY = ObjectKey(BELOW, "settings")


async def test_another_error_of_a_replacement_deletes_nothing() -> None:
    written = Written()
    await written.put(make_config_map())
    too_long = make_error(422, "data: Too long", reason="Invalid", fields=["data"])
    written.client.fail(too_long, "replace configmaps")
    with pytest.raises(Waiting):
        await written.put(make_config_map(version=2))
    assert written.client.names() == ["create configmaps", "replace configmaps"]


async def test_an_object_that_lost_our_marks_is_let_go() -> None:
    written = Written()
    await written.put(make_config_map())
    marks = written.body["metadata"]
    marks["annotations"][ANNOTATION_CLUSTER_UID] = "another"
    before = written.client.put(written.resource, written.body)
    written.store.upsert(
        make_metadata(
            namespace=BELOW,
            uid=marks["uid"],
            version=int(before["metadata"]["resourceVersion"]),
            labels=marks["labels"],
            annotations=marks["annotations"],
        )
    )
    with pytest.raises(NameConflict):
        await written.put(make_config_map(version=2, mode="slow"))
    await written.writer.delete(KEY, names=NAMES)
    assert written.body == before


@pytest.mark.parametrize("gone_already", [False, True])
async def test_what_was_deleted_is_made_again_before_the_watch_says_so(gone_already: bool) -> None:
    written = Written()
    await written.put(make_config_map())
    if gone_already:
        written.client.drop(written.resource, KEY)
    await written.writer.delete(KEY, names=NAMES)
    assert written.store.get(KEY) is None
    await written.put(make_config_map())
    assert written.client.names()[-1] == "create configmaps"
    assert written.store.get(KEY) is not None


@pytest.mark.parametrize("verb", ["replace", "delete"])
@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (make_error(403, f"no right in namespace {BELOW}"), "ComputeForbidden"),
        (make_error(429, "busy", retry_after=9), "ComputeBusy"),
        (make_error(500, "etcd"), "ComputeError"),
        (Unreachable("cut"), "ComputeUnreachable"),
    ],
    ids=["403", "429", "500", "unreachable"],
)
async def test_refused_changes_are_reasons_to_wait(
    verb: str, error: KubeError, reason: str
) -> None:
    written = Written()
    await written.put(make_config_map())
    before = written.body
    written.client.fail(error, f"{verb} configmaps")
    with pytest.raises(Waiting) as caught:
        await (
            written.writer.delete(KEY, names=NAMES)
            if verb == "delete"
            else written.put(make_config_map(version=2))
        )
    assert caught.value.reason == reason
    assert caught.value.retry_after == (9 if reason == "ComputeBusy" else None)
    assert BELOW not in str(caught.value)
    assert written.body == before
