"""Service variables as ConfigMaps that the tenant does not have."""

from tests.builders import make_metadata
from vnode.backend import API_SERVER_VARIABLES, SERVICE_VARIABLES, ObjectRef, ReferenceKind
from vnode.pods.objects.service_env import Service, ServicePort, ServiceSpec
from vnode.pods.objects.service_variables import ServiceVariables, service_store
from vnode.runtime.store import Store

NAMESPACE = ObjectRef("team-a", *SERVICE_VARIABLES)


def make_services(*names: str) -> Store[Service]:
    services = service_store("services")
    for name in names:
        services.upsert(make_service(name))
    return services


def make_service(name: str) -> Service:
    spec = ServiceSpec("10.0.0.5", [ServicePort(port=80)])
    return Service(metadata=make_metadata(name).metadata, spec=spec)


def test_objects_of_the_tenant_are_not_made_here() -> None:
    variables = ServiceVariables(make_services(), {})
    ref = ObjectRef("team-a", ReferenceKind.CONFIG_MAP, "services")
    assert variables.version(ref) is None
    assert variables.body(ref) is None


def test_the_version_is_that_of_the_body_and_follows_the_services() -> None:
    services = make_services()
    variables = ServiceVariables(services, {"KUBERNETES_SERVICE_HOST": "api"})
    before = variables.version(NAMESPACE)
    services.upsert(make_service("db"))
    body = variables.body(NAMESPACE)
    assert body is not None
    assert body.metadata.resource_version == variables.version(NAMESPACE) != before
    assert body.data["KUBERNETES_SERVICE_HOST"] == "api"
    assert body.data["DB_SERVICE_PORT"] == "80"


def test_the_same_services_have_the_same_version_after_a_restart() -> None:
    stores = [make_services("a", "b"), make_services("b", "a")]
    versions = {ServiceVariables(store, {}).version(NAMESPACE) for store in stores}
    assert len(versions) == 1


def test_without_service_links_there_is_only_the_api_server() -> None:
    variables = ServiceVariables(make_services("db"), {"KUBERNETES_PORT": "x"})
    body = variables.body(ObjectRef("team-a", *API_SERVER_VARIABLES))
    assert body is not None
    assert body.data == {"KUBERNETES_PORT": "x"}
