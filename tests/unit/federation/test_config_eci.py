"""Clusters of kind eci in the configuration: what they mean, and how mistakes are told."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from federation.config import (
    AgentConfig,
    ClusterConfig,
    ConfigFileError,
    EciClusterConfig,
    load_config,
)

T4 = {"cpu": "4", "memory": "15Gi", "gpus": 1}


def cluster(**more: Any) -> dict[str, Any]:
    """The smallest cluster of kind eci."""
    return {
        "name": "burst",
        "kind": "eci",
        "region": "cn-beijing",
        "credentials": "key",
        "vSwitches": ["vsw-1"],
        "securityGroup": "sg-1",
        "pools": [pool()],
        **more,
    }


def pool(**more: Any) -> dict[str, Any]:
    return {"limits": {"cpu": "100", "pods": "50"}, **more}


def load(folder: Path, *clusters: dict[str, Any]) -> AgentConfig:
    file = folder / "config.yaml"
    text = yaml.safe_dump({"tenant": {"name": "demo"}, "clusters": list(clusters)})
    file.write_text(text, encoding="utf-8")
    return load_config(file)


def problems(folder: Path, *clusters: dict[str, Any]) -> dict[str, str]:
    """What is wrong, by key."""
    with pytest.raises(ConfigFileError) as refused:
        load(folder, *clusters)
    assert all(problem.line for problem in refused.value.problems)
    return {problem.key: problem.text for problem in refused.value.problems}


def test_an_account_is_a_cluster_beside_others(tmp_path: Path) -> None:
    config = load(tmp_path, {"name": "home", "kubeconfig": "home"}, cluster())
    home, burst = config.clusters
    assert isinstance(home, ClusterConfig)
    assert isinstance(burst, EciClusterConfig)
    assert config.kubernetes_clusters == (home,)
    assert burst.credentials == tmp_path / "key"
    assert burst.url == "https://eci.cn-beijing.aliyuncs.com"
    node = config.virtual_nodes[1]
    assert (node.name, node.port) == ("vnode-burst", 10251)
    assert burst.pool_of(node.name).limits == {"cpu": "100", "pods": "50"}
    assert node.taints[0].value == "burst"


def test_what_means_nothing_in_a_kind_is_refused_with_its_place(tmp_path: Path) -> None:
    wrong = cluster(kubeconfig="x", startOnce="strict", pools=[pool(nodeSelector={"a": "b"})])
    said = problems(tmp_path, wrong, {"name": "home", "kubeconfig": "home", "region": "x"})
    assert said == {
        "clusters[0].kubeconfig": "means nothing in a cluster of kind eci; remove it",
        "clusters[0].startOnce": "means nothing in a cluster of kind eci; remove it",
        "clusters[0].pools[0].nodeSelector": "means nothing in a cluster of kind eci; remove it",
        "clusters[1].region": "means nothing in a cluster of kind kubernetes; remove it",
    }


def test_an_unknown_kind_and_an_unknown_key_are_told_with_what_is_known(tmp_path: Path) -> None:
    assert problems(tmp_path, cluster(kind="ec2")) == {
        "clusters[0].kind": '"ec2" is not one of: kubernetes, eci'
    }
    assert problems(tmp_path, cluster(regoin="x")) == {
        "clusters[0].regoin": 'unknown key; did you mean "region"?'
    }


@pytest.mark.parametrize(
    ("more", "key", "text"),
    [
        ({"endpoint": "http://eci.example.com"}, "endpoint", "https://"),
        ({"tokenTTL": "5m"}, "tokenTTL", "10m or longer"),
        ({"tags": {"acs:owner": "x"}}, "tags.acs:owner", "reserved"),
        ({"tags": {"owner": "x" * 129}}, "tags.owner", "too long"),
        ({"accountShare": 0}, "accountShare", "more than 0"),
        ({"vSwitches": []}, "vSwitches", "is empty"),
        ({"pools": [pool(limits={"cpu": "4"})]}, "pools[0].limits", 'no "pods"'),
        (
            {"pools": [pool(limits={"pods": "4", "nvidia.com/gpu": "1"})]},
            "pools[0].limits.nvidia.com/gpu",
            "gpuTypes",
        ),
        ({"pools": [pool(types=["ecs.x"])]}, "pools[0].types[0]", "not in instanceTypes"),
        (
            {
                "instanceTypes": {"ecs.x": {"cpu": 4, "memory": "8Gi"}},
                "pools": [pool(gpuTypes={"T4": ["ecs.x"]})],
            },
            "pools[0].gpuTypes.T4[0]",
            "no GPUs",
        ),
        ({"pools": [pool(gpuTypes={"T4": []})]}, "pools[0].gpuTypes.T4", "no instance type"),
        ({"pools": [pool(), pool()]}, "pools[1].name", "used twice"),
    ],
)
def test_a_mistake_is_told_with_its_place(
    tmp_path: Path, more: dict[str, Any], key: str, text: str
) -> None:
    said = problems(tmp_path, cluster(**more))
    assert list(said) == [f"clusters[0].{key}"]
    assert text in said[f"clusters[0].{key}"]


def test_an_endpoint_on_this_machine_may_be_plain(tmp_path: Path) -> None:
    config = load(tmp_path, cluster(endpoint="http://127.0.0.1:8088"))
    assert isinstance(config.clusters[0], EciClusterConfig)
    assert config.clusters[0].url == "http://127.0.0.1:8088/"


def test_clusters_of_one_account_share_its_limits(tmp_path: Path) -> None:
    said = problems(tmp_path, cluster(), cluster(name="spot"))
    assert list(said) == ["clusters[1].accountShare"]
    third = {"accountShare": 0.334}
    shared = [cluster(name=f"c{number}", **third) for number in range(3)]
    elsewhere = cluster(name="far", region="cn-hangzhou")
    assert len(load(tmp_path, *shared, elsewhere).clusters) == 4


def test_names_of_clusters_are_unique_over_kinds(tmp_path: Path) -> None:
    said = problems(tmp_path, {"name": "burst", "kubeconfig": "x"}, cluster())
    assert list(said) == ["clusters[1].name"]


FLUID = {"volumes": [{"driver": "d", "volumeHandles": ["a"]}]}


def test_claims_come_to_an_account_where_its_policy_says_which(tmp_path: Path) -> None:
    fluid = {**FLUID, "profiles": "profiles.yaml"}
    config = load(tmp_path, cluster(policy={"fluid": fluid}))
    found = config.eci_clusters[0].policy.fluid
    assert found is not None
    assert found.profiles == tmp_path / "profiles.yaml"
    assert config.reads_claims
    assert not config.clusters_with_claims  # Nobody binds placeholders for an account.
    assert not load(tmp_path, cluster()).reads_claims


def test_volumes_are_named_or_no_claim_comes_to_an_account(tmp_path: Path) -> None:
    said = problems(tmp_path, cluster(policy={"fluid": {"profiles": "p"}}))
    assert list(said) == ["clusters[0].policy.fluid.volumes"]
