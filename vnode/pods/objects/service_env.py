"""Service environment variables of a tenant namespace, as the kubelet injects them. Pure.

The copy is created with enableServiceLinks=false, since the compute cluster's Services are not the
tenant's. All KUBERNETES_* variables aim at the tenant's API server, so that in-pod clients talk to
it. Names and values: k8s.io/kubernetes pkg/kubelet/envvars. How they reach containers:
`service_variables`.
"""

from collections.abc import Iterable, Mapping

from msgspec import Struct

from vnode.kube.types import ObjectMeta


class ServicePort(Struct, frozen=True, rename="camel"):
    """v1.ServicePort."""

    port: int
    name: str = ""
    protocol: str = "TCP"


class ServiceSpec(Struct, frozen=True, rename={"cluster_ip": "clusterIP"}):
    """v1.ServiceSpec, as far as it shows in environment variables."""

    cluster_ip: str = ""
    ports: list[ServicePort] = []


class Service(Struct, frozen=True):
    """v1.Service."""

    metadata: ObjectMeta
    spec: ServiceSpec = ServiceSpec()


def service_environment(services: Iterable[Service]) -> dict[str, str]:
    """Variables for the Services of one namespace; headless ones have none."""
    env: dict[str, str] = {}
    for service in sorted(services, key=lambda s: s.metadata.name):
        if service.spec.cluster_ip not in ("", "None") and service.spec.ports:
            env.update(_variables(service))
    return env


def api_server_environment(host: str, port: int) -> dict[str, str]:
    """The KUBERNETES_* variables, aimed at the tenant's API server.

    The names keep the port 443 of the `kubernetes` Service, so that none of the compute cluster's
    own variables shows through.
    """
    address = f"[{host}]" if ":" in host else host
    url = f"tcp://{address}:{port}"
    return {
        "KUBERNETES_SERVICE_HOST": host,
        "KUBERNETES_SERVICE_PORT": str(port),
        "KUBERNETES_SERVICE_PORT_HTTPS": str(port),
        "KUBERNETES_PORT": url,
        "KUBERNETES_PORT_443_TCP": url,
        "KUBERNETES_PORT_443_TCP_PROTO": "tcp",
        "KUBERNETES_PORT_443_TCP_PORT": str(port),
        "KUBERNETES_PORT_443_TCP_ADDR": host,
    }


def _variables(service: Service) -> Mapping[str, str]:
    prefix = service.metadata.name.upper().replace("-", "_")
    ip, ports = service.spec.cluster_ip, service.spec.ports
    address = f"[{ip}]" if ":" in ip else ip
    env = {f"{prefix}_SERVICE_HOST": ip, f"{prefix}_SERVICE_PORT": str(ports[0].port)}
    for p in ports:
        if p.name:
            env[f"{prefix}_SERVICE_PORT_{p.name.upper().replace('-', '_')}"] = str(p.port)
    for index, p in enumerate(ports):
        protocol = p.protocol or "TCP"
        url = f"{protocol.lower()}://{address}:{p.port}"
        if index == 0:
            env[f"{prefix}_PORT"] = url
        port_prefix = f"{prefix}_PORT_{p.port}_{protocol.upper()}"
        env[port_prefix] = url
        env[f"{port_prefix}_PROTO"] = protocol.lower()
        env[f"{port_prefix}_PORT"] = str(p.port)
        env[f"{port_prefix}_ADDR"] = ip
    return env
