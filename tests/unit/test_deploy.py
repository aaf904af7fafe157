"""The manifests: consistent with each other and the configuration, and no right too many."""

import re
from functools import cache
from pathlib import Path

import pytest
import yaml

from federation.config import load_config
from federation.credential import SECRET_KEY
from federation.join.credential import configuration
from federation.join.plan import plan_of
from tests.clusters.agent_image import CONTAINERFILE
from tests.clusters.agent_image import NAME as IMAGE_NAME
from tests.clusters.containerfile import parse

DEPLOY = Path(__file__).parents[2] / "deploy"
FILES = sorted(file for file in DEPLOY.rglob("*.yaml") if file.parent.name != "kind")
"""Manifests; those in kind/ configure that program."""
OPTIONAL = {
    "claims.yaml",
    "daemonsets-policy.yaml",
    "rbac-all-namespaces.yaml",
}
CONFIG = load_config(DEPLOY / "tenant/config.yaml")


def relative(path: Path) -> str:
    return str(path.relative_to(DEPLOY))


@cache
def documents(path: Path) -> list[dict[str, object]]:
    return list(yaml.load_all(path.read_text(encoding="utf-8"), Loader=yaml.CSafeLoader))


def objects(folder: str, kind: str, *, optional: bool = False) -> list[dict[str, object]]:
    """Objects of a kind below a folder of deploy/."""
    return [
        found
        for path in sorted((DEPLOY / folder).rglob("*.yaml"))
        if optional or path.name not in OPTIONAL
        for found in documents(path)
        if found.get("kind") == kind
    ]


def at(value: object, *path: str | int) -> object:
    """The value at a path of keys and indexes; None where there is none."""
    for step in path:
        if isinstance(value, dict):
            value = value.get(step)
        elif isinstance(value, list) and isinstance(step, int) and step < len(value):
            value = value[step]
        else:
            return None
    return value


def items(value: object, *path: str | int) -> list[object]:
    found = at(value, *path)
    assert isinstance(found, list), path
    return found


def items_of(value: object, *path: str | int) -> dict[str, object]:
    found = at(value, *path)
    assert isinstance(found, dict), path
    return found


def names(found: list[dict[str, object]]) -> set[object]:
    return {at(each, "metadata", "name") for each in found}


def rules() -> list[object]:
    """Every rule, named by role."""
    return [
        pytest.param(rule, id=f"{at(role, 'metadata', 'name')}-{number}")
        for kind in ("Role", "ClusterRole")
        for role in objects("tenant", kind, optional=True)
        for number, rule in enumerate(items(role, "rules"))
    ]


def bindings() -> list[dict[str, object]]:
    return [
        binding
        for kind in ("RoleBinding", "ClusterRoleBinding")
        for binding in objects("tenant", kind, optional=True)
    ]


@pytest.mark.parametrize("path", FILES, ids=relative)
def test_every_document_has_a_kind_and_a_name(path: Path) -> None:
    if path.name in ("kustomization.yaml", "config.yaml"):
        return
    for document in documents(path):
        assert document["apiVersion"]
        assert document["kind"]
        assert at(document, "metadata", "name")


@pytest.mark.parametrize("path", FILES, ids=relative)
def test_every_file_is_used_or_optional(path: Path) -> None:
    """A kustomization lists its folder's files; optional ones are applied by hand."""
    if path.name == "kustomization.yaml":
        return
    (kustomization,) = documents(path.parent / "kustomization.yaml")
    listed = items(kustomization, "resources")
    generated = at(kustomization, "configMapGenerator", 0, "files") or []
    assert isinstance(generated, list)

    assert (path.name in [*listed, *generated]) is (path.name not in OPTIONAL)


