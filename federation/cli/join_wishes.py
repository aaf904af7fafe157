"""What the options of `vnode join` ask for: checked, and put together.

In: options as they were given. Out: a `Plan`, a `Route` and a life. Reads the configuration and the
kubeconfig, and asks no cluster. What does not go together is a `PlanError`.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from federation.config import load_config
from federation.config.values import Duration
from federation.credential import SHORTEST_LIFE
from federation.join.credential import Route
from federation.join.plan import (
    Plan,
    PlanError,
    endpoint_of,
    mapping_of,
    plan_of,
    quotas_of,
)
from vnode.kube.kubeconfig import read_kubeconfig


@dataclass(frozen=True, slots=True, kw_only=True)
class Wishes:
    """What the options say about the plan."""

    config: Path | None
    tenant: str | None
    cluster: str | None
    namespaces: str | None
    same_names: bool
    on_demand: bool
    capacity_nodes: bool
    usage_kubelet: bool
    quota: Sequence[str]
    pod_security: str
    tenant_api_server: str | None
    tenant_uid: str | None

    def plan(self) -> Plan:
        """The plan. Raises PlanError or ConfigFileError."""
        server = endpoint_of(self.tenant_api_server) if self.tenant_api_server else None
        quotas = quotas_of(self.quota)
        if self.config is not None:
            return self._configured(self.config)
        if self.tenant is None or self.cluster is None:
            raise PlanError("which tenant and cluster? give --config, or --tenant and --cluster")
        names = [name for name in (self.namespaces or "").split(",") if name]
        mapping, tenants = mapping_of(self.tenant, names, same=self.same_names)
        return Plan(
            tenant=self.tenant,
            cluster=self.cluster,
            mapping=mapping,
            namespaces=tenants,
            on_demand=self.on_demand,
            capacity_nodes=self.capacity_nodes,
            usage_kubelet=self.usage_kubelet,
            pod_security=self.pod_security,
            quotas=quotas,
            api_server=server,
            tenant_uid=self.tenant_uid,
        )

    def _configured(self, file: Path) -> Plan:
        stated = {
            "--tenant": self.tenant,
            "--namespaces": self.namespaces,
            "--same-names": self.same_names,
            "--on-demand": self.on_demand,
        }
        for name, value in stated.items():
            exclude(True, value, "--config", name)
        settings = load_config(file)
        names = [each.name for each in settings.kubernetes_clusters]
        if self.cluster is None and len(names) > 1:
            raise PlanError(f"{file} has clusters {', '.join(names)}; choose one with --cluster")
        if not names:
            raise PlanError(f"{file} has no cluster of kind kubernetes, and others are not joined")
        name = self.cluster or names[0]
        found = [each for each in settings.kubernetes_clusters if each.name == name]
        if not found:
            raise PlanError(f'{file} has no cluster "{self.cluster}"; it has {", ".join(names)}')
        return plan_of(
            settings,
            found[0],
            pod_security=self.pod_security,
            quotas=quotas_of(self.quota),
            api_server=endpoint_of(self.tenant_api_server) if self.tenant_api_server else None,
            tenant_uid=self.tenant_uid,
            capacity_nodes=self.capacity_nodes,
            usage_kubelet=self.usage_kubelet,
        )


def route_of(kubeconfig: Path, context: str | None, server: str | None, ca: Path | None) -> Route:
    """The way that the agent takes: the administrator's, unless told otherwise."""
    own = read_kubeconfig(kubeconfig, context)
    if ca is None and not own.verify:
        raise PlanError(
            f"{kubeconfig} does not verify the API server, and the agent has to; give its CA with "
            "--ca"
        )
    return Route(
        server=server or own.server,
        ca=ca.read_bytes() if ca is not None else own.ca,
        tls_server_name=own.tls_server_name if server is None else None,
        proxy=own.proxy if server is None else None,
    )


def kubeconfig_of(given: Path | None, environment: str) -> Path:
    """The administrator's kubeconfig; `environment`: what KUBECONFIG says, a list as for kubectl.

    Raises PlanError for several: kubectl merges them, and this cluster may be in any of them.
    """
    if given is not None and str(given) != environment:
        return given
    files = [file for file in environment.split(os.pathsep) if file]
    if len(files) > 1:
        raise PlanError("KUBECONFIG names several files; name one with --kubeconfig")
    return Path(files[0]) if files else Path.home() / ".kube" / "config"


def check_place(file: Path) -> None:
    """Raises PlanError where no file can be put that its owner alone reads."""
    if not file.parent.is_dir():
        raise PlanError(f"--secret-file: there is no folder {file.parent}; make it")
    # Writing puts a new file in its place, which nobody wants of /dev/null or a link.
    if file.is_symlink() or (file.exists() and not file.is_file()):
        raise PlanError(
            f"--secret-file: {file} is no ordinary file; name another one, - for stdout"
        )


def seconds_of(text: str) -> float:
    """Raises PlanError for a life that no API server gives."""
    try:
        seconds: float = TypeAdapter(Duration).validate_python(text)
    except ValidationError:
        raise PlanError(f'--token-life "{text}" is no duration; write it like 24h') from None
    if seconds < SHORTEST_LIFE:
        raise PlanError(f"--token-life {text} is shorter than API servers allow; 10m or longer")
    return seconds


def exclude(one: object, other: object, first: str, second: str) -> None:
    """Refuse two options together; `first` and `second` are their names. Raises PlanError."""
    if one and other:
        raise PlanError(f"{second} does not go with {first}; leave one of them out")
