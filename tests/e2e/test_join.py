"""`vnode join` against a real cluster: what it makes, what it refuses, and what it never shows."""

from __future__ import annotations

import base64
import json
import stat
import subprocess
import sys
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from tests.agents.join import DEPLOY, vnode_join
from tests.clusters.errors import CommandError
from tests.e2e.conftest import KWOK

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.agents import Federation
    from tests.clusters import Cluster

CLUSTER = "gpu-a"
UID = "--tenant-uid=one"


@pytest.fixture
def cluster(federation: Federation) -> Cluster:
    """A compute cluster that others use too."""
    return federation.computes[KWOK[1]]


@pytest.fixture
def name(request: pytest.FixtureRequest, cluster: Cluster) -> Iterator[str]:
    """A tenant that is there for one test only."""
    name = f"t{zlib.crc32(request.node.name.encode())}"
    yield name
    mine = f"--selector=vnode.dev/tenant={name}"
    policies = "validatingadmissionpolicies,validatingadmissionpolicybindings"
    kinds = f"namespaces,clusterroles,clusterrolebindings,{policies}"
    cluster.kubectl("delete", kinds, mine, "--wait=false")
    for namespace in ("vnode-system", "kube-system"):
        kinds = "serviceaccounts,roles,rolebindings"
        cluster.kubectl("delete", kinds, mine, f"--namespace={namespace}")


def arguments(name: str, *more: str) -> list[str]:
    return [f"--tenant={name}", f"--cluster={CLUSTER}", "--namespaces=team-a,team-b", *more]


def results(cluster: Cluster, name: str, *more: str, **how: Any) -> dict[tuple[str, ...], str]:
    """What became of each object."""
    shown = json.loads(vnode_join(cluster, *arguments(name, "--output=json", *more), **how))
    return {(o["kind"], o["namespace"], o["name"]): o["result"] for o in shown["objects"]}


def refusal(cluster: Cluster, *all_arguments: str, **how: Any) -> str:
    with pytest.raises(CommandError) as error:
        vnode_join(cluster, *all_arguments, **how)
    return str(error.value)


def made(cluster: Cluster, name: str) -> list[str]:
    """Namespaces and accounts of a tenant."""
    mine = f"--selector=vnode.dev/tenant={name}"
    found = cluster.kubectl("get", "namespaces", mine, "-o", "name").split()
    account = ("get", "serviceaccounts", "--namespace=vnode-system", mine, "-o", "name")
    return [*found, *cluster.kubectl(*account).split()]


def test_a_dry_run_says_what_would_be_made_and_makes_nothing(cluster: Cluster, name: str) -> None:
    table = vnode_join(cluster, *arguments(name, "--dry-run"))
    assert made(cluster, name) == []
    lines = [line.split(maxsplit=3) for line in table.splitlines()]
    assert lines[0] == ["KIND", "NAMESPACE", "NAME", "RESULT"]
    assert ["Namespace", "-", f"{name}--team-a", "would be created"] in lines


def test_the_second_run_finds_all_unchanged_and_another_quota_is_a_change(
    cluster: Cluster, name: str
) -> None:
    first = results(cluster, name)
    assert first["Namespace", "", f"{name}--team-b"] == "created"
    assert set(results(cluster, name).values()) == {"unchanged"}
    more = "--quota=team-b:pods=7,requests.cpu=3"
    for arguments_ in ((more, "--dry-run"), (more,)):
        changed = {
            key for key, what in results(cluster, name, *arguments_).items() if what != "unchanged"
        }
        assert changed == {("ResourceQuota", f"{name}--team-b", "vnode")}
    quota = cluster.kubectl(
        "get", "quota", "vnode", f"--namespace={name}--team-b", "-o", "jsonpath={.spec.hard}"
    )
    assert json.loads(quota) == {"pods": "7", "requests.cpu": "3"}


def test_what_is_printed_is_what_is_made(cluster: Cluster, name: str) -> None:
    program = str(Path(sys.executable).with_name("vnode"))
    command = [program, "join", *arguments(name, "--print")]
    done = subprocess.run(
        command, capture_output=True, text=True, check=True, timeout=60, env={"HOME": "/nowhere"}
    )
    assert done.stderr == ""
    cluster.kubectl("apply", "--server-side", "--filename=-", input=done.stdout)
    assert set(results(cluster, name).values()) == {"unchanged"}