class TestRights:
    @pytest.mark.parametrize("rule", rules())
    def test_nothing_is_granted_by_a_wildcard(self, rule: object) -> None:
        for field in ("apiGroups", "resources", "verbs"):
            assert "*" not in items(rule, field)

    @pytest.mark.parametrize("rule", rules())
    def test_no_right_leads_to_more_rights(self, rule: object) -> None:
        dangerous = {"escalate", "bind", "impersonate", "approve", "sign", "deletecollection"}

        assert dangerous.isdisjoint(items(rule, "verbs"))

    def test_only_our_own_roles_are_bound_and_only_to_our_own_accounts(self) -> None:
        own = {
            name
            for kind in ("Role", "ClusterRole")
            for name in names(objects("tenant", kind, optional=True))
        }
        accounts = names(objects("tenant", "ServiceAccount"))

        for binding in bindings():
            assert at(binding, "roleRef", "name") in own
            (subject,) = items(binding, "subjects")
            assert at(subject, "kind") == "ServiceAccount"
            assert at(subject, "namespace") == "vnode-system"
            assert at(subject, "name") in accounts

    def test_the_agent_asks_for_certificates_and_can_neither_approve_nor_remove_requests(
        self,
    ) -> None:
        rules = [rule for role in objects("tenant", "ClusterRole") for rule in items(role, "rules")]
        about_certificates = [
            rule for rule in rules if "certificates.k8s.io" in items(rule, "apiGroups")
        ]

        assert about_certificates == [
            {
                "apiGroups": ["certificates.k8s.io"],
                "resources": ["certificatesigningrequests"],
                "verbs": ["create", "get", "list"],
            }
        ]

    def test_secrets_of_the_tenant_are_read_in_listed_namespaces_only(self) -> None:
        (cluster_wide,) = objects("tenant", "ClusterRoleBinding")
        role = at(cluster_wide, "roleRef", "name")
        (granted,) = [r for r in objects("tenant", "ClusterRole") if names([r]) == {role}]
        resources = {name for rule in items(granted, "rules") for name in items(rule, "resources")}

        assert resources == {
            "nodes", "nodes/status", "namespaces", "tokenreviews", "subjectaccessreviews",
            "certificatesigningrequests",
        }  # fmt: skip

    @pytest.mark.parametrize(
        "path",
        [path for path in FILES if any("rules" in each for each in documents(path))],
        ids=relative,
    )
    def test_every_right_says_why(self, path: Path) -> None:
        lines = path.read_text(encoding="utf-8").splitlines()
        starts = [number for number, line in enumerate(lines) if line.startswith("- apiGroups:")]

        assert starts
        for number in starts:
            assert lines[number - 1].startswith("#"), f"{path.name}:{number + 1}"


