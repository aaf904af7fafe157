"""An ECI account as a compute side: what a term of leading it has, against the emulator."""

import asyncio
import base64
import contextlib
import json
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, cast
from unittest.mock import MagicMock

import pytest
from prometheus_client import CollectorRegistry
from structlog.testing import capture_logs

from federation.claims.objects import PERSISTENT_VOLUMES, Claim
from federation.config import AgentConfig
from federation.shared import Shared
from federation.sides.connecting import connect
from federation.sides.eci.side import EciCompute
from federation.sides.side import Term
from federation.telemetry import FederationMetrics
from tests.builders import OWNER, make_pod, make_request
from tests.eci.connecting import KEY, KEYS
from tests.eci.server import Emulator
from tests.fakes.client import RecordingClient
from tests.unit.federation.fluid.builders import DRIVER, make_claim, make_volume
from tests.unit.federation.test_config_eci import cluster, pool
from vnode.backend import SERVICE_VARIABLES, ObjectRef
from vnode.kube.errors import ConfigError, Unreachable, Withheld
from vnode.kube.types import ConfigMap, NodeName, ObjectMeta
from vnode.runtime.clock import SystemClock
from vnode.runtime.store import Store

T4, A10 = "ecs.gn6i-c4g1.xlarge", "ecs.gn7i-c8g1.2xlarge"
ATTRIBUTES = {"path": ["/team-a/*"], "cluster": ["star-1"]}
TYPES = {
    T4: {"cpu": 4, "memory": "15Gi", "gpus": 1, "price": 9.5},
    A10: {"cpu": 8, "memory": "30Gi", "gpus": 1},
}


@pytest.fixture
async def emulator() -> AsyncIterator[Emulator]:
    async with Emulator(keys=KEYS) as running:
        yield running


def settings(folder: Path, url: str, *, secret: str = KEY.secret, **more: Any) -> AgentConfig:
    (folder / "accessKeyId").write_text(KEY.id)
    (folder / "accessKeySecret").write_text(secret)
    account = cluster(endpoint=url, credentials=str(folder), **more)
    return AgentConfig.model_validate({"tenant": {"name": "demo"}, "clusters": [account]})


def term_of(config: AgentConfig, registry: CollectorRegistry, *, may_write: bool = True) -> Term:
    shared = MagicMock(spec=Shared)
    shared.config, shared.metrics = config, FederationMetrics(registry)
    shared.clock, shared.rng = SystemClock(), random.Random(1)
    return Term(
        shared=shared,
        owner=OWNER,
        nodes=config.virtual_nodes,
        tenant=MagicMock(),
        may_write=lambda: may_write,
        pods=Store("pods"),
        pods_synced=lambda: True,
    )


@contextlib.asynccontextmanager
async def connected(config: AgentConfig) -> AsyncIterator[EciCompute]:
    way = connect(
        config.clusters[0],
        name="clusters[0] burst",
        user_agent="vnode",
        clock=SystemClock(),
        rng=random.Random(1),
    )
    async with way as compute:
        assert isinstance(compute, EciCompute)
        yield compute


def nodes(*, there: bool) -> Callable[[], Awaitable[bool]]:
    """Whether the tenant has virtual nodes of the account."""

    async def known() -> bool:
        return there

    return known


async def test_a_virtual_node_offers_the_limits_of_its_pool(
    tmp_path: Path, emulator: Emulator
) -> None:
    several = pool(name="gpus", gpuTypes={"T4": [T4], "A10": [A10]})
    pools = [pool(gpuTypes={"NVIDIA-T4": [T4]}), several]
    config = settings(tmp_path, emulator.url, instanceTypes=TYPES, pools=pools)
    async with connected(config) as compute:
        side = compute.lead(term_of(config, CollectorRegistry()))
        first, second = config.virtual_nodes
        assert side.capacity(first).capacity().allocatable == {"cpu": "100", "pods": "50"}
        assert side.node_labels(first) == {"nvidia.com/gpu.product": "NVIDIA-T4"}
        assert side.node_labels(second) == {}
        assert side.copies() == 0


