"""A user of the tenant who has nothing but kubectl, and an onlooker in the compute clusters.

What is looked at again and again is read without kubectl (`Cluster.find`); commands, their output
and their exit codes are kubectl's.
"""

from __future__ import annotations

import json
import time
from collections import Counter
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import pytest

from tests.clusters.errors import CommandError
from tests.e2e.workloads import NAMESPACE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.clusters import Cluster

BELOW = f"demo--{NAMESPACE}"
_GROUPS = {
    **dict.fromkeys(("pods", "events", "configmaps", "secrets", "services"), "/api/v1"),
    **dict.fromkeys(("serviceaccounts", "nodes", "namespaces"), "/api/v1"),
    **dict.fromkeys(("deployments", "statefulsets", "daemonsets"), "/apis/apps/v1"),
}
"""Where kinds are that tests wait for."""
_EVERYWHERE = {"nodes", "namespaces"}


class User:
    """kubectl in one namespace of one cluster."""

    def __init__(self, cluster: Cluster, namespace: str = NAMESPACE) -> None:
        self.cluster = cluster
        self.namespace = namespace

    def kubectl(self, *args: str, **options: Any) -> str:
        """Run kubectl in the namespace."""
        return self.cluster.kubectl(f"--namespace={self.namespace}", *args, **options)

    def command(self, *args: str) -> list[str]:
        """The same as a command line, for kubectl that runs beside the test."""
        program, kubeconfig = self.cluster.kubectl_program, self.cluster.kubeconfig
        return [str(program), f"--kubeconfig={kubeconfig}", f"--namespace={self.namespace}", *args]

    def apply(self, *objects: Any) -> None:
        """Create or change objects."""
        manifest = {"apiVersion": "v1", "kind": "List", "items": list(objects)}
        self.kubectl("apply", "-f", "-", input=json.dumps(manifest))

    def remove(self, kinds: str, *which: str, patience: float = 180.0) -> None:
        """Delete what a test leaves, with a second of grace, and wait until it is gone.

        Names or `--all`. Others that delete it meanwhile, and an API server or node that is busy
        for a while, are no fault of the test: kubectl gets more time than a test would give it, and
        tries again.
        """
        command = ("delete", kinds, *which, "--now", "--ignore-not-found", "--timeout=60s")
        deadline = time.monotonic() + patience
        while True:
            try:
                self.kubectl(*command, timeout=90)
            except CommandError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(1)
            else:
                return

    def get(self, kind: str, name: str) -> Any:
        """One object, or None."""
        path = self._path(kind)
        if path is not None:
            return self.cluster.find(f"{path}/{name}")
        text = self.kubectl("get", kind, name, "--ignore-not-found", "-o", "json")
        return json.loads(text) if text.strip() else None

    def items(self, kind: str, selector: str = "") -> list[Any]:
        """All objects of a kind in the namespace."""
        path = self._path(kind)
        if path is not None:
            return self._listed(path, labelSelector=selector)
        text = self.kubectl("get", kind, "-o", "json", f"--selector={selector}")
        items: list[Any] = json.loads(text)["items"]
        return items

    def event_reasons(self, name: str) -> Counter[str]:
        """How often each event reason was said about a pod."""
        about = f"involvedObject.kind=Pod,involvedObject.name={name}"
        events = self._listed(f"/api/v1/namespaces/{self.namespace}/events", fieldSelector=about)
        return Counter(e["reason"] for e in events)

    def wait_phase(self, name: str, phase: str, *, timeout: float = 40) -> Any:
        """Wait until a pod has the phase; returns it. In vain: tells what was seen last."""
        last: Any = None

        def reached() -> Any:
            nonlocal last
            last = self.get("pod", name)
            return last if last and last["status"].get("phase") == phase else None

        try:
            return until(reached, f"pod {name} is {phase}", timeout=timeout)
        except AssertionError as error:
            where = last and last["spec"].get("nodeName")
            error.add_note(f"on {where}: {json.dumps(last and last['status'], indent=1)}")
            raise

    def wait_gone(self, kind: str, name: str, *, timeout: float = 40) -> None:
        """Wait until an object does not exist."""
        until(lambda: self.get(kind, name) is None, f"{kind} {name} is gone", timeout=timeout)

    def _path(self, kind: str) -> str | None:
        """Of a kind in the namespace; None where only kubectl knows."""
        plural = kind if kind in _GROUPS else f"{kind}s"
        group = _GROUPS.get(plural)
        if group is None:
            return None
        where = "" if plural in _EVERYWHERE else f"/namespaces/{self.namespace}"
        return f"{group}{where}/{plural}"

    def _listed(self, path: str, **query: str) -> list[Any]:
        found = self.cluster.find(f"{path}?{urlencode(query)}")
        kind = {"apiVersion": found["apiVersion"], "kind": found["kind"].removesuffix("List")}
        return [{**kind, **item} for item in found["items"] or ()]


def until(done: Callable[[], Any], what: str, *, timeout: float = 40, every: float = 0.2) -> Any:
    """Poll until `done` gives something true and return that; AssertionError after `timeout` s."""
    deadline = time.monotonic() + timeout
    while True:
        found = done()
        if found:
            return found
        assert time.monotonic() < deadline, f"waited {timeout:g} s in vain until {what}"
        time.sleep(every)


def ours_below(cluster: Cluster) -> dict[str, int]:
    """How many objects of ours exist in the compute namespace, by kind."""
    found = {}
    for kind in ("pods", "configmaps", "secrets"):
        found[kind] = len(User(cluster, BELOW).items(kind, "vnode.dev/tenant"))
    return found


NOTHING = {"pods": 0, "configmaps": 0, "secrets": 0}


def pod_creates(cluster: Cluster, namespace: str) -> Iterator[dict[str, Any]]:
    """The audit log's entries of all creates of pods in a namespace."""
    if cluster.audit_log is None:
        pytest.skip("the audit log of a given cluster cannot be read")
    with cluster.audit_log.open() as log:
        for line in log:
            if '"create"' not in line or namespace not in line:
                continue
            entry = json.loads(line)
            ref = entry.get("objectRef", {})
            about_pod = ref.get("resource") == "pods" and not ref.get("subresource")
            if entry["verb"] == "create" and about_pod and ref.get("namespace") == namespace:
                yield entry


def create_answers(cluster: Cluster) -> dict[str, list[int]]:
    """From the audit log: the answers to all creates of each pod name in our namespace."""
    answers: dict[str, list[int]] = {}
    for entry in pod_creates(cluster, BELOW):
        code = entry.get("responseStatus", {}).get("code", 0)
        answers.setdefault(entry["objectRef"].get("name", ""), []).append(code)
    return answers


def names_taken(cluster: Cluster) -> set[str]:
    """Pod names whose create in our namespace was refused since a pod of that name was there."""
    return {
        entry["objectRef"]["name"]
        for entry in pod_creates(cluster, BELOW)
        if entry.get("responseStatus", {}).get("reason") == "AlreadyExists"
    }


def pods_created(cluster: Cluster) -> Counter[str]:
    """How often each pod name was created in our namespace, as the API server answered."""
    answers = create_answers(cluster)
    return Counter({name: codes.count(201) for name, codes in answers.items() if 201 in codes})
