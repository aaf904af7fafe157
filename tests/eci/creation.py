"""What a create must look like: the documented limits of CreateContainerGroup."""

import base64
import re
from typing import Any

from tests.eci.refusal import Refusal, invalid, missing

_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,126})[a-z0-9]")
_VARIABLE = re.compile(r"[A-Za-z0-9_]{1,128}")
_FILE, _VOLUME = 32 << 10, 60 << 10
_VALUE = 256


def check_create(asked: dict[str, Any]) -> None:
    """Raise the Refusal for the first thing that is wrong."""
    for name in ("ContainerGroupName", "Container"):
        if not asked.get(name):
            raise missing(name)
    if not _NAME.fullmatch(asked["ContainerGroupName"]):
        raise invalid("ContainerGroupName", "The name is malformed.")
    if len(asked.get("ClientToken", "")) > 64 or not asked.get("ClientToken", "").isascii():
        raise invalid("ClientToken", "The token is too long or no ASCII.")
    if asked.get("DnsPolicy", "Default") not in {"None", "Default"}:
        raise invalid("DnsPolicy", "The policy is none of None and Default.")
    if asked.get("RestartPolicy", "Always") not in {"Always", "Never", "OnFailure"}:
        raise invalid("RestartPolicy", "The policy is unknown.")
    containers = [*asked["Container"], *asked.get("InitContainer", ())]
    if len(containers) > 20:
        raise invalid("LengthExceeded", "There are more than 20 containers.")
    if len({container.get("Name") for container in containers}) < len(containers):
        raise invalid("DuplicatedName", "Two containers have one name.")
    for container in containers:
        _check_container(container)
    _check_tags(asked.get("Tag", ()))
    _check_volumes(asked.get("Volume", ()), containers)


def _check_container(container: dict[str, Any]) -> None:
    for name in ("Name", "Image"):
        if not container.get(name):
            raise missing(f"Container.{name}")
    if len(container.get("Arg", ())) > 10:
        raise invalid("LengthExceeded", "There are more than 10 arguments.")
    for variable in container.get("EnvironmentVar", ()):
        if not _VARIABLE.fullmatch(variable.get("Key", "")):
            raise invalid("EnvironmentVar.Key", "The name of a variable is malformed.")
        if len(variable.get("Value", "")) > _VALUE:
            # As a careless service would say it: with the value.
            raise invalid("LengthExceeded", f"The value {variable['Value']} is too long.")


def _check_tags(tags: Any) -> None:
    if len(tags) > 20:
        raise invalid("Tag", "There are more than 20 tags.")
    for tag in tags:
        key, value = tag.get("Key", ""), tag.get("Value", "")
        if not 0 < len(key) <= 64 or len(value) > 128 or key.startswith(("acs:", "aliyun")):
            raise invalid("Tag", "A tag is too long or its key is reserved.")


def _check_volumes(volumes: Any, containers: list[dict[str, Any]]) -> None:
    if len(volumes) > 20:
        raise invalid("LengthExceeded", "There are more than 20 volumes.")
    names = [volume.get("Name") for volume in volumes]
    if len(set(names)) < len(names):
        raise invalid("DuplicatedVolumeName", "Two volumes have one name.")
    for container in containers:
        for mount in container.get("VolumeMount", ()):
            if mount.get("Name") not in names:
                raise invalid("VolumeMount", "A mount names no volume.")
    for volume in volumes:
        files = volume.get("ConfigFileVolume", {}).get("ConfigFileToPath", ())
        sizes = [len(base64.b64decode(file.get("Content", ""))) for file in files]
        if any(size > _FILE for size in sizes) or sum(sizes) > _VOLUME:
            raise Refusal("InvalidParameter.LengthExceeded", "A ConfigFileVolume is too large.")
