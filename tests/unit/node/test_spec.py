"""Identity of a virtual node."""

import pytest

from tests.unit.node.builders import make_virtual_node
from vnode.node.objects import Taint
from vnode.node.spec import kubelet_version


@pytest.mark.parametrize(
    ("server", "shown"),
    [
        ("v1.36.3", "v1.36.3+vnode"),
        ("v1.33.1+k3s1", "v1.33.1+k3s1.vnode"),
        ("v1.32.4-gke.100", "v1.32.4-gke.100+vnode"),
    ],
)
def test_the_shown_version_sorts_equal_to_the_servers(server: str, shown: str) -> None:
    assert kubelet_version(server) == shown


def test_the_provider_id_names_tenant_cluster_and_pool() -> None:
    assert make_virtual_node().provider_id == "vnode://team-a/gpu/a100"


def test_the_default_taint_names_the_cluster_and_can_be_replaced() -> None:
    (default,) = make_virtual_node().initial_taints
    assert default == Taint(key="vnode.dev/provider", value="gpu", effect="NoSchedule")
    assert make_virtual_node(taints=()).initial_taints == ()


@pytest.mark.parametrize("name", ["", "Upper", "-a", "a" * 64, "a/b"])
def test_a_name_that_no_node_can_have_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="node name"):
        make_virtual_node(name=name)


@pytest.mark.parametrize("value", ["", "a b", "x" * 64, "-x"])
def test_a_cluster_or_pool_name_that_is_no_label_value_is_refused(value: str) -> None:
    with pytest.raises(ValueError, match="cluster name"):
        make_virtual_node(cluster=value)
    with pytest.raises(ValueError, match="pool name"):
        make_virtual_node(pool=value)