class TestTenant:
    def test_namespaces_of_configuration_labels_and_rights_agree(self) -> None:
        configured = set(CONFIG.tenant.namespaces)
        enabled = {
            at(namespace, "metadata", "name")
            for namespace in objects("tenant", "Namespace")
            if at(namespace, "metadata", "labels", "vnode.dev/virtual-nodes") == "enabled"
        }
        granted = {
            at(binding, "metadata", "namespace")
            for binding in objects("tenant", "RoleBinding")
            if at(binding, "roleRef", "name") == "vnode-namespace"
        }

        assert configured == enabled == granted

    def test_every_kubeconfig_of_the_configuration_is_mounted_from_the_secret_it_names(
        self,
    ) -> None:
        (deployment,) = objects("tenant", "Deployment")
        spec = at(deployment, "spec", "template", "spec")
        sources = items(spec, "volumes", 0, "projected", "sources")
        mounted = {
            f"{at(spec, 'containers', 0, 'volumeMounts', 0, 'mountPath')}/{at(item, 'path')}": (
                at(source, "secret", "name"),
                at(item, "key"),
            )
            for source in sources
            if at(source, "secret")
            for item in items(source, "secret", "items")
        }

        assert mounted == {
            str(cluster.kubeconfig): (cluster.kubeconfig_secret, SECRET_KEY)
            for cluster in CONFIG.kubernetes_clusters
        }

    def test_what_join_says_of_the_configuration_is_what_stands_there(self) -> None:
        for cluster in CONFIG.kubernetes_clusters:
            (said,) = items(configuration(plan_of(CONFIG, cluster)), "clusters")
            assert at(said, "name") == cluster.name
            assert at(said, "kubeconfig") == str(cluster.kubeconfig)
            assert at(said, "kubeconfigSecret") == cluster.kubeconfig_secret

    def test_the_agent_runs_with_the_least_privileges(self) -> None:
        (deployment,) = objects("tenant", "Deployment")
        spec = at(deployment, "spec", "template", "spec")
        container = at(spec, "containers", 0)

        assert at(spec, "securityContext", "runAsNonRoot") is True
        assert at(spec, "securityContext", "seccompProfile", "type") == "RuntimeDefault"
        assert at(container, "securityContext") == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert at(spec, "hostNetwork") is None

    def test_the_agent_has_two_replicas_and_knows_its_name_and_address(self) -> None:
        (deployment,) = objects("tenant", "Deployment")
        container = at(deployment, "spec", "template", "spec", "containers", 0)
        environment = {at(each, "name") for each in items(container, "env")}

        assert at(deployment, "spec", "replicas") == 2
        assert environment == {"POD_NAME", "POD_IP"}
        assert items(container, "args")[0] == "run"

    def test_the_deployment_runs_our_image_as_the_image_expects_it(self) -> None:
        (deployment,) = objects("tenant", "Deployment")
        spec = at(deployment, "spec", "template", "spec")
        image = parse(CONTAINERFILE.read_text())[-1]
        context = items_of(spec, "securityContext")

        assert f"docker.io/library/{at(spec, 'containers', 0, 'image')}" == IMAGE_NAME
        assert at(spec, "containers", 0, "command") is None
        assert image.entrypoint[-1].endswith("/vnode")
        assert image.user == f"{context['runAsUser']}:{context['runAsGroup']}"

    def test_probes_ask_the_port_that_the_agent_is_told_to_serve(self) -> None:
        (deployment,) = objects("tenant", "Deployment")
        container = at(deployment, "spec", "template", "spec", "containers", 0)
        arguments = items(container, "args")
        ports = {at(port, "name"): at(port, "containerPort") for port in items(container, "ports")}
        probes = {
            name: at(container, name, "httpGet") for name in ("livenessProbe", "readinessProbe")
        }

        assert arguments[arguments.index("--health-port") + 1] == str(ports["health"])
        assert probes == {
            "livenessProbe": {"path": "/livez", "port": "health"},
            "readinessProbe": {"path": "/readyz", "port": "health"},
        }
        assert ports["kubelet"] == CONFIG.kubelet.base_port != ports["health"]

    def test_a_replica_that_can_take_over_is_there_before_one_goes(self) -> None:
        (deployment,) = objects("tenant", "Deployment")
        (budget,) = objects("tenant", "PodDisruptionBudget")
        labels = at(deployment, "spec", "selector", "matchLabels")

        assert at(deployment, "spec", "strategy", "rollingUpdate") == {
            "maxSurge": 1,
            "maxUnavailable": 0,
        }
        assert at(budget, "spec", "selector", "matchLabels") == labels
        assert at(budget, "spec", "maxUnavailable") == 1

    def test_the_namespace_has_a_quota_for_the_priority_of_the_agent(self) -> None:
        (deployment,) = objects("tenant", "Deployment")
        (quota,) = objects("tenant", "ResourceQuota")
        priority = at(deployment, "spec", "template", "spec", "priorityClassName")

        assert items(quota, "spec", "scopeSelector", "matchExpressions") == [
            {"scopeName": "PriorityClass", "operator": "In", "values": [priority]}
        ]

    def test_leases_are_granted_where_the_configuration_puts_them(self) -> None:
        granted = {
            at(role, "metadata", "namespace")
            for role in objects("tenant", "Role")
            for rule in items(role, "rules")
            if "leases" in items(rule, "resources")
        }

        assert granted == {CONFIG.leader_election.namespace, "kube-node-lease"}

    def test_the_policy_removes_only_default_limits_one_patch_per_entry(self) -> None:
        (policy,) = objects("tenant", "MutatingAdmissionPolicy")
        expressions = [
            str(at(mutation, "jsonPatch", "expression"))
            for mutation in items(policy, "spec", "mutations")
        ]
        (removal,) = [each for each in expressions if '"remove"' in each]

        assert "== 300" in removal
        assert '/tolerationSeconds"' in removal
        # Replacing the whole list makes the API server of 1.36 panic.
        assert not any('op: "replace"' in each for each in expressions)

    def test_the_policy_acts_where_the_namespaces_ask_for_it(self) -> None:
        (policy,) = objects("tenant", "MutatingAdmissionPolicy")
        (binding,) = objects("tenant", "MutatingAdmissionPolicyBinding")

        assert at(binding, "spec", "policyName") == at(policy, "metadata", "name")
        assert at(binding, "spec", "matchResources", "namespaceSelector", "matchLabels") == {
            "vnode.dev/virtual-nodes": "enabled"
        }


def test_the_readme_names_every_optional_file() -> None:
    readme = (DEPLOY / "README.md").read_text(encoding="utf-8")

    for name in OPTIONAL:
        assert re.search(rf"`\w+/{re.escape(name)}`", readme), name
