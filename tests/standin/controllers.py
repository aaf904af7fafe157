"""What Fluid's dataset, thinruntime and fluidapp controllers do, one round after the other.

In: Datasets, ThinRuntimes and pods of the whole cluster, listed anew each round. Out: the objects
of `runtime_objects`, Datasets that become Bound, finalizers that come and go, the label on wrapped
claims; and, where wanted, sidecars that are ended once everything else in their pod has.
"""

from __future__ import annotations

import subprocess
import threading
from typing import TYPE_CHECKING, Any

from tests.clusters.errors import CommandError
from tests.standin import injection
from tests.standin.runtime_objects import API, runtime_objects, wrapped_claims
from tests.standin.webhook import MANAGED_BY

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.clusters import Cluster
    from tests.clusters.api import AdminClient

_FLUID = f"/apis/{API}"
_RUNTIME_FINALIZER = "thin-runtime-controller-finalizer"
_DATASET_FINALIZER = "fluid-dataset-controller-finalizer"
_ROUND_SECONDS = 0.5
_FINISHED = ("Succeeded", "Failed")


class Controllers:
    """Runs rounds in a thread until `stop`; the switches may be turned at any time."""

    def __init__(
        self, cluster: Cluster, client: Callable[[], AdminClient], *, mount_root: Path
    ) -> None:
        self.binds = True
        """Datasets become Bound; those that are Bound stay so."""
        self.ends_sidecars = False
        """Do what fluidapp-controller does for finished pods."""
        self.errors: list[str] = []
        """What went wrong in rounds, the newest last; the next round tries again."""
        self._cluster = cluster
        self._client = client
        self._mount_root = mount_root
        self._told: set[tuple[str, str]] = set()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End after the current round."""
        self._ended.set()
        self._thread.join(timeout=30)

    def _run(self) -> None:
        with self._client() as api:
            while not self._ended.wait(_ROUND_SECONDS):
                try:
                    self._round(api)
                except (CommandError, subprocess.TimeoutExpired) as error:
                    # Somebody else was faster, it is being deleted, or the machine is busy.
                    self.errors.append(str(error))

    def _round(self, api: AdminClient) -> None:
        datasets = {_key(item): item for item in api.get(f"{_FLUID}/datasets")["items"]}
        for dataset in datasets.values():
            _dataset(api, dataset)
        for runtime in api.get(f"{_FLUID}/thinruntimes")["items"]:
            self._runtime(api, runtime, datasets.get(_key(runtime)))
        for load in api.get(f"{_FLUID}/dataloads")["items"]:
            _refuse_load(api, load)
        if self.ends_sidecars:
            for pod in api.get(f"/api/v1/pods?labelSelector={injection.DONE}=true")["items"]:
                self._end_sidecars(pod)

    def _runtime(
        self, api: AdminClient, runtime: dict[str, Any], dataset: dict[str, Any] | None
    ) -> None:
        path = _path("thinruntimes", runtime)
        if runtime["metadata"].get("deletionTimestamp"):
            _delete_runtime(api, runtime, dataset)
            return
        if dataset is None or dataset["metadata"].get("deletionTimestamp"):
            return
        bound = (dataset.get("status") or {}).get("phase") == "Bound"
        if not _has_finalizer(runtime, _RUNTIME_FINALIZER):
            owner = {
                "apiVersion": API,
                "kind": "Dataset",
                "name": dataset["metadata"]["name"],
                "uid": dataset["metadata"]["uid"],
            }
            metadata = {"finalizers": [_RUNTIME_FINALIZER], "ownerReferences": [owner]}
            api.patch(path, {"metadata": metadata}, whole_lists=True)
        if bound or not self.binds:
            return
        volumes = {name: _volume(api, runtime, name) for name in wrapped_claims(dataset)}
        if any(volume is None for volume in volumes.values()):
            return
        profile_name = runtime["spec"].get("profileName")
        profile = api.get(f"{_FLUID}/thinruntimeprofiles/{profile_name}") if profile_name else {}
        found = {name: volume for name, volume in volumes.items() if volume is not None}
        made = runtime_objects(dataset, runtime, profile, found, mount_root=self._mount_root)
        for collection, body in made.items():
            if api.status(f"{collection}/{body['metadata']['name']}") != 200:
                api.create(collection, body)
        for name in found:
            labels = {"metadata": {"labels": {MANAGED_BY: runtime["metadata"]["name"]}}}
            api.patch(_claim_path(runtime, name), labels)
        _bind(api, dataset)

    def _end_sidecars(self, pod: dict[str, Any]) -> None:
        """Unmount in each of them, as fluidapp-controller does: the FUSE program then ends."""
        namespace, name = _key(pod)
        for container in _lonely_sidecars(pod):
            if (pod["metadata"]["uid"], container["name"]) in self._told:
                continue
            hook = container["lifecycle"]["preStop"]["exec"]["command"]
            words = [str(self._cluster.kubectl_program), f"--kubeconfig={self._cluster.kubeconfig}"]
            words += ["exec", "-n", namespace, name, "-c", container["name"], "--", *hook]
            subprocess.run(words, capture_output=True, timeout=30, check=False)
            self._told.add((pod["metadata"]["uid"], container["name"]))


def _lonely_sidecars(pod: dict[str, Any]) -> list[Any]:
    """Running sidecars of a pod whose other containers have all ended (pkg/ctrl/watch/pod.go)."""
    if pod["spec"].get("restartPolicy", "Always") == "Always":
        return []
    if pod["status"].get("phase") != "Running":
        return []
    states = {c["name"]: c["state"] for c in pod["status"].get("containerStatuses", [])}
    is_sidecar = {name: name.startswith("fluid-fuse") for name in states}
    ended = all("terminated" in states[name] for name in states if not is_sidecar[name])
    runs = all("running" in states[name] for name in states if is_sidecar[name])
    if not (ended and runs and any(is_sidecar.values())):
        return []
    return [c for c in pod["spec"]["containers"] if c["name"].startswith("fluid-fuse")]


def _bind(api: AdminClient, dataset: dict[str, Any]) -> None:
    namespace, name = _key(dataset)
    status = {
        "phase": "Bound",
        "conditions": [
            {
                "type": "Ready",
                "status": "True",
                "reason": "DatasetReady",
                "message": "The ddc runtime is ready.",
            }
        ],
        "runtimes": [
            {"name": name, "namespace": namespace, "type": "thin", "category": "Accelerate"}
        ],
        "mounts": dataset["spec"].get("mounts", []),
    }
    api.patch(f"{_path('datasets', dataset)}/status", {"status": status}, whole_lists=True)


def _refuse_load(api: AdminClient, load: dict[str, Any]) -> None:
    """A ThinRuntime cannot load data (pkg/ddc/thin/operate.go; pkg/ddc/base/operation.go)."""
    if not (load.get("status") or {}).get("phase"):
        status = {"phase": "Failed", "duration": "Unfinished", "conditions": []}
        path = f"{_path('dataloads', load)}/status"
        api.patch(path, {"status": status}, whole_lists=True)


def _delete_runtime(
    api: AdminClient, runtime: dict[str, Any], dataset: dict[str, Any] | None
) -> None:
    namespace, name = _key(runtime)
    core, apps = f"/api/v1/namespaces/{namespace}", f"/apis/apps/v1/namespaces/{namespace}"
    claims = api.get(f"{core}/persistentvolumeclaims")["items"]
    made = [c["metadata"]["name"] for c in claims if _is_fluids(c)]
    for path in (
        *(f"{core}/persistentvolumeclaims/{claim}" for claim in made if claim == name),
        f"/api/v1/persistentvolumes/{namespace}-{name}",
        f"{apps}/daemonsets/{name}-fuse",
        f"{core}/configmaps/{name}-fuse-conf",
    ):
        if api.status(path) == 200:
            api.delete(path)
    for claim in claims:
        if (claim["metadata"].get("labels") or {}).get(MANAGED_BY) == name:
            unlabelled = {"metadata": {"labels": {MANAGED_BY: None}}}
            api.patch(_claim_path(runtime, claim["metadata"]["name"]), unlabelled)
    if dataset is not None:
        unbound = {"phase": "NotBound", "conditions": [], "runtimes": []}
        api.patch(f"{_path('datasets', dataset)}/status", {"status": unbound}, whole_lists=True)
    _drop_finalizers(api, _path("thinruntimes", runtime))


def _dataset(api: AdminClient, dataset: dict[str, Any]) -> None:
    """Its finalizer, which stays as long as a pod uses its claim; its first phase."""
    path = _path("datasets", dataset)
    if dataset["metadata"].get("deletionTimestamp"):
        if not _is_used(api, dataset):
            _drop_finalizers(api, path)
        return
    if not _has_finalizer(dataset, _DATASET_FINALIZER):
        body = {"metadata": {"finalizers": [_DATASET_FINALIZER]}}
        api.patch(path, body, whole_lists=True)
    if not (dataset.get("status") or {}).get("phase"):
        status = {"phase": "NotBound", "conditions": []}
        api.patch(f"{path}/status", {"status": status}, whole_lists=True)


def _is_used(api: AdminClient, dataset: dict[str, Any]) -> bool:
    """Only its own claim counts; injected pods have host paths in its place."""
    namespace, name = _key(dataset)
    pods = api.get(f"/api/v1/namespaces/{namespace}/pods")["items"]
    return any(
        name in injection.claims(pod) and pod["status"].get("phase") not in _FINISHED
        for pod in pods
    )


def _volume(api: AdminClient, runtime: dict[str, Any], claim: str) -> Any:
    """The volume of a wrapped claim; None while it is not bound."""
    path = _claim_path(runtime, claim)
    found = api.get(path) if api.status(path) == 200 else {"status": {}}
    if found["status"].get("phase") != "Bound":
        return None
    return api.get(f"/api/v1/persistentvolumes/{found['spec']['volumeName']}")


def _is_fluids(claim: dict[str, Any]) -> bool:
    """A wrapped claim may have the Dataset's name."""
    return (claim["metadata"].get("annotations") or {}).get("CreatedBy") == "fluid"


def _drop_finalizers(api: AdminClient, path: str) -> None:
    api.patch(path, {"metadata": {"finalizers": None}}, whole_lists=True)


def _has_finalizer(item: dict[str, Any], name: str) -> bool:
    return name in (item["metadata"].get("finalizers") or [])


def _claim_path(runtime: dict[str, Any], claim: str) -> str:
    return f"/api/v1/namespaces/{runtime['metadata']['namespace']}/persistentvolumeclaims/{claim}"


def _path(kind: str, item: dict[str, Any]) -> str:
    namespace, name = _key(item)
    return f"{_FLUID}/namespaces/{namespace}/{kind}/{name}"


def _key(item: dict[str, Any]) -> tuple[str, str]:
    return item["metadata"]["namespace"], item["metadata"]["name"]
