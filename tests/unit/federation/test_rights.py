"""The rights that a configuration needs are those that the manifests grant for it."""

from typing import Any

import yaml

from federation.config import AgentConfig, load_config
from federation.rights import Right, compute_rights, tenant_rights
from tests.agents.rights import DEPLOY, granted

CONFIG = DEPLOY / "tenant" / "config.yaml"
NAMESPACES = ("default", "team-a")
IN_NAMESPACE = {"demo--default", "demo--team-a"}

Granted = set[tuple[str, str, str, str | None, str]]


def configured(*, tenant: Any = None, cluster: Any = None, kubelet: Any = None) -> AgentConfig:
    """The configuration of deploy/, with changes."""
    document = yaml.safe_load(CONFIG.read_text())
    document["tenant"] |= tenant or {}
    document["clusters"][0] |= cluster or {}
    document["kubelet"] = kubelet or {}
    return AgentConfig.model_validate(document)


def needed(rights: tuple[Right, ...]) -> Granted:
    return {(r.verb, r.group, r.resource, r.namespace, r.name) for r in rights}


def role(name: str, *, namespaces: tuple[str | None, ...] = (None,), own: str = "demo") -> Granted:
    """What a role of the manifests grants where it is bound; `own`: of what differs in names."""
    rights = [r for r in granted() if r.role == name]
    assert rights, name
    found: Granted = set()
    for right in rights:
        names = [each.replace("*", own) for each in right.names] or [""]
        for namespace in (right.namespace,) if right.namespace else namespaces:
            found |= {(right.verb, right.group, right.resource, namespace, n) for n in names}
    return found


TENANT = (
    role("ClusterRole vnode")
    | role("Role vnode-leader-election")
    | role("Role vnode-node-leases")
    | role("Role vnode-node-events")
    | role("Role vnode-client-ca")
    | {(verb, "", "secrets", "vnode-system", "vnode-compute-gpu-a") for verb in ("get", "update")}
)
OWN_TOKEN = role("Role vnode-*")
ALWAYS = OWN_TOKEN | role("Role vnode-*-identity")
"""Of a cluster with prepared namespaces, whatever they are."""
SHARED = {"policy": {"pvc": "shared"}}
CLAIMS_IN_NAMESPACE = {
    (verb, "", "persistentvolumeclaims", namespace, "")
    for verb in ("get", "list", "watch")
    for namespace in NAMESPACES
}


def prepared() -> Granted:
    """Roles of prepared compute namespaces; a Role's right to get namespaces is for its own."""
    return {
        (verb, group, resource, namespace, namespace or "")
        if resource == "namespaces"
        else (verb, group, resource, namespace, name)
        for verb, group, resource, namespace, name in role(
            "Role vnode", namespaces=tuple(IN_NAMESPACE)
        )
    } | ALWAYS


def test_the_tenant_grants_what_is_needed_where_claims_are_shared() -> None:
    everything = TENANT | role("ClusterRole vnode-namespace", namespaces=NAMESPACES)
    config = configured(cluster=SHARED)

    assert needed(tenant_rights(config)) == everything | role("ClusterRole vnode-claims")


def test_claims_that_come_to_an_account_are_only_read() -> None:
    fluid = {"volumes": [{"driver": "d", "volumeHandles": ["a"]}]}
    account: dict[str, Any] = {
        "name": "burst",
        "kind": "eci",
        "region": "cn-beijing",
        "credentials": "key",
        "vSwitches": ["vsw-1"],
        "securityGroup": "sg-1",
        "pools": [{"limits": {"pods": "5"}}],
    }
    without = AgentConfig.model_validate({"tenant": {"name": "demo"}, "clusters": [account]})
    account["policy"] = {"fluid": fluid}
    config = AgentConfig.model_validate({"tenant": {"name": "demo"}, "clusters": [account]})

    more = {r for r in tenant_rights(config) if r not in set(tenant_rights(without))}
    assert {(r.verb, r.resource) for r in more} == {
        ("get", "persistentvolumeclaims"),
        ("list", "persistentvolumeclaims"),
        ("watch", "persistentvolumeclaims"),
        ("get", "persistentvolumes"),
    }


