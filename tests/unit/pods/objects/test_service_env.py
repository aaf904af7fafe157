"""Service variables, as a kubelet would inject them."""

import pytest

from tests.builders import make_metadata
from vnode.pods.objects.service_env import (
    Service,
    ServicePort,
    ServiceSpec,
    api_server_environment,
    service_environment,
)


def make_service(name: str, *ports: ServicePort, ip: str = "10.0.0.5") -> Service:
    return Service(
        metadata=make_metadata(name).metadata, spec=ServiceSpec(cluster_ip=ip, ports=list(ports))
    )


@pytest.mark.parametrize(
    ("host", "address"),
    [
        ("api.tenant.example", "tcp://api.tenant.example:6443"),
        ("2001:db8::1", "tcp://[2001:db8::1]:6443"),
    ],
)
def test_all_api_server_variables_aim_at_the_tenants_address(host: str, address: str) -> None:
    assert api_server_environment(host, 6443) == {
        "KUBERNETES_SERVICE_HOST": host,
        "KUBERNETES_SERVICE_PORT": "6443",
        "KUBERNETES_SERVICE_PORT_HTTPS": "6443",
        "KUBERNETES_PORT": address,
        "KUBERNETES_PORT_443_TCP": address,
        "KUBERNETES_PORT_443_TCP_PROTO": "tcp",
        "KUBERNETES_PORT_443_TCP_PORT": "6443",
        "KUBERNETES_PORT_443_TCP_ADDR": host,
    }


def test_a_service_has_variables_for_its_address_and_each_port() -> None:
    service = make_service(
        "my-db", ServicePort(port=5432, name="sql-main"), ServicePort(port=53, protocol="UDP")
    )
    assert service_environment([service]) == {
        "MY_DB_SERVICE_HOST": "10.0.0.5",
        "MY_DB_SERVICE_PORT": "5432",
        "MY_DB_SERVICE_PORT_SQL_MAIN": "5432",
        "MY_DB_PORT": "tcp://10.0.0.5:5432",
        "MY_DB_PORT_5432_TCP": "tcp://10.0.0.5:5432",
        "MY_DB_PORT_5432_TCP_PROTO": "tcp",
        "MY_DB_PORT_5432_TCP_PORT": "5432",
        "MY_DB_PORT_5432_TCP_ADDR": "10.0.0.5",
        "MY_DB_PORT_53_UDP": "udp://10.0.0.5:53",
        "MY_DB_PORT_53_UDP_PROTO": "udp",
        "MY_DB_PORT_53_UDP_PORT": "53",
        "MY_DB_PORT_53_UDP_ADDR": "10.0.0.5",
    }


@pytest.mark.parametrize("ip", ["", "None"])
def test_a_service_without_an_address_has_no_variables(ip: str) -> None:
    assert service_environment([make_service("headless", ServicePort(port=80), ip=ip)]) == {}


def test_a_service_without_ports_has_no_variables() -> None:
    assert service_environment([make_service("external")]) == {}


def test_ipv6_addresses_stand_in_brackets_in_urls_only() -> None:
    env = service_environment([make_service("x", ServicePort(port=1), ip="fd00::1")])
    assert env["X_SERVICE_HOST"] == env["X_PORT_1_TCP_ADDR"] == "fd00::1"
    assert env["X_PORT"] == env["X_PORT_1_TCP"] == "tcp://[fd00::1]:1"
