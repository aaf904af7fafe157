"""What an audit log says about the rights of an agent."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.agents.rights import Request, Right, Seen, gathered, granted, leave, seen_in

MANIFEST = "join/namespace-rbac.yaml"
AGENT = "system:serviceaccount:vnode-system:vnode-demo"
LOGS = Right(MANIFEST, "Role vnode", "get", "", "pods/log")
OWN_CLUSTER = Right(
    "join/identity.yaml",
    "Role vnode-*-identity",
    "get",
    "",
    "namespaces",
    "kube-system",
    ("kube-system",),
)
OWN_TOKEN = Right(
    "join/account.yaml",
    "Role vnode-*",
    "create",
    "",
    "serviceaccounts/token",
    "vnode-system",
    ("vnode-*",),
)
RIGHTS = frozenset(
    {
        LOGS,
        OWN_TOKEN,
        OWN_CLUSTER,
        Right(MANIFEST, "Role vnode", "get", "", "namespaces"),
        Right("other.yaml", "ClusterRole vnode-all", "get", "", "namespaces"),
    }
)


def entry(verb: str = "get", resource: str = "pods", **changes: Any) -> str:
    """A line of an audit log; `role` as it stands in RBAC's reason, None: refused."""
    resource, _, subresource = resource.partition("/")
    role = changes.pop("role", 'Role "vnode"')
    bound = f'RBAC: allowed by RoleBinding "vnode/a" of {role} to ServiceAccount "vnode-demo/v"'
    notes = {"decision": "allow" if role else "forbid", "reason": bound if role else ""}
    ref = {
        "resource": resource,
        "subresource": subresource,
        "namespace": changes.pop("namespace", "a"),
    }
    ref["name"] = changes.pop("name", "x")
    line = {
        "verb": verb,
        "user": {"username": changes.pop("user", AGENT)},
        "userAgent": changes.pop("agent", "vnode/0.1.0"),
        "objectRef": ref,
        "annotations": {f"authorization.k8s.io/{key}": value for key, value in notes.items()},
    }
    return json.dumps(line | changes) + "\n"


def test_a_request_uses_the_right_of_the_role_that_allowed_it() -> None:
    assert seen_in([entry(resource="pods/log")], RIGHTS).used == {LOGS}
    other = entry(resource="namespaces", role='ClusterRole "vnode-all"')
    assert {right.role for right in seen_in([other], RIGHTS).used} == {"ClusterRole vnode-all"}


def test_what_a_narrow_right_allows_needs_no_wide_one() -> None:
    asked = entry(
        resource="namespaces",
        namespace="kube-system",
        name="kube-system",
        role='ClusterRole "vnode-all"',
    )
    assert seen_in([asked], RIGHTS).used == {OWN_CLUSTER}


def test_rights_of_all_tenants_are_one_right() -> None:
    asked = entry(
        "create",
        "serviceaccounts/token",
        namespace="vnode-system",
        name="vnode-blue",
        role='Role "vnode-blue"',
    )
    assert seen_in([asked], RIGHTS).used == {OWN_TOKEN}


@pytest.mark.parametrize(
    "line",
    [
        entry(resource="pods/log", agent="kubectl/v1.36.0"),
        entry(resource="pods/log", user="system:admin"),
        entry(role=None, agent="kubectl/v1.36.0"),
    ],
)
def test_what_others_do_says_nothing(line: str) -> None:
    assert seen_in([line], RIGHTS) == Seen()


def test_a_line_that_is_being_written_says_nothing_yet() -> None:
    whole, cut = entry(resource="pods/log"), entry(resource="namespaces")[:-20]
    assert seen_in([whole, cut], RIGHTS).used == {LOGS}


def test_a_refusal_is_a_right_that_is_missing() -> None:
    seen = seen_in([entry("list", role=None, name="")] * 2, RIGHTS)
    assert seen.lacked == {Request("list", "", "pods", ""): 2}


def test_a_refusal_of_what_is_allowed_another_time_is_none() -> None:
    assert not seen_in([entry(role=None, name="b"), entry()], RIGHTS).lacked
    assert seen_in([entry(role=None), entry(namespace="b")], RIGHTS).lacked


def test_what_is_left_in_a_folder_is_gathered_again(tmp_path: Path) -> None:
    lines = [entry(resource="pods/log"), entry("list", role=None, name="")]
    leave(seen_in(lines, RIGHTS), tmp_path / "1.json")
    leave(seen_in(lines, RIGHTS), tmp_path / "2.json")
    seen = gathered(tmp_path)
    assert seen.used == {LOGS}
    assert seen.lacked == {Request("list", "", "pods", ""): 2}


def test_the_rights_of_the_manifests_are_found() -> None:
    found = granted()
    assert LOGS in found
    assert OWN_CLUSTER in found
    assert OWN_TOKEN in found
    assert {right.manifest.partition("/")[0] for right in found} == {"deploy", "join"}
