import pytest

from tests.bench import workloads
from tests.bench.workloads import Place

PLACE = Place(["one", "two", "three"], {"kind": "x"})
_OWNERS = {"Deployment"}


def test_namespaces_share_the_pods() -> None:
    made = workloads.objects("namespaces", "w", pods=11, place=PLACE)
    assert [each["spec"]["replicas"] for each in made] == [4, 4, 3]
    assert [each["metadata"]["namespace"] for each in made] == ["one", "two", "three"]
    assert len({each["metadata"]["name"] for each in made}) == 3


def test_a_workload_goes_to_one_namespace() -> None:
    (made,) = workloads.objects("job", "w", pods=5, place=PLACE)
    assert workloads.path(made) == "/apis/batch/v1/namespaces/one/jobs/w"
    assert workloads.deletion(made).endswith("/jobs/w?propagationPolicy=Background")
    assert made["spec"]["completions"] == made["spec"]["parallelism"] == 5


def test_a_hundred_pods_share_one_configmap_and_one_secret() -> None:
    made = workloads.objects("shared", "w", pods=250, place=PLACE)
    assert [(each["kind"], each["metadata"]["name"]) for each in made] == [
        (kind, f"w-{number}")
        for number in range(3)
        for kind in ("ConfigMap", "Secret", "Deployment")
    ]
    pods = workloads.of_pods(made)
    assert [each["spec"]["replicas"] for each in pods] == [100, 100, 50]
    volumes = pods[1]["spec"]["template"]["spec"]["volumes"]
    assert volumes[0]["configMap"] == {"name": "w-1"}
    assert volumes[1]["secret"] == {"secretName": "w-1"}
    assert [*workloads.of_data(made), *pods] == sorted(made, key=lambda m: m["kind"] in _OWNERS)


def test_churn_makes_nothing_beforehand() -> None:
    assert workloads.objects("churn", "w", pods=5, place=PLACE) == []


@pytest.mark.parametrize("automount", [True, False])
def test_pods_have_the_default_token_unless_told_otherwise(automount: bool) -> None:
    spec = workloads.pod_spec(Place(["one"], {}, automount=automount))
    assert spec.get("automountServiceAccountToken", True) is automount


def test_a_bare_pod_is_posted_to_the_core_group() -> None:
    made = workloads.pod("p", "one", place=PLACE)
    assert workloads.collection(made) == "/api/v1/namespaces/one/pods"
    assert made["spec"]["nodeSelector"] == {"kind": "x"}
