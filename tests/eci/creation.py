"""What a create must look like: the documented limits of CreateContainerGroup.

Names and types were checked by `schema`. Raises the Refusal for the first thing that is wrong.
"""

import base64
import binascii
import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from tests.eci.containers import EXIT, LAUNCH
from tests.eci.refusal import Refusal, invalid, missing

Asked = Mapping[str, Any]

_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,126})[a-z0-9]")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}")
_MODE = re.compile(r"0?[0-7]{3}")
_FILE, _VOLUME = 32 << 10, 60 << 10
_VALUE, _COMMANDS, _COMMAND, _ARGS, _VARIABLES, _FILES = 256, 20, 256, 10, 240, 90
_RESERVED = {"111", "10250", "10255"}
"""Ports that ECI keeps for itself."""
_CHOICES = {
    "RestartPolicy": {"Always", "Never", "OnFailure"},
    "DnsPolicy": {"None", "Default"},
    "SpotStrategy": {"NoSpot", "SpotWithPriceLimit", "SpotAsPriceGo"},
    "ScheduleStrategy": {"VSwitchOrdered", "VSwitchRandom"},
    "ImageAccelerateMode": {"nydus", "dadi", "p2p", "imc"},
    "OsType": {"Linux"},
    "CpuArchitecture": {"AMD64", "ARM64"},
}
_IN_CONTAINER = {"ImagePullPolicy": {"Always", "IfNotPresent", "Never"}}
_IN_MOUNT = {"MountPropagation": {"None", "HostToContainer", "HostToCotainer", "Bidirectional"}}
_VOLUME_TYPES = {"EmptyDirVolume", "NFSVolume", "ConfigFileVolume", "FlexVolume", "DiskVolume"}
_DRIVERS = {"alicloud/disk", "alicloud/nas", "alicloud/oss"}
_CAPABILITIES = {"NET_ADMIN", "NET_RAW"}


def check_create(asked: Asked, *, privileged: bool = True) -> None:
    """Check it all. `privileged` says whether the account may use privileged containers."""
    for name in ("ContainerGroupName", "Container"):
        if not asked.get(name):
            raise missing(name)
    if not _NAME.fullmatch(asked["ContainerGroupName"]):
        raise invalid("ContainerGroupName", "The name is malformed.")
    if len(asked.get("ClientToken", "")) > 64 or not asked.get("ClientToken", "").isascii():
        raise invalid("ClientToken", "The token is too long or no ASCII.")
    _choose(asked, _CHOICES)
    if asked.get("SpotStrategy") == "SpotWithPriceLimit" and "SpotPriceLimit" not in asked:
        raise missing("SpotPriceLimit")
    if len(asked.get("VSwitchId", "").split(",")) > 10:
        raise invalid("LengthExceeded", "There are more than 10 vSwitches.")
    _at_most(asked, "ImageRegistryCredential", 10)
    for number in ("ActiveDeadlineSeconds", "TerminationGracePeriodSeconds"):
        if number in asked and int(asked[number]) < (number[0] == "A"):
            raise invalid("ValueExceeded", f"{number} is too small.")
    inits = asked.get("InitContainer", ())
    containers = [*asked["Container"], *inits]
    if len(containers) > 20:
        raise invalid("LengthExceeded", "There are more than 20 containers.")
    if len({container.get("Name") for container in containers}) < len(containers):
        raise invalid("DuplicatedName", "Two containers have one name.")
    for container in containers:
        _check_container(container, privileged=privileged)
    _check_tags(asked.get("Tag", ()))
    _check_volumes(asked.get("Volume", ()), containers)


def check_command(command: str) -> list[str]:
    """The words of ExecContainerCommand, which come as JSON."""
    try:
        words = json.loads(command)
    except ValueError:
        words = None
    if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
        raise invalid("Command", "The command is not a list of strings in JSON.")
    if not 0 < len(words) <= _COMMANDS or any(len(word) > _COMMAND for word in words):
        raise invalid("ValueExceeded", "The command has too many words or a word is too long.")
    return words


