"""Decoding, and not keeping more than what was asked for."""

import sys

import msgspec
import pytest

from vnode.kube.decode import Page, decode, detached
from vnode.kube.errors import ServerError
from vnode.kube.types import ConfigMap, ObjectKey, Pod, encode


def test_fields_that_are_not_named_stay_in_the_raw_parts() -> None:
    pod = decode(b'{"metadata":{"name":"a"},"spec":{"newField":1},"kind":"Pod"}', Pod)
    assert pod.metadata.name == "a"
    assert bytes(pod.spec) == b'{"newField":1}'


def test_null_items_are_an_empty_page() -> None:
    page = decode(b'{"metadata":{"resourceVersion":"5"},"items":null}', Page[ConfigMap])
    assert (page.items, page.metadata.resource_version) == (None, "5")


@pytest.mark.parametrize("data", [b"<html>hunter2</html>", b"", b'{"spec":{}}', b"\xff"])
def test_what_is_no_such_object_is_a_server_error_that_quotes_nothing(data: bytes) -> None:
    with pytest.raises(ServerError, match="not a Kubernetes ConfigMap") as caught:
        decode(data, ConfigMap)
    assert "hunter2" not in str(caught.value)
    assert caught.value.code == 200


def test_values_of_secrets_do_not_reach_the_error() -> None:
    with pytest.raises(ServerError) as caught:
        decode(b'{"metadata":{"name":"a"},"data":{"password":"hunter2","n":1}}', ConfigMap)
    assert "hunter2" not in str(caught.value)


def test_a_detached_object_does_not_keep_the_answer_in_memory() -> None:
    data = encode({"metadata": {"name": "a", "namespace": "ns"}, "spec": {"x": "y" * 10_000}})
    before = sys.getrefcount(data)
    attached = decode(data, Pod)
    assert sys.getrefcount(data) > before
    kept = detached(attached)
    del attached
    assert sys.getrefcount(data) == before
    assert kept.metadata.key == ObjectKey("ns", "a")
    assert len(bytes(kept.spec)) > 10_000


def test_objects_without_raw_parts_are_their_own_detached_form() -> None:
    config_map = decode(b'{"metadata":{"name":"a"}}', ConfigMap)
    assert detached(config_map) is config_map
    raw = msgspec.Raw(b"{}")
    assert bytes(detached(raw)) == b"{}"
    assert detached("text") == "text"