def test_the_secret_goes_to_a_file_of_its_owner_and_the_token_nowhere_else(
    cluster: Cluster, name: str, scratch: Path
) -> None:
    file = scratch / "secret.yaml"
    file.write_text("before")
    file.chmod(0o644)
    shown = vnode_join(cluster, *arguments(name, UID, f"--secret-file={file}"))
    secret, role, _ = yaml.safe_load_all(file.read_text())
    token = _token(secret)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert token not in shown
    assert "kubeconfigSecret: vnode-compute-gpu-a" in shown
    assert secret["metadata"]["name"] == "vnode-compute-gpu-a"
    assert role["rules"][0]["resourceNames"] == ["vnode-compute-gpu-a"]
    assert list(scratch.iterdir()) == [file]
    # It is a credential, of the agent's account and no other.
    me = cluster.kubectl(
        *("auth", "whoami", "-o", "jsonpath={.status.userInfo.username}"),
        kubeconfig=cluster.kubeconfig_for_token(token, scratch / "me"),
    )
    assert me == f"system:serviceaccount:vnode-system:vnode-{name}"


def test_on_stdout_the_secret_is_alone(cluster: Cluster, name: str) -> None:
    shown = vnode_join(cluster, *arguments(name, UID, "--secret-file=-"))
    kinds = [each["kind"] for each in yaml.safe_load_all(shown)]
    assert kinds == ["Secret", "Role", "RoleBinding"]


def _token(secret: Any) -> str:
    kubeconfig = yaml.safe_load(base64.b64decode(secret["data"]["kubeconfig"]))
    return str(kubeconfig["users"][0]["user"]["token"])


@pytest.mark.parametrize("labels", ["{}", '{"vnode.dev/tenant":"somebody"}'], ids=["no", "other"])
def test_a_namespace_of_somebody_else_is_an_error_and_nothing_is_made(
    cluster: Cluster, name: str, labels: str
) -> None:
    theirs = f"{name}--team-b"
    metadata = {"name": theirs, "labels": json.loads(labels)}
    body = {"apiVersion": "v1", "kind": "Namespace", "metadata": metadata}
    cluster.kubectl("create", "--filename=-", input=json.dumps(body))
    try:
        said = refusal(cluster, *arguments(name))
        assert f"Namespace {theirs} exists and" in said
        assert "nothing changed" in said
        assert "Traceback" not in said
        assert made(cluster, name) == []
    finally:
        cluster.kubectl("delete", "namespace", theirs, "--wait=false")


def test_an_object_of_somebody_else_is_an_error_too(cluster: Cluster, name: str) -> None:
    vnode_join(cluster, *arguments(name))
    place = f"--namespace={name}--team-a"
    cluster.kubectl("delete", "role", "vnode", place)
    cluster.kubectl("create", "role", "vnode", "--verb=get", "--resource=pods", place)
    said = refusal(cluster, *arguments(name, "--quota=pods=1"))
    assert f"Role {name}--team-a/vnode exists and is not made by vnode" in said
    quota = cluster.kubectl("get", "quota", "vnode", place, "-o", "jsonpath={.spec.hard.pods}")
    assert quota == "1k", "nothing else is changed either"


def test_a_namespace_of_another_tenant_cluster_is_refused(cluster: Cluster, name: str) -> None:
    vnode_join(cluster, *arguments(name, "--tenant-uid=one"))
    said = refusal(cluster, *arguments(name, "--tenant-uid=two"))
    assert "is another tenant's (vnode.dev/cluster-uid: one, not two)" in said
    # Who does not say which tenant cluster it is takes nothing away.
    assert set(results(cluster, name).values()) == {"unchanged"}
    assert set(results(cluster, name, "--tenant-uid=one").values()) == {"unchanged"}


def test_another_tenant_cluster_of_that_name_gets_no_token(
    cluster: Cluster, name: str, scratch: Path
) -> None:
    file = scratch / "secret.yaml"
    own = [f"--tenant={name}", f"--cluster={CLUSTER}", f"--secret-file={file}"]
    assert "give --tenant-uid" in refusal(cluster, *own, "--namespaces=team-a")
    assert made(cluster, name) == []
    vnode_join(cluster, *own, "--namespaces=team-a", "--tenant-uid=one")
    file.unlink()
    for more in ("--namespaces=others", "--on-demand"):
        said = refusal(cluster, *own, more, "--tenant-uid=two")
        assert f"ServiceAccount vnode-system/vnode-{name} is another tenant's" in said
    assert not file.exists()


def test_what_a_narrower_join_leaves_is_named_and_its_commands_remove_it(
    cluster: Cluster, name: str
) -> None:
    vnode_join(cluster, *arguments(name, "--usage-kubelet"))
    narrow = (f"--tenant={name}", f"--cluster={CLUSTER}", "--namespaces=team-a")
    shown = vnode_join(cluster, *narrow, "--dry-run").splitlines()
    removals = [line.partition("  #")[0].split()[1:] for line in shown if "kubectl delete" in line]
    assert ["delete", "clusterrolebindings", f"vnode-{name}-usage"] in removals
    assert ["delete", "namespaces", f"{name}--team-b"] in removals
    for removal in removals:
        cluster.kubectl(*removal)
    assert "kubectl delete" not in vnode_join(cluster, *narrow)