def _check_container(container: Asked, *, privileged: bool) -> None:
    for name in ("Name", "Image"):
        if not container.get(name):
            raise missing(f"Container.{name}")
    if not re.fullmatch(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?", container["Name"]):
        raise invalid("Container.Name", "The name of a container is malformed.")
    if len(container["Image"]) > 255:
        raise invalid("LengthExceeded", "The name of an image is too long.")
    _choose(container, _IN_CONTAINER)
    _at_most(container, "Arg", _ARGS)
    _at_most(container, "EnvironmentVar", _VARIABLES)
    _check_commands(container)
    for variable in container.get("EnvironmentVar", ()):
        _check_variable(variable)
    for port in container.get("Port", ()):
        if not 0 < int(port.get("Port", 0)) < 65536 or port["Port"] in _RESERVED:
            raise invalid("Port", "A port is out of range or reserved.")
        _choose(port, {"Protocol": {"TCP", "UDP"}})
    for mount in container.get("VolumeMount", ()):
        _check_mount(mount)
    _check_security(container, privileged=privileged)


def _check_commands(container: Asked) -> None:
    hooks = ("LifecyclePostStartHandlerExec", "LifecyclePreStopHandlerExec")
    commands = [container.get(one, ()) for one in ("Command", *hooks)]
    for kind in ("ReadinessProbe", "LivenessProbe"):
        if probe := container.get(kind):
            _check_probe(kind, probe)
            commands.append(probe.get("Exec", {}).get("Command", ()))
    for words in commands:
        if len(words) > _COMMANDS or any(len(word) > _COMMAND for word in words):
            raise invalid("LengthExceeded", "A command has too many words or a word is too long.")


def _check_mount(mount: Asked) -> None:
    _choose(mount, _IN_MOUNT)
    if not mount.get("MountPath", "").startswith("/") or ":" in mount["MountPath"]:
        raise invalid("MountPath", "A mount path is not absolute.")
    if _upwards(mount.get("SubPath", "")):
        raise invalid("SubPath", "A sub path leads out of its volume.")


def _check_security(container: Asked, *, privileged: bool) -> None:
    context = container.get("SecurityContext", {})
    if not set(context.get("Capability", {}).get("Add", ())) <= _CAPABILITIES:
        raise invalid("SecurityContext.Capability", "Only NET_ADMIN and NET_RAW can be added.")
    if context.get("ReadOnlyRootFilesystem", "true").lower() != "true":
        raise invalid("SecurityContext", "ReadOnlyRootFilesystem can only be true.")
    if container.get("SecurityContextPrivileged", "").lower() == "true" and not privileged:
        said = "Access to this feature:[privileged] is restricted."
        raise Refusal("FeatureAccessRestricted", said, status=403)


def _check_probe(kind: str, probe: Asked) -> None:
    if len([how for how in ("Exec", "HttpGet", "TcpSocket") if probe.get(how)]) != 1:
        raise invalid(kind, "One of Exec, HttpGet and TcpSocket is to be given.")
    if int(probe.get("SuccessThreshold", 1)) != 1:
        raise invalid(kind, "SuccessThreshold can only be 1.")
    if any(int(probe.get(name, 1)) < 1 for name in ("PeriodSeconds", "TimeoutSeconds")):
        raise invalid(kind, "A period or timeout is less than 1.")


def _check_variable(variable: Asked) -> None:
    key, value = variable.get("Key", ""), variable.get("Value", "")
    if not _VARIABLE.fullmatch(key):
        raise invalid("EnvironmentVar.Key", "The name of a variable is malformed.")
    if len(value) > _VALUE:
        # As a careless service would say it: with the value.
        raise invalid("LengthExceeded", f"The value {value} is too long.")
    if variable.get("FieldRef", {}).get("FieldPath", "status.podIP") != "status.podIP":
        raise invalid("FieldPath", "Only status.podIP can be referred to.")
    if key in {LAUNCH, EXIT} and not re.fullmatch(r"-?(1000|\d{1,3})", value):
        raise invalid("EnvironmentVar.Value", "A priority is not in -1000..1000.")


def _check_tags(tags: Sequence[Asked]) -> None:
    if len(tags) > 20:
        raise invalid("Tag", "There are more than 20 tags.")
    keys = [tag.get("Key", "") for tag in tags]
    if len(set(keys)) < len(keys):
        raise invalid("Tag", "Two tags have one key.")
    for tag in tags:
        key, value = tag.get("Key", ""), tag.get("Value", "")
        if not 0 < len(key) <= 64 or len(value) > 128 or key.startswith(("acs:", "aliyun")):
            raise invalid("Tag", "A tag is too long or its key is reserved.")
        if value.startswith("acs:") or any("http://" in x or "https://" in x for x in (key, value)):
            raise invalid("Tag", "A tag holds what is reserved.")


def _check_volumes(volumes: Sequence[Asked], containers: Sequence[Asked]) -> None:
    if len(volumes) > 20:
        raise invalid("LengthExceeded", "There are more than 20 volumes.")
    names = [volume.get("Name") for volume in volumes]
    if not all(names):
        raise missing("Volume.Name")
    if len(set(names)) < len(names):
        raise invalid("DuplicatedVolumeName", "Two volumes have one name.")
    for container in containers:
        paths = [mount.get("MountPath") for mount in container.get("VolumeMount", ())]
        if len(set(paths)) < len(paths):
            raise invalid("VolumeMount", "Two volumes are mounted at one path.")
        for mount in container.get("VolumeMount", ()):
            if mount.get("Name") not in names:
                raise invalid("VolumeMount", "A mount names no volume.")
    for volume in volumes:
        _check_volume(volume)


def _check_volume(volume: Asked) -> None:
    kind = volume.get("Type")
    if not kind:
        raise missing("Volume.Type")
    if kind == "HostPathVolume":
        raise Refusal(
            "FeatureAccessRestricted",
            "Access to this feature:[HostPath] is restricted.",
            status=403,
        )
    if kind not in _VOLUME_TYPES:
        raise invalid("Volume.Type", "The type of a volume is unknown.")
    if others := {name for name in volume if name.endswith("Volume") and name != kind}:
        raise invalid("Volume.Type", f"A {kind} has {', '.join(sorted(others))}.")
    inner = volume.get(kind, {})
    if kind == "NFSVolume" and not (inner.get("Server") and inner.get("Path")):
        raise missing("Volume.NFSVolume.Server")
    if kind == "FlexVolume" and inner.get("Driver") not in _DRIVERS:
        raise invalid("FlexVolume.Driver", "The driver is unknown.")
    if kind == "ConfigFileVolume":
        _check_files(inner)


def _check_files(volume: Asked) -> None:
    files = volume.get("ConfigFileToPath", ())
    if len(files) > _FILES:
        raise invalid("LengthExceeded", "A ConfigFileVolume has too many files.")
    modes = [file["Mode"] for file in files if "Mode" in file]
    modes += [volume["DefaultMode"]] if "DefaultMode" in volume else []
    if not all(_MODE.fullmatch(mode) for mode in modes):
        raise invalid("ConfigFileVolume.Mode", "A mode is not of four octal digits.")
    sizes = []
    for file in files:
        if not file.get("Path") or file["Path"].startswith("/") or _upwards(file["Path"]):
            raise invalid("ConfigFileToPath.Path", "The path of a file is not inside its volume.")
        try:
            sizes.append(len(base64.b64decode(file.get("Content", ""), validate=True)))
        except binascii.Error:
            raise invalid("ConfigFileToPath.Content", "A file is not Base64.") from None
    if any(size > _FILE for size in sizes) or sum(sizes) > _VOLUME:
        raise invalid("LengthExceeded", "A ConfigFileVolume is too large.")


def _choose(asked: Asked, choices: Mapping[str, set[str]]) -> None:
    for name, known in choices.items():
        if name in asked and asked[name] not in known:
            raise invalid(name, f"It is none of {', '.join(sorted(known))}.")


def _at_most(asked: Asked, name: str, most: int) -> None:
    if len(asked.get(name, ())) > most:
        raise invalid("LengthExceeded", f"{name} has more than {most} items.")


def _upwards(path: str) -> bool:
    return ".." in path.split("/")
