"""The tenant cluster: who it is, and what all compute clusters share of it."""

import random
from typing import Any, cast

import pytest

from federation.config import AgentConfig
from federation.tenant import Tenant, TenantFacts, left_nodes, read_facts
from tests.builders import make_error, make_metadata
from tests.fakes.client import RecordingClient
from tests.fakes.clock import LoopClock
from vnode.backend import SERVICE_VARIABLES, ObjectRef, ReferenceKind
from vnode.kube.errors import KubeError, NotFound
from vnode.kube.resources import CONFIG_MAPS, NAMESPACES
from vnode.kube.types import UID, ConfigMap, NodeName, encode
from vnode.pods.objects.service_env import Service, ServicePort, ServiceSpec

FACTS = TenantFacts(cluster_uid=UID("u"), version="v1.36.3", client_ca=b"")
CA = "-----BEGIN CERTIFICATE-----"


class AnsweringClient(RecordingClient):
    """Answers /version too."""

    async def request(self, method: str, path: str, **_: object) -> bytes:
        assert (method, path) == ("GET", "/version")
        return b'{"major":"1","gitVersion":"v1.36.3"}'


def make_config(**tenant: Any) -> AgentConfig:
    return AgentConfig.model_validate(
        {
            "tenant": {"name": "demo", **tenant},
            "clusters": [{"name": "gpu", "kubeconfig": "gpu/kubeconfig"}],
        }
    )


CONFIG = make_config()


def make_tenant(*, server: str = "", left: tuple[NodeName, ...] = (), **tenant: Any) -> Tenant:
    config = make_config(**tenant)
    client = RecordingClient()
    client.server = server or client.server
    return Tenant(client.client, config, FACTS, clock=LoopClock(), rng=random.Random(1), left=left)


def make_service(name: str, namespace: str = "team-a") -> Service:
    return Service(
        metadata=make_metadata(name, namespace=namespace).metadata,
        spec=ServiceSpec("10.0.0.5", [ServicePort(port=80)]),
    )


class TestFacts:
    @staticmethod
    def client() -> AnsweringClient:
        client = AnsweringClient()
        client.put(NAMESPACES, make_metadata("kube-system", namespace="", uid="the-cluster"))
        client.put(
            CONFIG_MAPS,
            ConfigMap(
                metadata=make_metadata(
                    "extension-apiserver-authentication", namespace="kube-system"
                ).metadata,
                data={"client-ca-file": CA},
            ),
        )
        return client

    async def test_a_cluster_is_its_kube_system(self) -> None:
        facts = await read_facts(self.client().client)
        assert facts.cluster_uid == "the-cluster"
        assert facts.version == "v1.36.3"
        assert facts.client_ca == CA.encode()

    async def test_they_show_nothing_in_logs(self) -> None:
        assert CA not in repr(await read_facts(self.client().client))

    async def test_a_cluster_that_tells_nothing_is_an_error(self) -> None:
        with pytest.raises(NotFound):
            await read_facts(AnsweringClient().client)

    async def test_a_cluster_that_does_not_answer_is_an_error(self) -> None:
        client = self.client()
        client.fail(KubeError("cut"), "get configmaps")
        with pytest.raises(KubeError):
            await read_facts(client.client)


class ListingClient(RecordingClient):
    """Lists Nodes too."""

    def __init__(self, *nodes: tuple[str, str]) -> None:
        """Names and providerIDs."""
        super().__init__()
        self.items = [{"metadata": {"name": n}, "spec": {"providerID": i}} for n, i in nodes]
        self.forbidden = False

    async def request(self, method: str, path: str, **settings: Any) -> bytes:
        assert (method, path) == ("GET", "/api/v1/nodes")
        assert settings["query"]["labelSelector"] == "vnode.dev/cluster"
        if self.forbidden:
            raise make_error(403, "nodes is forbidden")
        return encode({"metadata": {"resourceVersion": "7"}, "items": self.items})


class TestLeftNodes:
    async def test_they_are_ours_and_not_in_the_configuration(self) -> None:
        client = ListingClient(
            ("vnode-gpu", "vnode://demo/gpu/default"),
            ("vnode-old", "vnode://demo/old/default"),
            ("vnode-theirs", "vnode://demo-2/old/default"),
            ("ecs-1", ""),
        )
        assert await left_nodes(client.client, CONFIG) == ("vnode-old",)

    async def test_an_agent_whose_rights_are_pinned_to_names_does_not_see_them(self) -> None:
        client = ListingClient(("vnode-old", "vnode://demo/old/default"))
        client.forbidden = True
        assert await left_nodes(client.client, CONFIG) == ()

    def test_their_lists_are_followed_as_the_others(self) -> None:
        tenant = make_tenant(left=(NodeName("vnode-old"),))
        stores = (tenant.config_maps, tenant.secrets, tenant.services, tenant.namespaces)
        for store in stores:
            store.mark_synced()
        tenant.nodes.mark_synced("vnode-gpu")
        assert not tenant.synced
        tenant.nodes.mark_synced("vnode-old")
        assert tenant.synced


def service_env(tenant: Tenant, namespace: str = "team-a") -> dict[str, str]:
    body = tenant.service_variables.body(ObjectRef(namespace, *SERVICE_VARIABLES))
    assert body is not None
    return body.data


