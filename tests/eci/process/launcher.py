"""A program that enters and makes namespaces. It stands alone and needs only Python and root.

    python -I launcher.py sandbox    hold a group's namespaces; prints the pid of its init
    python -I launcher.py container  run a container in a group's namespaces; exits as it does
    python -I launcher.py command    run a command in a container; exits as it does

What to do comes as JSON in the environment variable ECI_LAUNCH; `up` is a pipe that is closed when
the container's own program runs. A container's own words go to its
standard output and error; those of this program too, and then it exits with 128.
"""

import contextlib
import ctypes
import fcntl
import json
import os
import signal
import struct
import sys
import termios
from typing import Any, NoReturn

NEWNS, NEWUTS, NEWIPC, NEWPID, NEWNET = 0x20000, 0x4000000, 0x8000000, 0x20000000, 0x40000000
_RDONLY, _NOSUID, _NODEV, _NOEXEC, _REMOUNT, _BIND = 1, 2, 4, 8, 32, 4096
_REC, _PRIVATE, _SLAVE, _SHARED = 16384, 1 << 18, 1 << 19, 1 << 20
_DETACH = 2
_PDEATHSIG, _CAPBSET_DROP, _LAST_CAPABILITY = 1, 24, 40
_USUAL = (0, 1, 3, 4, 5, 6, 7, 8, 10, 13, 18, 27, 29, 31)
"""Numbers of the capabilities that container runtimes leave to containers."""
_NUMBERS = {"NET_ADMIN": 12, "NET_RAW": 13}
_DEVICES = ("null", "zero", "full", "random", "urandom", "tty")
_SIFADDR_UP = 0x8914
_FAILED = 128
_PROPAGATION = {"HostToContainer": _SLAVE, "HostToCotainer": _SLAVE, "Bidirectional": _SHARED}

_libc = ctypes.CDLL(None, use_errno=True)


def main(what: str) -> int:
    """Do it and return the exit code."""
    spec = json.loads(os.environ.pop("ECI_LAUNCH"))
    _die_with_parent()
    return {"sandbox": _sandbox, "container": _container, "command": _command}[what](spec)


def _sandbox(spec: dict[str, Any]) -> int:
    """Hold the namespaces of a group until killed."""
    _call("unshare", NEWNS | NEWUTS | NEWIPC | NEWPID | (NEWNET if spec["network"] else 0))
    init = os.fork()
    if init == 0:
        _die_with_parent()
        mount(None, "/", flags=_REC | _PRIVATE)
        if spec["network"]:
            _loopback_up()
        hostname = spec["hostname"].encode()
        _call("sethostname", hostname, len(hostname))
        for volume in spec["volumes"]:
            if volume["memory"]:
                mount("tmpfs", volume["path"], "tmpfs", flags=_NOSUID | _NODEV, data="mode=0777")
            else:
                mount(volume["path"], volume["path"], flags=_BIND)
            mount(None, volume["path"], flags=_SHARED)
        print("ready", flush=True)
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)
        while True:
            signal.pause()
    print(init, flush=True)
    return _wait(init)


def _container(spec: dict[str, Any]) -> int:
    _enter(spec["init"], ("uts", "ipc", "net", "mnt", "pid"))
    inner = os.fork()
    if inner:
        os.close(spec["up"])
        return _wait(inner)
    _die_with_parent()
    _call("unshare", NEWNS | (0 if spec["share_pids"] else NEWPID))
    first = os.fork()
    if first:
        os.close(spec["up"])
        os._exit(_wait(first))
    os.set_inheritable(spec["up"], False)  # closed by the container's own program
    try:
        _build_root(spec)
        _become(spec, parent=True)
    except Exception as error:
        _fail(error)


def _command(spec: dict[str, Any]) -> int:
    _enter(spec["pid"], ("uts", "ipc", "net", "pid", "mnt"))
    inner = os.fork()
    if inner:
        return _wait(inner)
    try:
        os.setsid()
        if spec["tty"]:
            fcntl.ioctl(0, termios.TIOCSCTTY, 0)
        _become(spec, parent=True)
    except Exception as error:
        _fail(error)


