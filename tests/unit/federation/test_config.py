"""The configuration file: what it means."""

import contextlib
import ipaddress
import json
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter

from federation.backends.kubernetes.translate.names import NamespaceMode
from federation.config import (
    AgentConfig,
    CapacityConfig,
    CapacitySourceKind,
    LeaderElectionConfig,
    NetworkMode,
    Taint,
    TaintEffect,
    config_schema,
    load_config,
)
from federation.config.values import Quantity, Section, format_duration
from tests.unit.federation.config_files import written
from vnode.pods.status.addresses import AddressPool

ROOT = Path(__file__).parents[3]
QUANTITY_PATTERN = TypeAdapter(Quantity).json_schema()["pattern"]
MINIMAL = """
tenant:
  name: demo
clusters:
- name: gpu-a
  kubeconfig: gpu-a/kubeconfig
"""


def pool_config(*pools: dict[str, object], cluster: str = "gpu-a") -> AgentConfig:
    return AgentConfig.model_validate(
        {
            "tenant": {"name": "demo"},
            "clusters": [{"name": cluster, "kubeconfig": "k", "pools": list(pools)}],
        }
    )


class TestMeaning:
    def test_clusters_that_share_claims_are_known_in_the_order_of_the_file(
        self, tmp_path: Path
    ) -> None:
        text = MINIMAL + "".join(
            f"- name: {name}\n  kubeconfig: {name}\n  policy: {{pvc: {mode}}}\n"
            for name, mode in (("b", "shared"), ("c", "none"), ("a", "shared"))
        )
        config = load_config(written(tmp_path, text))

        assert [cluster.name for cluster in config.clusters_with_claims] == ["b", "a"]

    def test_a_pool_may_bring_claims_through_fluid_and_another_not(self) -> None:
        policy = {"pvc": "shared", "fluid": {"profiles": ["a"]}}
        pools = [{"name": "home"}, {"name": "eci", "pvc": "fluid"}, {"name": "x", "pvc": "none"}]
        entry = {"name": "gpu", "kubeconfig": "k", "policy": policy, "pools": pools}
        config = AgentConfig.model_validate({"tenant": {"name": "demo"}, "clusters": [entry]})

        (cluster,) = config.clusters_with_claims
        assert [str(cluster.pvc_of(pool)) for pool in cluster.pools] == ["shared", "fluid", "none"]
        assert cluster.has_privileged_sidecars

    def test_a_minimal_file_gives_one_virtual_node_with_defaults(self, tmp_path: Path) -> None:
        config = load_config(written(tmp_path, MINIMAL))

        (node,) = config.virtual_nodes
        assert (node.name, node.port) == ("vnode-gpu-a", 10250)
        assert node.taints == (
            Taint(key="vnode.dev/provider", value="gpu-a", effect=TaintEffect.NO_SCHEDULE),
        )
        (cluster,) = config.kubernetes_clusters
        assert cluster.pool_of(node.name).capacity.sources == (CapacitySourceKind.QUOTA,)
        assert cluster.namespaces.mode is NamespaceMode.PREFIX
        assert node.cluster.network is NetworkMode.ISOLATED
        assert config.pod_addresses == ipaddress.ip_network("198.18.0.0/15")
        assert config.leader_election.lease_duration == 15.0

    def test_relative_paths_start_at_the_folder_of_the_file(self, tmp_path: Path) -> None:
        (cluster,) = load_config(written(tmp_path, MINIMAL)).kubernetes_clusters

        assert cluster.kubeconfig == tmp_path / "gpu-a/kubeconfig"

    def test_absolute_paths_stay(self, tmp_path: Path) -> None:
        text = MINIMAL.replace("gpu-a/kubeconfig", "/etc/vnode/gpu-a/kubeconfig")

        (cluster,) = load_config(written(tmp_path, text)).kubernetes_clusters

        assert cluster.kubeconfig == Path("/etc/vnode/gpu-a/kubeconfig")

    def test_node_names_follow_from_cluster_and_pool(self) -> None:
        config = pool_config({}, {"name": "a100"}, {"name": "v100", "nodeName": "old-gpus"})

        assert [node.name for node in config.virtual_nodes] == [
            "vnode-gpu-a",
            "vnode-gpu-a-a100",
            "old-gpus",
        ]

    def test_ports_count_up_over_all_clusters_unless_fixed(self) -> None:
        cluster = {"kubeconfig": "k", "pools": [{}, {"name": "a100"}]}
        config = AgentConfig.model_validate(
            {
                "tenant": {"name": "demo"},
                "kubelet": {"basePort": 20000},
                "clusters": [
                    {"name": "gpu-a", "kubeconfig": "k", "pools": [{"port": 30000}]},
                    {"name": "gpu-b", **cluster},
                ],
            }
        )

        assert [node.port for node in config.virtual_nodes] == [30000, 20001, 20002]

    def test_an_empty_list_of_taints_means_no_taint(self) -> None:
        (node,) = pool_config({"taints": []}).virtual_nodes

        assert node.taints == ()

    def test_features_are_the_pool_s_unless_they_are_listed(self) -> None:
        (unset,) = pool_config({}).virtual_nodes
        (listed,) = pool_config({"declaredFeatures": ["B", "A/b"]}).virtual_nodes

        assert unset.pool.declared_features is None
        assert listed.pool.declared_features == ("B", "A/b")

    def test_numbers_are_quantities_too(self) -> None:
        (cluster,) = pool_config(
            {"capacity": {"sources": ["static"], "static": {"cpu": 1.5, "pods": 110}}}
        ).kubernetes_clusters

        assert cluster.pools[0].capacity.static == {"cpu": "1.5", "pods": "110"}

    @pytest.mark.parametrize(
        ("listed", "namespace", "forwarded"),
        [
            ([], "team-a", True),
            ([], "kube-system", False),
            (["team-a"], "team-a", True),
            (["team-a"], "team-b", False),
            (["kube-system"], "kube-system", True),
        ],
    )
    def test_listed_namespaces_are_forwarded_or_all_but_those_of_kubernetes(
        self, listed: list[str], namespace: str, *, forwarded: bool
    ) -> None:
        config = AgentConfig.model_validate(
            {
                "tenant": {"name": "demo", "namespaces": listed},
                "clusters": [{"name": "a", "kubeconfig": "k"}],
            }
        )

        assert config.tenant.forwards(namespace) is forwarded

    @pytest.mark.parametrize(
        ("text", "seconds"),
        [("15s", 15.0), ("500ms", 0.5), ("1m", 60.0), ("1m30s", 90.0), ("1.5h", 5400.0)],
    )
    def test_durations_have_units(self, tmp_path: Path, text: str, seconds: float) -> None:
        path = written(
            tmp_path,
            f"{MINIMAL}leaderElection:\n  leaseDuration: 9h\n  renewDeadline: 8h\n"
            f"  retryPeriod: {text}\n",
        )

        assert load_config(path).leader_election.retry_period == seconds

    @given(st.integers(min_value=1, max_value=10**6))
    def test_a_formatted_duration_means_the_same(self, milliseconds: int) -> None:
        config = AgentConfig.model_validate(
            {
                "tenant": {"name": "demo"},
                "clusters": [{"name": "a", "kubeconfig": "k"}],
                "leaderElection": {
                    "leaseDuration": "9h",
                    "renewDeadline": "8h",
                    "retryPeriod": f"{milliseconds}ms",
                },
            }
        )
        seconds = milliseconds / 1000

        assert config.leader_election.retry_period == pytest.approx(seconds)
        assert float(format_duration(seconds).removesuffix("s")) == pytest.approx(seconds)

    @pytest.mark.parametrize(("retry", "fits"), [("8300ms", True), ("8400ms", False)])
    def test_a_retry_fits_into_the_deadline_with_its_jitter(
        self, retry: str, *, fits: bool
    ) -> None:
        section = {"renewDeadline": "10s", "retryPeriod": retry}
        with contextlib.nullcontext() if fits else pytest.raises(ValueError, match="jitter"):
            LeaderElectionConfig.model_validate(section)

    @given(st.sampled_from([ipaddress.IPv4Network, ipaddress.IPv6Network]), st.integers(0, 32))
    def test_what_is_accepted_as_pod_addresses_makes_a_pool(
        self, family: type[ipaddress.IPv4Network | ipaddress.IPv6Network], prefix: int
    ) -> None:
        network = str(family((0, prefix)))
        document = {
            "tenant": {"name": "demo"},
            "clusters": [{"name": "a", "kubeconfig": "k"}],
            "podAddresses": network,
        }
        try:
            AddressPool(network)
        except ValueError:
            with pytest.raises(ValueError, match="podAddresses"):
                AgentConfig.model_validate(document)
        else:
            assert str(AgentConfig.model_validate(document).pod_addresses) == network

    @given(st.from_regex(QUANTITY_PATTERN, fullmatch=True).filter(lambda text: len(text) <= 64))
    def test_quantities_that_the_schema_accepts_are_quantities(self, text: str) -> None:
        assert CapacityConfig(sources=(CapacitySourceKind.STATIC,), static={"pods": text}).static

    def test_the_configuration_cannot_be_changed(self) -> None:
        config = pool_config({})

        with pytest.raises(ValueError, match="frozen"):
            config.tenant.name = "other"