async def test_stock_prices_and_calls_are_shown_while_the_account_is_led(
    tmp_path: Path, emulator: Emulator
) -> None:
    emulator.faults.no_stock = {A10}
    pools = [pool(gpuTypes={"T4": [T4], "A10": [A10]}, spot={})]
    config = settings(tmp_path, emulator.url, instanceTypes=TYPES, pools=pools)
    registry = CollectorRegistry()

    def value(name: str, **labels: str) -> float | None:
        return registry.get_sample_value(f"federation_eci_{name}", {"cluster": "burst", **labels})

    async with connected(config) as compute:
        side = compute.lead(term_of(config, registry))
        end = side.follow()
        await side.stock.refresh()
        await side.prices.refresh()
        tasks = [asyncio.create_task(task) for _, task in side.tasks()]
        await asyncio.sleep(0)
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        zone = f"{config.eci_clusters[0].region}-a"
        assert value("stock", instance_type=T4, zone=zone) == 1
        assert value("stock", instance_type=A10, zone=zone) == 0
        assert side.stock.sold_out([A10])
        assert side.prices.table.of_type(T4) == 9.5
        assert value("calls_throttled", action="DescribeAvailableResource") == 0
        end()
        assert value("stock", instance_type=T4, zone=zone) is None


async def test_a_replica_that_lost_its_lease_makes_no_group(
    tmp_path: Path, emulator: Emulator
) -> None:
    config = settings(tmp_path, emulator.url)
    pod = make_pod(node="vnode-burst", automountServiceAccountToken=False)
    request = replace(make_request(pod), node=NodeName("vnode-burst"))
    async with connected(config) as compute:
        side = compute.lead(term_of(config, CollectorRegistry(), may_write=False))
        services = ConfigMap(metadata=ObjectMeta(name="services", namespace="team-a"))
        await side.backend.put_object(ObjectRef("team-a", *SERVICE_VARIABLES), services)
        with pytest.raises(Withheld):
            await side.backend.apply(request)
    assert emulator.groups.made == 0


class TestProbe:
    async def test_a_key_that_is_refused_ends_the_agent(
        self, tmp_path: Path, emulator: Emulator
    ) -> None:
        config = settings(tmp_path, emulator.url, secret="another")
        async with connected(config) as compute:
            with pytest.raises(ConfigError, match=r"clusters\[0\] burst: .*put a key into"):
                await compute.probe(known=nodes(there=False))

    async def test_an_account_that_does_not_answer_ends_it_unless_it_has_nodes(
        self, tmp_path: Path, emulator: Emulator
    ) -> None:
        emulator.faults.down = True
        async with connected(settings(tmp_path, emulator.url)) as compute:
            with pytest.raises(Unreachable, match="check region and endpoint"):
                await compute.probe(known=nodes(there=False))
            with capture_logs() as logs:
                await compute.probe(known=nodes(there=True))
            assert [line["event"] for line in logs] == ["compute cluster not usable yet"]

    async def test_an_account_that_answers_is_fine(
        self, tmp_path: Path, emulator: Emulator
    ) -> None:
        async with connected(settings(tmp_path, emulator.url)) as compute:
            await compute.probe(known=nodes(there=False))


async def test_the_platforms_registry_logins_come_from_a_file(
    tmp_path: Path, emulator: Emulator
) -> None:
    logins = tmp_path / ".dockerconfigjson"
    auth = base64.b64encode(b"robot:hush").decode()
    logins.write_text(json.dumps({"auths": {"registry.example": {"auth": auth}}}))
    config = settings(tmp_path, emulator.url, registryLogins=str(logins))
    async with connected(config) as compute:
        side = compute.lead(term_of(config, CollectorRegistry()))
        await side.backend.observer.look()
        services = ObjectRef("team-a", *SERVICE_VARIABLES)
        await side.backend.put_object(services, ConfigMap(metadata=ObjectMeta(name="x")))
        pod = make_pod(containers=[{"name": "m", "image": "registry.example/i"}])
        request = replace(make_request(pod), node=NodeName("vnode-burst"))
        await side.backend.apply(request)
    [group] = emulator.groups.at(SystemClock().time())
    assert group.asked["ImageRegistryCredential"] == [
        {"Server": "registry.example", "UserName": "robot", "Password": "hush"}
    ]


