"""The audit log tells which tests start pods."""

from __future__ import annotations

import json
from typing import Any

from tests.conformance.kubernetes.pods import names_of_tests_with_pods

TEST = "[sig-node] Pods should run"


def _line(*, agent: str = "kubelet", code: int = 201, query: str = "", **about: Any) -> str:
    return json.dumps(
        {
            "verb": "create",
            "userAgent": agent,
            "requestURI": f"/api/v1/{about['resource']}{query}",
            "objectRef": about,
            "responseStatus": {"code": code},
        }
    )


def _namespace(test: str = TEST, code: int = 201) -> str:
    agent = f"e2e.test/v1.36.3 (linux/amd64) kubernetes/abc -- {test}"
    return _line(agent=agent, code=code, resource="namespaces", name="pods-1")


def _pod(namespace: str = "pods-1", code: int = 201, query: str = "", **more: Any) -> str:
    return _line(code=code, query=query, resource="pods", namespace=namespace, **more)


def test_a_pod_that_anybody_creates_in_the_tests_namespace_counts() -> None:
    assert names_of_tests_with_pods([_namespace(), _pod()]) == {TEST}


def test_a_test_without_pods_does_not_count() -> None:
    assert names_of_tests_with_pods([_namespace()]) == set()


def test_pods_that_never_came_to_be_do_not_count() -> None:
    never = [_pod(code=403), _pod(query="?dryRun=All"), _pod(subresource="eviction")]
    assert names_of_tests_with_pods([_namespace(), *never]) == set()


def test_pods_elsewhere_do_not_count() -> None:
    assert names_of_tests_with_pods([_namespace(), _pod(namespace="kube-system")]) == set()


def test_a_namespace_that_was_not_made_belongs_to_nobody() -> None:
    assert names_of_tests_with_pods([_namespace(code=409), _pod()]) == set()


def test_namespaces_that_no_test_made_do_not_count() -> None:
    assert names_of_tests_with_pods([_namespace(test=""), _pod()]) == set()