def test_a_field_that_somebody_else_set_is_named_and_stays(cluster: Cluster, name: str) -> None:
    vnode_join(cluster, *arguments(name))
    place = f"--namespace={name}--team-a"
    patch = '{"spec":{"hard":{"pods":"5"}}}'
    cluster.kubectl("patch", "quota", "vnode", place, "--patch", patch)
    for more in ((), ("--dry-run",)):
        said = refusal(cluster, *arguments(name, *more))
        assert f"ResourceQuota {name}--team-a/vnode: somebody else set .spec.hard.pods" in said
        assert "kubectl-patch" in said
    # The way out that it names, and the other one.
    printed = vnode_join(cluster, *arguments(name, "--print"))
    force = ("--server-side", "--force-conflicts", "--field-manager=vnode-join", "--filename=-")
    cluster.kubectl("apply", *force, input=printed)
    assert set(results(cluster, name).values()) == {"unchanged"}
    cluster.kubectl("patch", "quota", "vnode", place, "--patch", patch)
    what = results(cluster, name, "--quota=team-a:pods=5")
    assert what["ResourceQuota", f"{name}--team-a", "vnode"] == "changed"


def test_who_may_not_grant_rights_is_told_what_is_missing(
    cluster: Cluster, name: str, scratch: Path
) -> None:
    account = ("serviceaccount", name, "--namespace=default")
    role = ("clusterrole", f"{name}-deputy")
    cluster.kubectl("create", *account)
    kinds = (
        "namespaces,serviceaccounts,roles,rolebindings,resourcequotas,limitranges,networkpolicies"
    )
    verbs = "--verb=get,list,create,patch"
    cluster.kubectl("create", *role, verbs, f"--resource={kinds}")
    binding = ("clusterrolebinding", f"{name}-deputy")
    user = f"--serviceaccount=default:{name}"
    cluster.kubectl("create", *binding, f"--clusterrole={role[1]}", user)
    try:
        deputy = cluster.service_account_kubeconfig("default", name, scratch / "deputy")
        said = refusal(cluster, *arguments(name), kubeconfig=deputy)
        assert f"Role kube-system/vnode-{name}-identity" not in said, "a right that it has itself"
        assert f"Role vnode-system/vnode-{name}:" in said
        assert "attempting to grant RBAC permissions not currently held" in said
        assert "escalate" in said
        assert "nothing changed" in said
        assert made(cluster, name) == []
        nobody = cluster.service_account_kubeconfig("vnode-system", "default", scratch / "nobody")
        said = refusal(cluster, *arguments(name), kubeconfig=nobody)
        assert "as an administrator of the compute cluster" in said
    finally:
        for each in (binding, role, account):
            cluster.kubectl("delete", *each)


def test_the_agent_may_make_no_token_but_its_own(
    cluster: Cluster, name: str, scratch: Path
) -> None:
    file = scratch / "secret.yaml"
    vnode_join(cluster, *arguments(name, UID, f"--secret-file={file}"))
    token = _token(next(iter(yaml.safe_load_all(file.read_text()))))
    own = cluster.kubeconfig_for_token(token, scratch / "own")

    def create(account: str) -> str:
        command = ("create", "token", account, "--namespace=vnode-system", "--duration=10m")
        return cluster.kubectl(*command, kubeconfig=own, check=False)

    assert create(f"vnode-{name}").startswith("ey")
    assert "cannot create resource" in create("vnode-demo")
    assert "cannot create resource" in create("default")


def test_the_commands_of_the_manual_do_what_it_says(
    cluster: Cluster, name: str, scratch: Path
) -> None:
    """Each `vnode join` of deploy/README.md, for a tenant that is not `demo`, and its removal."""
    config = (DEPLOY / "tenant" / "config.yaml").read_text().replace("demo", name)
    (scratch / "config.yaml").write_text(config)
    manual = (DEPLOY / "README.md").read_text().replace("demo", name)
    manual = manual.replace("deploy/tenant/config.yaml", str(scratch / "config.yaml"))
    manual = manual.replace("$TENANT_UID", "one")
    lines = [line.strip().split() for line in manual.splitlines()]
    joins = [line[2:] for line in lines if line[:2] == ["vnode", "join"]]
    removals = [line[1:] for line in lines if f"vnode.dev/tenant={name}" in line]
    assert len(joins) >= 4
    assert len(removals) == 4
    for line in joins:
        vnode_join(cluster, *line, cwd=scratch)
    kept = scratch / "gpu-a.secret.yaml"
    assert next(yaml.safe_load_all(kept.read_text()))["kind"] == "Secret"
    policy = ("get", "validatingadmissionpolicies", f"vnode-{name}-fence", "-o", "name")
    assert cluster.kubectl(*policy).strip().endswith(f"vnode-{name}-fence")
    for line in removals:
        cluster.kubectl(*line, "--wait=false")
    left = cluster.kubectl(
        "get", "clusterroles", f"--selector=vnode.dev/tenant={name}", "-o", "name"
    )
    assert left == ""