@pytest.mark.parametrize("content", [None, "hush", '{"auths": {"r": {"auth": "hush!"}}}'])
async def test_registry_logins_that_cannot_be_read_are_told_without_them(
    tmp_path: Path, emulator: Emulator, content: str | None
) -> None:
    logins = tmp_path / "config.json"
    if content is not None:
        logins.write_text(content)
    config = settings(tmp_path, emulator.url, registryLogins=str(logins))
    with pytest.raises(ConfigError, match="registryLogins") as refused:
        async with connected(config):
            pass
    assert "hush" not in str(refused.value)


PROFILES = """\
apiVersion: data.fluid.io/v1alpha1
kind: ThinRuntimeProfile
metadata: {name: starfs-profile}
spec:
  fileSystemType: starfs
  fuse: {image: starfs-mount, imageTag: v1, command: [mount-starfs]}
"""


async def test_a_claim_comes_by_the_profile_of_a_file(tmp_path: Path, emulator: Emulator) -> None:
    file = tmp_path / "profiles.yaml"
    file.write_text(PROFILES)
    allowed = {"driver": DRIVER, "volumeHandles": ["team-a/*"], "attributes": ATTRIBUTES}
    fluid = {"profiles": str(file), "volumes": [allowed]}
    config = settings(tmp_path, emulator.url, policy={"fluid": fluid})
    term = term_of(config, CollectorRegistry())
    claims: Store[Claim] = Store("claims")
    cast("Any", term.shared).tenant.claims = claims
    tenant = RecordingClient()
    tenant.put(PERSISTENT_VOLUMES, make_volume())
    async with connected(config) as compute:
        side = compute.lead(replace(term, tenant=tenant.client))
        opened: list[str] = []
        side.backend.subscribe_places(opened.append)
        end = side.follow()
        claims.upsert(make_claim())
        assert opened == ["team-a"]
        await side.backend.observer.look()
        services = ObjectRef("team-a", *SERVICE_VARIABLES)
        await side.backend.put_object(services, ConfigMap(metadata=ObjectMeta(name="x")))
        pod = make_pod(
            containers=[
                {
                    "name": "m",
                    "image": "i",
                    "volumeMounts": [{"name": "v", "mountPath": "/data"}],
                }
            ],
            volumes=[{"name": "v", "persistentVolumeClaim": {"claimName": "data"}}],
        )
        request = replace(make_request(pod), node=NodeName("vnode-burst"))
        side.backend.admit(request)
        await side.backend.apply(request)
        end()
        claims.upsert(make_claim("other"))
        assert opened == ["team-a"]
    [group] = emulator.groups.at(SystemClock().time())
    assert [one["Name"] for one in group.asked["Container"]] == ["m", "fluid-fuse-0"]
    assert group.asked["Container"][1]["Image"] == "starfs-mount:v1"


async def test_pods_hear_of_claims_only_what_decides_whether_they_can_be_had(
    tmp_path: Path, emulator: Emulator
) -> None:
    fluid = {"volumes": [{"driver": DRIVER, "volumeHandles": ["team-a/*"]}]}
    config = settings(tmp_path, emulator.url, policy={"fluid": fluid})
    term = term_of(config, CollectorRegistry())
    claims: Store[Claim] = Store("claims")
    cast("Any", term.shared).tenant.claims = claims
    async with connected(config) as compute:
        side = compute.lead(term)
        opened: list[str] = []
        side.backend.subscribe_places(opened.append)
        side.follow()
        for version, change in enumerate(
            [
                {},
                {"annotations": {"a": "b"}},
                {"profile": "another"},
                {"uid": "c-2", "profile": "another"},
                {"uid": "c-2", "profile": "another", "deletionTimestamp": "2026-01-01T00:00:00Z"},
            ]
        ):
            claims.upsert(make_claim(resourceVersion=str(version + 1), **cast("Any", change)))
    assert opened == ["team-a"] * 4


@pytest.mark.parametrize(
    "content", [None, "a: [", "kind: Pod\nmetadata: {name: x}\nspec: {}", "[]"]
)
async def test_profiles_that_cannot_be_read_are_told(
    tmp_path: Path, emulator: Emulator, content: str | None
) -> None:
    file = tmp_path / "profiles.yaml"
    if content is not None:
        file.write_text(content)
    fluid = {"profiles": str(file), "volumes": [{"driver": "d", "volumeHandles": ["a"]}]}
    config = settings(tmp_path, emulator.url, policy={"fluid": fluid})
    with pytest.raises(ConfigError, match=r"policy\.fluid\.profiles"):
        async with connected(config):
            pass