def test_without_claims_the_tenant_grants_nothing_else_too_many() -> None:
    everything = TENANT | role("ClusterRole vnode-namespace", namespaces=NAMESPACES)

    assert needed(tenant_rights(load_config(CONFIG))) == everything - CLAIMS_IN_NAMESPACE


def test_with_all_namespaces_the_rights_are_those_of_the_optional_role() -> None:
    config = configured(tenant={"namespaces": []}, cluster=SHARED)
    roles = ("vnode-namespace", "vnode-all-namespaces", "vnode-claims")

    assert needed(tenant_rights(config)) == TENANT.union(
        *(role(f"ClusterRole {name}") for name in roles)
    )


def test_who_asks_for_no_certificate_needs_no_right_to() -> None:
    config = configured(kubelet={"certificate": {"source": "selfSigned"}})

    assert not [r for r in tenant_rights(config) if r.group == "certificates.k8s.io"]


def test_prepared_namespaces_grant_what_is_needed() -> None:
    config = configured(cluster=SHARED)

    assert needed(compute_rights(config, config.kubernetes_clusters[0], NAMESPACES)) == prepared()


def test_without_claims_only_their_right_is_not_needed() -> None:
    config = load_config(CONFIG)
    rights = needed(compute_rights(config, config.kubernetes_clusters[0], NAMESPACES))

    assert {resource for _, _, resource, _, _ in prepared() - rights} == {"persistentvolumeclaims"}
    assert rights < prepared()


def test_namespaces_on_demand_need_what_their_role_grants() -> None:
    pool = {"capacity": {"sources": ["static", "quota"], "static": {"pods": "10"}}}
    config = configured(
        tenant={"namespaces": []},
        cluster=SHARED
        | {"namespaces": {"create": "OnDemand", "reclaim": "Delete"}, "pools": [pool]},
    )
    rights = needed(compute_rights(config, config.kubernetes_clusters[0], NAMESPACES))

    assert rights == role("ClusterRole vnode-*-on-demand") | OWN_TOKEN


def test_nodes_and_kubelets_need_the_optional_roles() -> None:
    pool = {"capacity": {"sources": ["nodes"]}}
    config = configured(cluster={"usage": "kubelet", "pools": [pool]})
    rights = needed(compute_rights(config, config.kubernetes_clusters[0], ()))

    assert rights - ALWAYS == role("ClusterRole vnode-*-capacity") | role(
        "ClusterRole vnode-*-usage"
    )


def test_claims_through_fluid_need_the_roles_of_it() -> None:
    fluid: dict[str, Any] = {"profiles": ["p"]}
    config = configured(cluster={"policy": {"pvc": "fluid", "fluid": fluid}})
    places = tuple(IN_NAMESPACE)
    prepared_volumes = needed(compute_rights(config, config.kubernetes_clusters[0], NAMESPACES))

    datasets = role("Role vnode-fluid", namespaces=places)
    assert prepared_volumes == prepared() | datasets

    fluid["volumes"] = [{"driver": "d", "volumeHandles": ["a"]}]
    config = configured(cluster={"policy": {"pvc": "fluid", "fluid": fluid}})
    everything = needed(compute_rights(config, config.kubernetes_clusters[0], NAMESPACES))
    copies = role("Role vnode-fluid-claims", namespaces=places) | role(
        "ClusterRole vnode-*-volumes"
    )
    assert everything == prepared() | datasets | copies

    fluid["dialect"] = "ack"
    config = configured(cluster={"policy": {"pvc": "fluid", "fluid": fluid}})
    wrapped = needed(compute_rights(config, config.kubernetes_clusters[0], NAMESPACES))
    assert wrapped == prepared() | copies


def test_a_right_says_where_and_on_what() -> None:
    right = Right("get", "pods", "kubectl top", group="metrics.k8s.io", namespace="a", name="b")

    assert str(right) == "get pods.metrics.k8s.io b in namespace a"
