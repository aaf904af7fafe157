"""Pods that would lead the calls of a sidecar beside them to somebody whom the tenant chose. Pure.

In: a tenant pod whose claims a sidecar brings, or one of its containers. Out: a refusal by the
field's name. All containers of a pod share its network, its hosts file and its resolv.conf, and a
sidecar hands credentials of the platform to whatever server these lead it to.

A kubelet writes into the hosts file, as a name of the pod's own address, hostnameOverride, else
hostname, else the pod's name (pkg/kubelet, GeneratePodHostNameAndDomain, managedHostsFileContent);
with a dot that can be the name of any server. A subdomain only adds a name below the pod's own
namespace, and setHostnameAsFQDN none. Options of dnsConfig reach resolv.conf as they are, line
breaks included: neither the API nor container runtimes look at them (pkg/apis/core/validation;
containerd, internal/cri/server/podsandbox).
"""

import re
from collections.abc import Iterator

import msgspec

from vnode.backend import Rejected
from vnode.kube.types import JSONObject, Pod

__all__ = ["WHY", "redirecting", "refuse_redirecting"]

WHY = "it would also hold for the sidecar that brings the data of the pod's claims; leave it out"
_HOST_NAME = 63
"""Where host names are cut (pkg/kubelet, truncatePodHostnameIfNeeded; ECI does so too)."""
_CAPABILITIES = frozenset({"ALL", "NET_ADMIN", "NET_RAW"})
_OPTION, _VALUE = re.compile(r"[a-z0-9-]+"), re.compile(r"[0-9]*")
"""All that resolv.conf(5) knows."""


class _Capabilities(msgspec.Struct, frozen=True):
    add: tuple[str, ...] | None = None


class _Security(msgspec.Struct, frozen=True):
    capabilities: _Capabilities | None = None
    privileged: bool | None = None


class _Container(msgspec.Struct, frozen=True, rename="camel"):
    security_context: _Security | None = None


class _Option(msgspec.Struct, frozen=True):
    name: str = ""
    value: str | None = None


class _DNSConfig(msgspec.Struct, frozen=True):
    nameservers: tuple[str, ...] | None = None
    searches: tuple[str, ...] | None = None
    options: tuple[_Option, ...] | None = None


class _Spec(msgspec.Struct, frozen=True, rename="camel"):
    containers: tuple[_Container, ...] | None = None
    init_containers: tuple[_Container, ...] | None = None
    host_aliases: tuple[msgspec.Raw, ...] | None = None
    host_network: bool | None = None
    hostname: str | None = None
    hostname_override: str | None = None
    dns_config: _DNSConfig | None = None
    dns_policy: str | None = None


_SPEC = msgspec.json.Decoder(_Spec)


def refuse_redirecting(pod: Pod, *, domain: str = "") -> None:
    """See that a pod does not say where the calls of its sidecars go.

    Ephemeral containers come later, each by itself: see `redirecting`.

    Args:
        pod: the tenant's.
        domain: below which it may look for names; empty: nowhere.

    Raises:
        Rejected: it does; names the field.
    """
    spec = _SPEC.decode(pod.spec)
    for where in _leading_elsewhere(spec, domain):
        raise Rejected(f"{where}: {WHY}", field=where)
    host = spec.hostname_override or spec.hostname or pod.metadata.name
    host = host[:_HOST_NAME].rstrip("-.")
    if "." in host and not spec.host_network:  # Then the hosts file is the node's.
        where = "spec.hostnameOverride" if spec.hostname_override else "spec.hostname"
        text = (
            f'{where}: "{host}" would also be a name of this pod for the sidecar that brings the '
            "data of its claims; set one without a dot"
        )
        raise Rejected(text, field=where)


def redirecting(container: JSONObject) -> str:
    """Where a container asks for power over the pod's network, as `.field`; empty: it does not."""
    return _power(msgspec.convert(container, _Container))


def _leading_elsewhere(spec: _Spec, domain: str) -> Iterator[str]:
    """Fields that the pod has to leave out."""
    if spec.host_aliases:
        yield "spec.hostAliases"
    if spec.dns_policy == "None":
        yield "spec.dnsPolicy"
    dns = spec.dns_config or _DNSConfig()
    if dns.nameservers:
        yield "spec.dnsConfig.nameservers"
    if any(not _is_below(search, domain) for search in dns.searches or ()):
        yield "spec.dnsConfig.searches"
    for index, option in enumerate(dns.options or ()):
        if not (_OPTION.fullmatch(option.name) and _VALUE.fullmatch(option.value or "")):
            yield f"spec.dnsConfig.options[{index}]"
    parts = ("containers", spec.containers), ("initContainers", spec.init_containers)
    for part, containers in parts:
        for index, container in enumerate(containers or ()):
            if where := _power(container):
                yield f"spec.{part}[{index}]{where}"


def _is_below(search: str, domain: str) -> bool:
    return bool(domain) and f".{search.rstrip('.')}".endswith(f".{domain}")


def _power(container: _Container) -> str:
    security = container.security_context or _Security()
    if security.privileged:
        return ".securityContext.privileged"
    added = (security.capabilities or _Capabilities()).add or ()
    if any(one.upper().removeprefix("CAP_") in _CAPABILITIES for one in added):
        return ".securityContext.capabilities.add"
    return ""
