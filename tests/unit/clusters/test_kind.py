"""Clusters of kind are made from deploy/kind, and nobody else's are ever touched."""

import json
import os
import sys
from pathlib import Path

import pytest
import yaml

from tests.clusters.errors import CommandError, UnsupportedError
from tests.clusters.kind import Kind, requested

_PROGRAM = """#!{python}
import json, pathlib, sys
folder = pathlib.Path({folder!r})
with (folder / "calls").open("a") as calls:
    calls.write(json.dumps(sys.argv[1:]) + chr(10))
verb, what = sys.argv[1:3]
name = sys.argv[sys.argv.index("--name") + 1] if "--name" in sys.argv else None
clusters = folder / "clusters"
if (folder / "broken").exists():
    sys.exit("ERROR: failed to list clusters: docker does not run")
if (verb, what) == ("get", "clusters"):
    print(*(path.name for path in clusters.iterdir()), sep=chr(10))
elif (verb, what) == ("get", "kubeconfig"):
    print((clusters / name).read_text())
elif (verb, what) == ("create", "cluster"):
    (clusters / name).write_text("uid-1")
elif (verb, what) == ("delete", "cluster"):
    (clusters / name).unlink()
"""


class Lab:
    """A `kind` whose clusters are files; a file holds the cluster's UID."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.clusters = folder / "clusters"
        self.clusters.mkdir(parents=True)
        program = folder / "bin" / "kind"
        program.parent.mkdir()
        program.write_text(_PROGRAM.format(python=sys.executable, folder=str(folder)))
        program.chmod(0o755)
        self.said: list[str] = []

    def kind(self, **environment: str) -> Kind:
        return Kind(
            self.folder / "state",
            uid=lambda path: path.read_text().strip(),
            progress=self.said.append,
            environment={"PATH": str(self.folder / "bin"), **environment},
        )

    def calls(self, verb: str) -> list[list[str]]:
        lines = (self.folder / "calls").read_text().splitlines()
        return [call for line in lines if (call := json.loads(line))[0] == verb]

    def names(self) -> set[str]:
        return {path.name for path in self.clusters.iterdir()}


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    return Lab(tmp_path / "lab")


def test_the_environment_asks_for_kind() -> None:
    assert requested({"CLUSTERS": "kind"})
    assert not requested({"CLUSTERS": "existing"})
    assert not requested({})


def test_a_cluster_is_made_from_the_configuration_of_its_role(lab: Lab) -> None:
    kind = lab.kind()
    assert kind.create("tenant").read_text().strip() == "uid-1"
    kind.create("gpu-a")
    files = [Path(call[call.index("--config") + 1]) for call in lab.calls("create")]
    assert [file.name for file in files] == ["tenant.yaml", "compute.yaml"]
    assert all(yaml.safe_load(file.read_text())["kind"] == "Cluster" for file in files)
    assert lab.names() == {"vnode-tenant", "vnode-gpu-a"}


def test_the_users_kubeconfig_is_not_touched(lab: Lab) -> None:
    kind = lab.kind()
    kind.create("gpu-a")
    kind.delete()
    for call in [*lab.calls("create"), *lab.calls("delete")]:
        file = Path(call[call.index("--kubeconfig") + 1])
        assert file.is_relative_to(lab.folder / "state")


def test_another_node_image_can_be_asked_for(lab: Lab) -> None:
    lab.kind(KIND_IMAGE="kindest/node:v1.37.0").create("gpu-a")
    (call,) = lab.calls("create")
    assert call[call.index("--image") + 1] == "kindest/node:v1.37.0"


def test_what_was_made_is_deleted_by_the_next_process_too(lab: Lab) -> None:
    lab.kind().create("gpu-a")
    lab.kind().delete()
    assert lab.names() == set()


def test_clusters_stay_if_that_is_asked_for(lab: Lab) -> None:
    lab.kind().create("gpu-a")
    lab.kind(KIND_KEEP="1").delete()
    assert lab.names() == {"vnode-gpu-a"}
    assert "kind delete cluster" in lab.said[-1]


def test_a_name_that_is_taken_is_refused_with_the_way_out(lab: Lab) -> None:
    (lab.clusters / "vnode-gpu-a").write_text("somebody's")
    kind = lab.kind()
    with pytest.raises(UnsupportedError, match="kind delete cluster --name vnode-gpu-a"):
        kind.create("gpu-a")
    kind.delete()
    assert lab.names() == {"vnode-gpu-a"}


def test_a_cluster_that_somebody_made_again_is_left_alone(lab: Lab) -> None:
    lab.kind().create("gpu-a")
    (lab.clusters / "vnode-gpu-a").write_text("uid-2")
    lab.kind().delete()
    assert lab.names() == {"vnode-gpu-a"}
    assert "may not be the cluster that was made here" in lab.said[-1]


def test_other_clusters_are_left_alone(lab: Lab) -> None:
    (lab.clusters / "kind").write_text("somebody's")
    lab.kind().create("gpu-a")
    lab.kind().delete()
    assert lab.names() == {"kind"}


def test_without_kind_the_error_says_the_way_out(tmp_path: Path) -> None:
    kind = Kind(tmp_path, uid=Path.read_text, progress=print, environment={"PATH": os.devnull})
    with pytest.raises(UnsupportedError, match=r"not on PATH.*CLUSTERS=existing"):
        kind.create("gpu-a")


def test_without_a_container_engine_the_error_says_the_way_out(lab: Lab) -> None:
    (lab.folder / "broken").touch()
    with pytest.raises(UnsupportedError, match=r"(?s)docker does not run.*start Docker"):
        lab.kind().create("gpu-a")


def test_a_cluster_that_cannot_be_reached_is_left_alone(lab: Lab) -> None:
    lab.kind().create("gpu-a")

    def unreachable(_: Path) -> str:
        raise CommandError("no answer")

    bin_only = {"PATH": str(lab.folder / "bin")}
    Kind(
        lab.folder / "state", uid=unreachable, progress=lab.said.append, environment=bin_only
    ).delete()
    assert lab.names() == {"vnode-gpu-a"}