def _build_root(spec: dict[str, Any]) -> None:
    """Mount everything under the container's root, and make that the root."""
    root = spec["root"]
    layers = f"lowerdir={spec['image']},upperdir={spec['upper']},workdir={spec['work']}"
    mount("overlay", root, "overlay", data=layers)
    inner = _Inside(root)
    mount("proc", inner.folder("/proc"), "proc", flags=_NOSUID | _NODEV | _NOEXEC)
    with contextlib.suppress(OSError):  # not in a user's own namespaces
        mount("sysfs", inner.folder("/sys"), "sysfs", flags=_NOSUID | _NODEV | _NOEXEC | _RDONLY)
    _devices(inner, privileged=spec["privileged"])
    for file in spec["files"]:
        mount(file["from"], inner.file(file["at"]), flags=_BIND)
    for one in spec["mounts"]:
        source = one["from"]
        if one["sub"]:
            source = f"{source}/{one['sub']}"
            os.makedirs(source, exist_ok=True)
        target = inner.folder(one["at"])
        mount(source, target, flags=_BIND | _REC)
        mount(None, target, flags=_REC | _PROPAGATION.get(one["propagation"], _PRIVATE))
        if one["read_only"]:
            mount(None, target, flags=_BIND | _REMOUNT | _RDONLY)
    if spec["read_only"]:
        mount(None, root, flags=_BIND | _REMOUNT | _RDONLY)
    os.chdir(root)
    old = os.open("/", os.O_RDONLY | os.O_DIRECTORY)
    # The new root over the old one at one place: no folder for the old one is needed in it.
    _call("pivot_root", b".", b".")
    os.fchdir(old)
    # What is mounted in volumes is shared with others: it must not be unmounted there too.
    mount(None, ".", flags=_REC | _SLAVE)
    _call("umount2", b".", _DETACH)
    os.close(old)
    os.chdir("/")


class _Inside:
    """Places under a root. Links on the way are followed inside it only."""

    def __init__(self, root: str) -> None:
        self._root = root

    def folder(self, path: str) -> str:
        place = self._place(path)
        os.makedirs(place, exist_ok=True)
        return place

    def file(self, path: str) -> str:
        place = self._place(path)
        os.makedirs(os.path.dirname(place), exist_ok=True)
        with contextlib.suppress(FileExistsError):
            os.close(os.open(place, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644))
        return place

    def _place(self, path: str) -> str:
        place, parts, links = self._root, path.strip("/").split("/"), 0
        while parts:
            part = parts.pop(0)
            if part in {"", "."}:
                continue
            if part == "..":
                place = self._root if place == self._root else os.path.dirname(place)
                continue
            step = f"{place}/{part}"
            if os.path.islink(step):
                links += 1
                if links > 40:
                    raise OSError(f"too many links in {path}")
                target = os.readlink(step)
                if target.startswith("/"):
                    place = self._root
                parts = [*target.split("/"), *parts]
                continue
            place = step
        return place


def _devices(inner: _Inside, *, privileged: bool) -> None:
    dev = inner.folder("/dev")
    mount("tmpfs", dev, "tmpfs", flags=_NOSUID, data="mode=755,size=65536k")
    for name in (*_DEVICES, *(("fuse",) if privileged and os.path.exists("/dev/fuse") else ())):
        mount(f"/dev/{name}", inner.file(f"/dev/{name}"), flags=_BIND)
    options = "newinstance,ptmxmode=0666,mode=0620"
    mount("devpts", inner.folder("/dev/pts"), "devpts", flags=_NOSUID | _NOEXEC, data=options)
    mount("tmpfs", inner.folder("/dev/shm"), "tmpfs", flags=_NOSUID | _NODEV, data="mode=1777")
    for link, target in (
        ("ptmx", "pts/ptmx"),
        ("fd", "/proc/self/fd"),
        ("stdin", "/proc/self/fd/0"),
    ):
        os.symlink(target, f"{dev}/{link}")
    os.symlink("/proc/self/fd/1", f"{dev}/stdout")
    os.symlink("/proc/self/fd/2", f"{dev}/stderr")


