"""URLs of objects, and names that must not become a part of one."""

import pytest

from vnode.kube.errors import NotFound
from vnode.kube.resources import LEASES, NODES, PODS, SECRETS


def test_paths_have_group_namespace_name_and_subresource() -> None:
    assert PODS.path(namespace="a") == "/api/v1/namespaces/a/pods"
    assert NODES.path(name="n", namespace="a") == "/api/v1/nodes/n"
    assert PODS.path(namespace="a", name="p", subresource="log") == (
        "/api/v1/namespaces/a/pods/p/log"
    )
    assert LEASES.path(namespace="a", name="b") == (
        "/apis/coordination.k8s.io/v1/namespaces/a/leases/b"
    )


def test_what_a_url_would_take_for_itself_is_quoted() -> None:
    assert SECRETS.path(namespace="a", name="b?c#d e") == (
        "/api/v1/namespaces/a/secrets/b%3Fc%23d%20e"
    )


@pytest.mark.parametrize(
    "name", ["", ".", "..", "../../b/secrets/theirs", "a/status", "..%2f..%2fb", "/"]
)
def test_a_name_that_leads_elsewhere_is_of_no_object(name: str) -> None:
    with pytest.raises(NotFound, match="not found"):
        SECRETS.path(namespace="a", name=name)


def test_a_name_that_is_longer_than_any_object_s_is_of_none_and_not_repeated_in_full() -> None:
    assert SECRETS.path(namespace="a", name="n" * 253)
    with pytest.raises(NotFound) as missing:
        SECRETS.path(namespace="a", name="n" * 1_000_000)
    assert len(str(missing.value)) < 400