class TestServiceVariables:
    def test_a_pod_sees_the_services_of_its_own_namespace(self) -> None:
        tenant = make_tenant()
        tenant.services.upsert(make_service("db"))
        tenant.services.upsert(make_service("other", "team-b"))
        env = service_env(tenant)
        assert env["DB_SERVICE_HOST"] == "10.0.0.5"
        assert not any(name.startswith("OTHER_") for name in env)

    def test_the_api_server_is_the_tenant_s_even_beside_a_service_of_that_name(self) -> None:
        tenant = make_tenant()
        tenant.services.upsert(make_service("kubernetes"))
        env = service_env(tenant)
        assert env["KUBERNETES_SERVICE_HOST"] == "tenant.example"
        assert env["KUBERNETES_SERVICE_PORT"] == "6443"

    @pytest.mark.parametrize(
        ("server", "host", "port"),
        [
            ("https://10.0.0.1", "10.0.0.1", "443"),
            ("https://[fd00::1]:6443", "fd00::1", "6443"),
            ("https://api.example/prefix", "api.example", "443"),
        ],
    )
    def test_pods_find_it_where_we_do(self, server: str, host: str, port: str) -> None:
        env = service_env(make_tenant(server=server))
        assert (env["KUBERNETES_SERVICE_HOST"], env["KUBERNETES_SERVICE_PORT"]) == (host, port)

    def test_or_where_the_configuration_says(self) -> None:
        tenant = make_tenant(apiServer={"host": "vip.example", "port": 8443})
        env = service_env(tenant)
        assert env["KUBERNETES_SERVICE_HOST"] == "vip.example"
        assert env["KUBERNETES_PORT"] == "tcp://vip.example:8443"


def forget(namespace: str) -> None:
    raise AssertionError(f"{namespace} is not gone")


class TestIsGone:
    """What the tenant's API server itself says of a namespace."""

    @staticmethod
    def client_of(tenant: Tenant, *, cluster: str = FACTS.cluster_uid) -> RecordingClient:
        client = cast("RecordingClient", tenant.client)
        client.put(NAMESPACES, make_metadata("kube-system", namespace="", uid=cluster))
        return client

    async def test_one_that_it_does_not_have_is_gone(self) -> None:
        tenant = make_tenant()
        self.client_of(tenant)
        assert await tenant.is_gone("team-a")

    async def test_one_that_is_there_is_not(self) -> None:
        tenant = make_tenant()
        self.client_of(tenant).put(NAMESPACES, make_metadata("team-a", namespace=""))
        assert not await tenant.is_gone("team-a")

    async def test_another_cluster_s_api_server_says_nothing(self) -> None:
        tenant = make_tenant()
        self.client_of(tenant, cluster="another")
        assert not await tenant.is_gone("team-a")

    async def test_one_that_does_not_answer_says_nothing(self) -> None:
        tenant = make_tenant()
        self.client_of(tenant).fail(KubeError("cut"), "get namespaces")
        with pytest.raises(KubeError):
            await tenant.is_gone("team-a")


class TestNamespaces:
    def test_all_but_kubernetes_own_are_found_now_and_later(self) -> None:
        tenant = make_tenant()
        tenant.namespaces.upsert(make_metadata("team-a", namespace=""))
        tenant.namespaces.upsert(make_metadata("kube-system", namespace=""))
        found: list[str] = []
        tenant.each_namespace(found.append, forget)
        assert found == ["team-a"]
        tenant.namespaces.upsert(make_metadata("team-b", namespace=""))
        tenant.namespaces.upsert(make_metadata("kube-public", namespace=""))
        assert found == ["team-a", "team-b"]

    def test_a_namespace_that_goes_is_told_unless_it_is_kubernetes_own(self) -> None:
        tenant = make_tenant()
        found: list[str] = []
        gone: list[str] = []
        tenant.each_namespace(found.append, gone.append)
        for name in ("team-a", "kube-own"):
            namespace = make_metadata(name, namespace="")
            tenant.namespaces.upsert(namespace)
            tenant.namespaces.remove(namespace.metadata.key)
        assert found == ["team-a"]
        assert gone == ["team-a"]

    def test_nobody_listens_after_the_end(self) -> None:
        tenant = make_tenant()
        found: list[str] = []
        end = tenant.each_namespace(found.append, forget)
        end()
        tenant.namespaces.upsert(make_metadata("team-a", namespace=""))
        assert found == []

    def test_a_list_of_namespaces_is_all_there_is(self) -> None:
        tenant = make_tenant(namespaces=["team-a", "team-b"])
        found: list[str] = []
        tenant.each_namespace(found.append, forget)
        tenant.namespaces.upsert(make_metadata("team-c", namespace=""))
        assert found == ["team-a", "team-b"]
        assert tenant.scopes == ("team-a", "team-b")


class TestSynced:
    def test_it_takes_every_store(self) -> None:
        tenant = make_tenant()
        stores = (tenant.config_maps, tenant.secrets, tenant.services, tenant.namespaces)
        for store in stores:
            assert not tenant.synced
            store.mark_synced()
        assert not tenant.synced  # Nobody knows yet which pod names are fenced.
        tenant.nodes.mark_synced("vnode-gpu")
        assert tenant.synced

    def test_where_namespaces_are_listed_in_the_configuration_it_takes_each_of_them(self) -> None:
        tenant = make_tenant(namespaces=["team-a", "team-b"])
        for namespace in ("team-a", "team-b"):
            assert not tenant.synced
            for store in (tenant.config_maps, tenant.secrets, tenant.services):
                store.mark_synced(namespace)
        tenant.nodes.mark_synced("vnode-gpu")
        assert tenant.synced


def test_objects_that_pods_refer_to_are_kept_by_kind() -> None:
    tenant = make_tenant()
    assert tenant.metadata[ReferenceKind.SECRET] is tenant.secrets
    assert tenant.metadata[ReferenceKind.CONFIG_MAP] is tenant.config_maps
