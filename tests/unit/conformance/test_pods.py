"""The audit log tells which tests had a kubelet work for them."""

from __future__ import annotations

import json
from typing import Any

from tests.conformance.kubernetes.pods import names_of_tests_with_pods

TEST = "[sig-node] Pods should run"


def _line(verb: str, user: str, *, agent: str = "kubelet", code: int = 201, **about: Any) -> str:
    return json.dumps(
        {
            "verb": verb,
            "user": {"username": user},
            "userAgent": agent,
            "objectRef": about,
            "responseStatus": {"code": code},
        }
    )


def _namespace(test: str = TEST, code: int = 201) -> str:
    agent = f"e2e.test/v1.36.3 (linux/amd64) kubernetes/abc -- {test}"
    return _line("create", "admin", agent=agent, code=code, resource="namespaces", name="pods-1")


def _status(user: str = "system:node:n", namespace: str = "pods-1", code: int = 200) -> str:
    about = {"resource": "pods", "subresource": "status", "namespace": namespace, "name": "p"}
    return _line("patch", user, code=code, **about)


def test_a_status_by_a_kubelet_in_the_tests_namespace_counts() -> None:
    assert names_of_tests_with_pods([_namespace(), _status()]) == {TEST}


def test_a_test_without_pods_does_not_count() -> None:
    assert names_of_tests_with_pods([_namespace()]) == set()


def test_statuses_of_others_do_not_count() -> None:
    others = [_status(user="admin"), _status(namespace="kube-system"), _status(code=404)]
    assert names_of_tests_with_pods([_namespace(), *others]) == set()


def test_a_namespace_that_was_not_made_belongs_to_nobody() -> None:
    assert names_of_tests_with_pods([_namespace(code=409), _status()]) == set()


def test_namespaces_that_no_test_made_do_not_count() -> None:
    assert names_of_tests_with_pods([_namespace(test=""), _status()]) == set()