def _become(spec: dict[str, Any], *, parent: bool) -> NoReturn:
    """Turn into the container's program."""
    if not spec["privileged"]:
        kept = {*_USUAL, *(_NUMBERS[name] for name in spec["capabilities"])}
        for number in range(_LAST_CAPABILITY + 1):
            if number not in kept:
                _call("prctl", _CAPBSET_DROP, number, 0, 0, 0)
    user, group = _identity(spec["user"], spec["group"])
    if spec["no_root"] and user == 0:
        raise PermissionError("the container must not run as root, and would")
    folder = spec["cwd"] or "/"
    os.makedirs(folder, exist_ok=True)
    os.chdir(folder)
    os.setgroups([group] if group else [])
    os.setresgid(group, group, group)
    os.setresuid(user, user, user)
    if parent:
        _die_with_parent()
    for number in range(1, signal.NSIG):
        if number not in {signal.SIGKILL, signal.SIGSTOP}:
            with contextlib.suppress(OSError, ValueError):
                signal.signal(number, signal.SIG_DFL)
    environment = {"HOME": "/root" if user == 0 else "/", **spec["environment"]}
    os.environ["PATH"] = environment.get("PATH", "/usr/local/bin:/usr/bin:/bin")
    os.execvpe(spec["command"][0], spec["command"], environment)


def _identity(user: str, group: str) -> tuple[int, int]:
    """Numbers for what an image or a request says, which may be names of the container."""
    name, _, its_group = user.partition(":")
    number, default = _look_up("/etc/passwd", name)
    wanted = group or its_group
    return number, _look_up("/etc/group", wanted)[0] if wanted else default


def _look_up(file: str, name: str) -> tuple[int, int]:
    with contextlib.suppress(OSError), open(file) as lines:
        for line in lines:
            fields = line.rstrip("\n").split(":")
            if len(fields) > 3 and (fields[0] == name or fields[2] == name):
                return int(fields[2]), int(fields[3]) if fields[3].isdigit() else 0
    if name and not name.isdigit():
        raise LookupError(f"no {name} in {file}")
    return int(name or 0), 0


def _enter(pid: int, kinds: tuple[str, ...]) -> None:
    handles = [os.open(f"/proc/{pid}/ns/{kind}", os.O_RDONLY) for kind in kinds]
    for handle in handles:
        _call("setns", handle, 0)
        os.close(handle)


def _loopback_up() -> None:
    import socket

    with socket.socket() as any_socket:
        up = struct.pack("16sh14s", b"lo", 1, b"")
        fcntl.ioctl(any_socket, _SIFADDR_UP, up)


def _wait(pid: int) -> int:
    """The exit code of a child. SIGTERM is passed on; all else ends with this process."""
    signal.signal(signal.SIGTERM, lambda *_: os.kill(pid, signal.SIGTERM))
    while True:
        ended, status = os.waitpid(pid, 0)
        if ended == pid:
            code = os.waitstatus_to_exitcode(status)
            return 128 - code if code < 0 else code


def _die_with_parent() -> None:
    _call("prctl", _PDEATHSIG, signal.SIGKILL, 0, 0, 0)


def mount(
    source: str | None, target: str, kind: str | None = None, *, flags: int = 0, data: str = ""
) -> None:
    """mount(2). Raises OSError."""
    words = [None if one is None else one.encode() for one in (source, target, kind)]
    _call("mount", *words, flags, data.encode() or None)


def _call(name: str, *arguments: Any) -> None:
    words = [ctypes.c_ulong(one) if isinstance(one, int) else one for one in arguments]
    if getattr(_libc, name)(*words) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{name}: {os.strerror(number)}", str(arguments[:2]))


def _fail(error: Exception) -> NoReturn:
    os.write(2, f"failed to start: {error}\n".encode())
    os._exit(_FAILED)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
