from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import pytest

from tests.clusters.image_archive import Image, LayerBuilder, write_archive
from tests.eci.containers import Container
from tests.eci.engine import CannotStart
from tests.eci.process.images import Images, full_name
from tests.eci.process.spec import Places, container_spec, make_volumes


@pytest.fixture
def images(tmp_path: Path) -> Images:
    below, above = LayerBuilder(), LayerBuilder()
    below.folder("bin")
    below.file("bin/app", b"old", 0o755)
    below.file("bin/gone", b"x")
    above.file("bin/app", b"new", 0o4755)
    above.file("bin/.wh.gone", b"")
    image = Image(
        ["docker.io/library/app:1"],
        [below.build(), above.build()],
        entrypoint=["/bin/app"],
        command=["serve"],
        user="1000:2000",
        environment={"A": "image", "PATH": "/bin"},
    )
    write_archive(tmp_path / "images.tar", [image])
    return Images([tmp_path / "images.tar"], tmp_path / "unpacked")


@pytest.mark.parametrize(
    ("name", "full"),
    [
        ("busybox", "docker.io/library/busybox:latest"),
        ("team/app:2", "docker.io/team/app:2"),
        ("registry.k8s.io/pause:3.10", "registry.k8s.io/pause:3.10"),
        ("localhost:5000/app", "localhost:5000/app:latest"),
    ],
)
def test_names_are_completed_as_containerd_does(name: str, full: str) -> None:
    assert full_name(name) == full


def test_layers_are_put_over_each_other(images: Images) -> None:
    root = images.unpacked(images.find("app:1"))

    assert (root / "bin/app").read_bytes() == b"new"
    assert (root / "bin/app").stat().st_mode & 0o7777 == 0o4755
    assert not (root / "bin/gone").exists()


def test_groups_that_start_together_unpack_an_image_once(images: Images) -> None:
    together = Barrier(8)

    def unpack(_: int) -> Path:
        together.wait()
        return images.unpacked(images.find("app:1"))

    with ThreadPoolExecutor(8) as threads:
        [root] = set(threads.map(unpack, range(8)))

    assert (root / "bin/app").read_bytes() == b"new"


def test_an_image_that_is_in_no_archive_cannot_be_pulled(images: Images) -> None:
    with pytest.raises(CannotStart, match="Failed to pull image nothing"):
        images.find("nothing")


@pytest.mark.parametrize(
    ("command", "arguments", "runs"),
    [
        ([], [], ["/bin/app", "serve"]),
        ([], ["x"], ["/bin/app", "x"]),
        (["sh"], [], ["sh"]),
        (["sh"], ["-c"], ["sh", "-c"]),
    ],
)
def test_command_and_arguments_replace_the_images_as_in_kubernetes(
    images: Images, command: list[str], arguments: list[str], runs: list[str]
) -> None:
    assert images.find("app:1").command(command, arguments) == runs


def test_what_was_asked_for_comes_before_what_the_image_says(
    images: Images, tmp_path: Path
) -> None:
    places = Places(folder=tmp_path / "group", address="10.0.0.2", hostname="web")
    volume = {"Name": "v", "Type": "ConfigFileVolume", "ConfigFileVolume": {}}
    wanted = {
        "Name": "main",
        "Image": "app:1",
        "EnvironmentVar": [{"Key": "A", "Value": "ours"}],
        "VolumeMount": [{"Name": "v", "MountPath": "/v", "SubPath": "sub/"}],
    }
    asked = {"Container": [wanted], "Volume": [volume]}
    make_volumes(asked, places)
    spec = container_spec(
        asked,
        Container(wanted, attempt=1),
        image=images.find("app:1"),
        root=tmp_path,
        init=1,
        places=places,
    )

    assert spec["environment"] == {"A": "ours", "PATH": "/bin", "HOSTNAME": "web"}
    assert (spec["user"], spec["privileged"], spec["command"]) == (
        "1000:2000",
        False,
        ["/bin/app", "serve"],
    )
    [mount] = spec["mounts"]
    assert (mount["sub"], mount["propagation"], mount["read_only"]) == ("sub", "None", True)


def test_a_volume_of_the_network_needs_a_local_folder(tmp_path: Path) -> None:
    nfs = {"Server": "nas", "Path": "/share"}
    volume = {"Name": "v", "Type": "NFSVolume", "NFSVolume": nfs}
    without = Places(folder=tmp_path, address="", hostname="")
    having = Places(
        folder=tmp_path, address="", hostname="", network_volumes={"nas:/share": tmp_path}
    )
    having.check(volume)

    with pytest.raises(CannotStart, match="MountVolume"):
        without.check(volume)
