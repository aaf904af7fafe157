"""From parameters of a create to what the launcher is told. Files are written, nothing runs."""

import base64
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.eci.asking import is_true
from tests.eci.containers import Container
from tests.eci.engine import CannotStart
from tests.eci.process.images import Image

TERMINATION_LOG = "/dev/termination-log"


@dataclass(frozen=True)
class Places:
    """Folders of a group on this machine."""

    folder: Path
    address: str
    hostname: str
    network_volumes: Mapping[str, Path] = field(default_factory=dict)
    """Local folders that stand in for `SERVER:PATH` of NFS and for options of FlexVolumes."""

    def volume(self, name: str) -> Path:
        return self.folder / "volumes" / name

    def attempt(self, container: Container) -> Path:
        return self.folder / "containers" / f"{container.name}-{container.attempt}"

    def termination(self, container: Container) -> Path:
        return self.attempt(container) / "termination"

    def elsewhere(self, volume: Mapping[str, Any]) -> Path:
        """The local folder for a volume of the network. Raises CannotStart without one."""
        inner = volume.get(volume["Type"], {})
        name = inner.get("Options", "")
        if volume["Type"] == "NFSVolume":
            name = f"{inner['Server']}:{inner['Path']}"
        if name not in self.network_volumes:
            said = f"MountVolume failed for volume {volume['Name']}"
            raise CannotStart("ContainerCreating", said)
        return self.network_volumes[name]

    def check(self, volume: Mapping[str, Any]) -> None:
        """Raise CannotStart for a volume that cannot be had here."""
        if volume["Type"] not in {"EmptyDirVolume", "ConfigFileVolume"}:
            self.elsewhere(volume)


def make_volumes(asked: Mapping[str, Any], places: Places) -> list[dict[str, Any]]:
    """Make all volumes of a group. Raises CannotStart for one that cannot be had here."""
    made = []
    for volume in asked.get("Volume", ()):
        path = places.volume(volume["Name"])
        memory = False
        if volume["Type"] == "EmptyDirVolume":
            path.mkdir(parents=True)
            path.chmod(0o777)
            memory = volume.get("EmptyDirVolume", {}).get("Medium", "").lower() == "memory"
        elif volume["Type"] == "ConfigFileVolume":
            path.mkdir(parents=True)
            _write_files(volume.get("ConfigFileVolume", {}), path)
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.symlink_to(places.elsewhere(volume))
        made.append({"path": str(path.resolve()), "memory": memory})
    return made


def _write_files(volume: Mapping[str, Any], path: Path) -> None:
    default = volume.get("DefaultMode", "0644")
    for file in volume.get("ConfigFileToPath", ()):
        target = path / file["Path"]
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(base64.b64decode(file.get("Content", "")))
        target.chmod(int(file.get("Mode", default), 8))


def container_spec(
    asked: Mapping[str, Any],
    container: Container,
    *,
    image: Image,
    root: Path,
    init: int,
    places: Places,
) -> dict[str, Any]:
    """What the launcher is told to run a container; its folders are made."""
    wanted = container.asked
    folder = places.attempt(container)
    for name in ("root", "upper", "work"):
        (folder / name).mkdir(parents=True)
    termination = places.termination(container)
    termination.touch(mode=0o666)
    termination.chmod(0o666)
    nodes = {one["Name"]: one for one in asked.get("Volume", ())}
    mounts = [
        {
            "from": str(places.volume(mount["Name"]).resolve()),
            "at": mount["MountPath"],
            "sub": mount.get("SubPath", "").strip("/"),
            "propagation": mount.get("MountPropagation", "None"),
            "read_only": is_true(mount, "ReadOnly")
            or nodes[mount["Name"]]["Type"] == "ConfigFileVolume",
        }
        for mount in sorted(wanted.get("VolumeMount", ()), key=lambda one: one["MountPath"])
    ]
    files = [
        {"from": str(places.folder / name), "at": f"/etc/{name}"}
        for name in ("hostname", "hosts", "resolv.conf")
    ]
    path = wanted.get("TerminationMessagePath", TERMINATION_LOG)
    files.append({"from": str(termination), "at": path})
    command = image.command(wanted.get("Command", []), wanted.get("Arg", []))
    return {
        "init": init,
        "image": str(root),
        "root": str(folder / "root"),
        "upper": str(folder / "upper"),
        "work": str(folder / "work"),
        "share_pids": is_true(asked, "ShareProcessNamespace"),
        "read_only": bool(wanted.get("SecurityContext", {}).get("ReadOnlyRootFilesystem")),
        "files": files,
        "mounts": mounts,
        "command": command,
        **identity(container, image, places),
    }


def identity(container: Container, image: Image, places: Places) -> dict[str, Any]:
    """Who a program in the container is, and what it finds around it."""
    wanted = container.asked
    context = wanted.get("SecurityContext", {})
    variables = {
        one["Key"]: places.address if one.get("FieldRef") else one.get("Value", "")
        for one in wanted.get("EnvironmentVar", ())
    }
    return {
        "environment": image.environment | {"HOSTNAME": places.hostname} | variables,
        "cwd": wanted.get("WorkingDir") or image.config.get("WorkingDir", ""),
        "user": str(context.get("RunAsUser", image.config.get("User", ""))),
        "group": str(wanted.get("SecurityContextRunAsGroup", "")),
        "no_root": is_true(wanted, "SecurityContextRunAsNonRoot"),
        "privileged": is_true(wanted, "SecurityContextPrivileged"),
        "capabilities": [*context.get("Capability", {}).get("Add", ())],
    }


def write_network_files(asked: Mapping[str, Any], places: Places) -> None:
    """The group's hostname, hosts and resolv.conf."""
    (places.folder / "hostname").write_text(f"{places.hostname}\n")
    hosts = [f"127.0.0.1\tlocalhost\n{places.address}\t{places.hostname}\n"]
    hosts += [
        f"{alias['Ip']}\t{' '.join(alias.get('Hostname', ()))}\n"
        for alias in asked.get("HostAliase", ())
    ]
    (places.folder / "hosts").write_text("".join(hosts))
    dns = asked.get("DnsConfig", {})
    lines = [f"nameserver {server}\n" for server in dns.get("NameServer", ())]
    if dns.get("Search"):
        lines.append(f"search {' '.join(dns['Search'])}\n")
    (places.folder / "resolv.conf").write_text("".join(lines))