class TestShippedFiles:
    def test_the_example_is_valid(self) -> None:
        config = load_config(ROOT / "config/example.yaml")

        assert [node.name for node in config.virtual_nodes] == [
            "vnode-gpu-a",
            "vnode-gpu-b",
            "gpu-b-a100",
            "vnode-burst",
            "vnode-burst-spot",
        ]

    def test_the_example_shows_every_key(self) -> None:
        """A new setting has to be explained there."""
        example = yaml.safe_load((ROOT / "config/example.yaml").read_text(encoding="utf-8"))
        known = {
            field.alias or name
            for section in sections(Section)
            for name, field in section.model_fields.items()
        }

        assert known - keys_in(example) == {"tolerationSeconds"}

    def test_the_schema_is_current(self) -> None:
        shipped = json.loads((ROOT / "config/schema.json").read_text(encoding="utf-8"))

        assert shipped == config_schema(), "run: vnode config schema > config/schema.json"


def sections(base: type[Section]) -> set[type[Section]]:
    found = set(base.__subclasses__())
    return found.union(*(sections(each) for each in found))


def keys_in(value: object) -> set[str]:
    match value:
        case dict():
            return set(value) | {key for inner in value.values() for key in keys_in(inner)}
        case list():
            return {key for inner in value for key in keys_in(inner)}
        case _:
            return set()
