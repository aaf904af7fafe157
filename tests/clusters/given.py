"""Clusters that a harness does not start itself: given ones, or those that kind makes for it.

In: the environment (`existing`, `kind`) and what clusters are asked for. Out: `Cluster`s without
audit logs and without parts that could be stopped. They are not told apart from here on: kind only
makes clusters and gives their kubeconfigs. Owned by a harness; `close` deletes what kind made and
leaves given ones as they are. Raises UnsupportedError for kubeconfigs that are missing.
"""

from __future__ import annotations

import dataclasses
import json
import shutil
from typing import TYPE_CHECKING

import yaml

from tests.clusters import agent_image, engine, existing, programs
from tests.clusters.errors import UnsupportedError
from tests.clusters.existing import open_cluster
from tests.clusters.kind import Kind, requested

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from tests.clusters.cluster import Cluster
    from tests.clusters.spec import ClusterSpec

_GPU = "nvidia.com/gpu"
_READY_SECONDS = 180
_FOLDER = "given"


class GivenClusters:
    """All of one harness. `state` is its folder, which `close` removes."""

    def __init__(self, state: Path, progress: Callable[[str], None]) -> None:
        self._state = state
        self._folder = state / _FOLDER
        self._progress = progress
        self._kind = Kind(self._folder / "kind", uid=self._uid, progress=progress)
        self._listen_address: str | None = None
        self._clusters: dict[str, Cluster] = {}

    @classmethod
    def left_in(cls, state: Path | None, progress: Callable[[str], None]) -> GivenClusters | None:
        """Those of another harness with this state folder, if there are any."""
        return cls(state, progress) if state and (state / _FOLDER).exists() else None

    @property
    def listen_address(self) -> str:
        """Where the first cluster reaches servers on this host."""
        if self._listen_address is None:
            first = next(iter(self._clusters.values()))
            self._listen_address = existing.listen_address(first)
        return self._listen_address

    def open(self, specs: Sequence[ClusterSpec]) -> dict[str, Cluster]:
        """A cluster for each spec, by its name. On a failure nothing is left."""
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        try:
            if requested():
                self._clusters = {spec.name: self._create(spec) for spec in specs}
            else:
                self._clusters = self._open_existing(specs)
        except BaseException:
            self.close()
            raise
        return dict(self._clusters)

    def close(self) -> None:
        """Deletes what kind made, and the folder."""
        self._kind.delete()
        shutil.rmtree(self._state, ignore_errors=True)

    def _open_existing(self, specs: Sequence[ClusterSpec]) -> dict[str, Cluster]:
        configs = existing.kubeconfigs()
        names = [spec.name for spec in specs]
        if missing := sorted(set(names) - configs.keys()):
            raise UnsupportedError(f"no kubeconfig was given for {', '.join(missing)}")
        return {name: self._open(name, configs[name]) for name in names}

    def _create(self, spec: ClusterSpec) -> Cluster:
        """By kind; with as many GPUs as the harness's own cluster would pretend to have."""
        cluster = self._open(spec.name, self._kind.create(spec.name))
        patience = f"--timeout={_READY_SECONDS}s"
        ready = ("wait", "nodes", "--all", "--for=condition=Ready", patience)
        cluster.kubectl(*ready, timeout=_READY_SECONDS + 20)
        if gpus := _gpus(spec):
            _pretend(cluster, gpus)
        if spec.agent:
            self._load_agent(spec.name)
        inside = yaml.safe_load(self._kind.internal_kubeconfig(spec.name).read_text())
        server = inside["clusters"][0]["cluster"]["server"]
        return dataclasses.replace(cluster, internal_server=server)

    def _load_agent(self, name: str) -> None:
        """Built by the container engine, or where none runs in the harness's own way."""
        if running := engine.find():
            archive = self._folder / "agent.tar"
            engine.build(running, archive, self._progress)
        else:
            archive = agent_image.ensure(self._progress)
        self._kind.load(name, archive)

    def _open(self, name: str, kubeconfig: Path) -> Cluster:
        kubectl = programs.ensure([programs.KUBECTL], self._progress)[programs.KUBECTL]
        return open_cluster(name, kubeconfig, folder=self._folder / name, kubectl=kubectl)

    def _uid(self, kubeconfig: Path) -> str:
        cluster = self._open("unknown", kubeconfig)
        return cluster.kubectl("get", "namespace", "kube-system", "-o=jsonpath={.metadata.uid}")


def _gpus(spec: ClusterSpec) -> int:
    simulated = spec.kwok.gpus * spec.kwok.count if spec.kwok else 0
    return simulated + spec.real_nodes * spec.gpus_per_real_node


def _pretend(cluster: Cluster, gpus: int) -> None:
    """The first node gets them; kubelets take numbers of resources unknown to them from there:
    https://kubernetes.io/docs/tasks/administer-cluster/extended-resource-node/
    """
    first = cluster.kubectl("get", "nodes", "-o", "name").splitlines()[0]
    amount = {_GPU: str(gpus)}
    patch = json.dumps({"status": {"capacity": amount, "allocatable": amount}})
    cluster.kubectl("patch", first, "--subresource=status", "--type=merge", f"--patch={patch}")
