"""Files are written into the group with the paths and modes that a kubelet gives them."""

import base64
from typing import Any

import pytest

from tests.unit.federation.eci.translate.builders import config_map, grouped, secret
from tests.unit.federation.translate.builders import make_container, make_pod, make_spec
from vnode.backend import Rejected, Waiting


def files(*objects: Any, **volume: Any) -> dict[str, tuple[str, str]]:
    """Content and mode of the files of a volume by path."""
    spec = make_spec(volumes=[{"name": "v", **volume}])
    found = grouped(None, *objects, pod=make_pod(spec, labels={"a": "1"}))["Volume"][0]
    listed = found["ConfigFileVolume"]["ConfigFileToPath"]
    return {f["Path"]: (base64.b64decode(f["Content"]).decode(), f["Mode"]) for f in listed}


def test_a_config_map_is_its_keys() -> None:
    found = files(
        config_map("c", {"a": "1", "b": "2"}), configMap={"name": "c", "defaultMode": 256}
    )
    assert found == {"a": ("1", "0400"), "b": ("2", "0400")}


def test_items_choose_keys_paths_and_modes() -> None:
    items = [{"key": "a", "path": "x/y", "mode": 0o755}, {"key": "b", "path": "b"}]
    found = files(
        secret("s", {"a": "1", "b": "2", "c": "3"}), secret={"secretName": "s", "items": items}
    )
    assert found == {"x/y": ("1", "0755"), "b": ("2", "0644")}


def test_the_last_source_wins_a_path() -> None:
    sources = [{"configMap": {"name": "c"}}, {"secret": {"name": "s"}}]
    found = files(
        config_map("c", {"a": "1"}), secret("s", {"a": "2"}), projected={"sources": sources}
    )
    assert found == {"a": ("2", "0644")}


def test_a_downward_volume_is_frozen() -> None:
    items = [
        {"path": "labels", "fieldRef": {"fieldPath": "metadata.labels"}},
        {"path": "cpu", "resourceFieldRef": {"containerName": "main", "resource": "limits.cpu"}},
    ]
    assert files(downwardAPI={"items": items}) == {
        "labels": ('a="1"', "0644"),
        "cpu": ("2", "0644"),
    }


def test_an_optional_object_that_is_missing_is_an_empty_directory() -> None:
    volume = {"name": "v", "configMap": {"name": "none", "optional": True}}
    assert grouped(make_spec(volumes=[volume]))["Volume"][0]["Type"] == "EmptyDirVolume"


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ({"name": "none"}, "MandatoryConfigMapNotFound"),
        ({"name": "c", "items": [{"key": "x", "path": "x"}]}, "MandatoryConfigMapKeyNotFound"),
    ],
)
def test_a_pod_waits_for_files_that_are_missing(source: dict[str, Any], reason: str) -> None:
    with pytest.raises(Waiting) as waiting:
        files(config_map("c", {}), configMap=source)
    assert waiting.value.reason == reason


@pytest.mark.parametrize(
    "data",
    [
        {"a": "x" * (32 * 1024 + 1)},
        {"a": "x" * 31000, "b": "x" * 31000},
        {f"k{i}": "" for i in range(91)},
    ],
)
def test_what_is_too_large_for_eci_is_refused(data: dict[str, str]) -> None:
    with pytest.raises(Rejected) as refused:
        files(config_map("c", data), configMap={"name": "c"})
    assert refused.value.field == "spec.volumes[0]"
    assert "xx" not in str(refused.value)


def test_huge_pages_are_refused() -> None:
    with pytest.raises(Rejected) as refused:
        files(emptyDir={"medium": "HugePages"})
    assert refused.value.field == "spec.volumes[0].emptyDir"


CONFIG = '{"auths": {%s}}'


def login(server: str, user: str = "u") -> str:
    return f'"{server}": {{"username": "{user}", "password": "p"}}'


def servers(image: str, *logins: str) -> list[tuple[str, str]]:
    """Server and user of the logins that an image gets."""
    spec = make_spec(
        containers=[make_container(image=image)], imagePullSecrets=[{"name": "s"}, {"name": "none"}]
    )
    held = secret("s", {".dockerconfigjson": CONFIG % ", ".join(logins)})
    return [
        (one["Server"], one["UserName"]) for one in grouped(spec, held)["ImageRegistryCredential"]
    ]


@pytest.mark.parametrize(
    ("image", "server", "sent"),
    [
        ("r.example/a/b:1", "r.example", "r.example"),
        ("r.example/a/b:1", "https://r.example/v1/", "r.example"),
        ("r.example/a/b:1", "*.example", "r.example"),
        ("r.example:5000/a", "r.example:5000", "r.example:5000"),
        ("r.example/a/b:1", "r.example/a", "r.example/a"),
        ("busybox", "https://index.docker.io/v1/", "docker.io"),
        ("team/app", "docker.io", "docker.io"),
    ],
)
def test_an_image_gets_the_login_of_its_registry(image: str, server: str, sent: str) -> None:
    assert servers(image, login(server)) == [(sent, "u")]


@pytest.mark.parametrize("server", ["o.example", "r.example:5000", "r.example/x", "*.r.example"])
def test_a_login_of_another_registry_is_not_sent(server: str) -> None:
    assert servers("r.example/a/b:1", login(server)) == []


def test_the_most_specific_login_is_sent() -> None:
    found = servers("r.example/a/b:1", login("r.example", "whole"), login("r.example/a", "part"))
    assert found == [("r.example/a", "part")]


def test_a_login_that_cannot_be_read_is_told_without_its_content() -> None:
    spec = make_spec(imagePullSecrets=[{"name": "s"}])
    with pytest.raises(Waiting) as waiting:
        grouped(spec, secret("s", {".dockercfg": '{"r": "hidden"'}))
    assert waiting.value.reason == "InvalidImagePullSecret"
    assert "hidden" not in str(waiting.value)
