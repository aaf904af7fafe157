"""Clusters that kind makes: `CLUSTERS=kind`.

In: names of clusters, the configuration files of deploy/kind, the `kind` of PATH and the container
engine that it uses. Out: kubeconfigs; from there on they are clusters as any that are given
(`given`). Owned by whoever has the folder: what was made stands in a file in it, with the UID of
each cluster, and nothing else is ever deleted. Raises UnsupportedError where kind or its engine is
missing or a name is taken, CommandError where kind fails; each says the way out.

KIND_IMAGE names another node image than the files do. With KIND_KEEP=1 the clusters stay.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

from tests.clusters.errors import CommandError, UnsupportedError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

PROGRAM = "kind"
PREFIX = "vnode-"
"""Of the names of all clusters that are made here."""
CONFIGS = Path(__file__).parents[2] / "deploy" / "kind"
_TENANT = "tenant"
_MADE = "made.json"
_CREATE_SECONDS = 900.0
"""The first time it pulls a node image of 1 GB."""
_SECONDS = 300.0
_UNKNOWN = ""
"""UID of a cluster whose making has not ended."""


def requested(environment: Mapping[str, str] = os.environ) -> bool:
    """Whether the environment asks for clusters of kind."""
    return environment.get("CLUSTERS") == PROGRAM


class Kind:
    """The clusters of one folder."""

    def __init__(
        self,
        folder: Path,
        *,
        uid: Callable[[Path], str],
        progress: Callable[[str], None],
        environment: Mapping[str, str] = os.environ,
    ) -> None:
        """`uid` says which cluster a kubeconfig leads to; it may raise CommandError."""
        self._folder = folder
        self._uid = uid
        self._progress = progress
        self._environment = environment

    def create(self, name: str) -> Path:
        """Makes a cluster and returns a kubeconfig of its administrator, for this host."""
        known = _kind_name(name)
        if known in self._existing():
            raise UnsupportedError(
                f"kind has a cluster {known} already: delete it with `kind delete cluster --name "
                f"{known}`, or use it with CLUSTERS=existing (`kind get kubeconfig --name {known}`)"
            )
        self._folder.mkdir(parents=True, exist_ok=True)
        self._remember({**self._made(), known: _UNKNOWN})
        config = CONFIGS / ("tenant.yaml" if name == _TENANT else "compute.yaml")
        command = ["create", "cluster", "--name", known, "--config", str(config), "--wait", "120s"]
        if image := self._environment.get("KIND_IMAGE"):
            command += ["--image", image]
        # Its own file: kind would write into the user's kubeconfig, and change its context.
        written = self._folder / f"{name}.created"
        self._progress(f"{name}: kind creates cluster {known}")
        self._run(*command, "--kubeconfig", str(written), timeout=_CREATE_SECONDS)
        kubeconfig = self._kubeconfig(name)
        self._remember({**self._made(), known: self._uid(kubeconfig)})
        return kubeconfig

    def internal_kubeconfig(self, name: str) -> Path:
        """The same for programs in the network of kind's nodes: pods of these clusters."""
        return self._kubeconfig(name, "--internal")

    def load(self, name: str, archive: Path) -> None:
        """Gives an image, as `docker save` packs it, to the nodes of a cluster."""
        self._progress(f"{name}: kind loads {archive.name}")
        self._run("load", "image-archive", str(archive), "--name", _kind_name(name))

    def delete(self) -> None:
        """Deletes what was made for this folder; does nothing when nothing was."""
        made = self._made()
        if not made:
            return
        if self._environment.get("KIND_KEEP") == "1":
            self._progress(f"kept: {', '.join(made)} (kind delete cluster --name NAME)")
            return
        existing = self._existing()
        for known, uid in made.items():
            if known in existing and self._is_ours(known, uid):
                self._progress(f"kind deletes cluster {known}")
                unused = self._folder / f"{known}.created"
                self._run("delete", "cluster", "--name", known, "--kubeconfig", str(unused))
        (self._folder / _MADE).unlink()

    def _is_ours(self, known: str, uid: str) -> bool:
        """Somebody may have deleted ours and made another one of that name since."""
        if not known.startswith(PREFIX):
            return False
        try:
            same = uid != _UNKNOWN and self._uid(self._kubeconfig(_own_name(known))) == uid
        except CommandError as error:
            self._progress(str(error))
            same = False
        if not same:
            self._progress(
                f"{known} may not be the cluster that was made here, and stays: "
                f"kind delete cluster --name {known}"
            )
        return same

    def _kubeconfig(self, name: str, *options: str) -> Path:
        text = self._run("get", "kubeconfig", "--name", _kind_name(name), *options)
        path = self._folder / f"{name}{''.join(options)}.kubeconfig"
        path.touch(mode=0o600)
        path.write_text(text)
        return path

    def _existing(self) -> set[str]:
        try:
            return set(self._run("get", "clusters").split())
        except CommandError as error:
            raise UnsupportedError(
                f"{error}\nkind needs a container engine that runs: start Docker (or set "
                "KIND_EXPERIMENTAL_PROVIDER for podman or nerdctl), or use clusters that you have "
                "with CLUSTERS=existing"
            ) from None

    def _run(self, *args: str, timeout: float = _SECONDS) -> str:
        program = shutil.which(PROGRAM, path=self._environment.get("PATH"))
        if program is None:
            raise UnsupportedError(
                "CLUSTERS=kind needs the program kind, and it is not on PATH: install it "
                "(https://kind.sigs.k8s.io), or use clusters that you have with CLUSTERS=existing"
            )
        what = f"kind {' '.join(args[:2])}"
        try:
            done = subprocess.run(
                [program, *args],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=timeout,
                check=False,
                env=dict(self._environment),
            )
        except subprocess.TimeoutExpired:
            raise CommandError(f"{what}: no end after {timeout:g} s") from None
        if done.returncode != 0:
            raise CommandError(f"{what}: {done.stderr.strip()}")
        return done.stdout

    def _made(self) -> dict[str, str]:
        """Name in kind -> UID of all clusters that were made for this folder."""
        path = self._folder / _MADE
        found: dict[str, str] = json.loads(path.read_text()) if path.exists() else {}
        return found

    def _remember(self, made: Mapping[str, str]) -> None:
        new = self._folder / f"{_MADE}.new"
        new.write_text(json.dumps(made))
        new.replace(self._folder / _MADE)


def _kind_name(name: str) -> str:
    return f"{PREFIX}{name}"


def _own_name(known: str) -> str:
    return known.removeprefix(PREFIX)
