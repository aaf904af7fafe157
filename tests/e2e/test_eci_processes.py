"""Containers that the emulator of ECI really runs. No cluster is needed."""

import asyncio
import base64
import contextlib
import os
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from federation.backends.eci.answers import GroupStatus
from federation.backends.eci.api import EciApi
from federation.backends.eci.exec import EciExec
from tests.clusters import can_run_containers
from tests.eci.connecting import KEYS, client_of, connected
from tests.eci.process.images import node_images
from tests.eci.process.mode import Processes
from tests.eci.server import Emulator
from tests.eci.service import EciService

if TYPE_CHECKING:
    from federation.backends.eci.parameters import Parameters

pytestmark = [
    pytest.mark.containers,
    pytest.mark.skipif(not can_run_containers()[0], reason="containers cannot run here"),
]

_LONGEST = 20.0
FINAL = {"Succeeded", "Failed"}


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[EciApi]:
    nas = tmp_path / "nas"
    nas.mkdir()
    (nas / "data").write_text("from the nas\n")
    mode = Processes([node_images()], network_volumes={"nas.example:/share": nas})
    async with Emulator(keys=KEYS, mode=mode) as emulator, connected(emulator) as client:
        yield client


def shell(script: str, name: str = "main", **more: Any) -> dict[str, Any]:
    return {"Name": name, "Image": "busybox:1.36", "Command": ["sh", "-c"], "Arg": [script], **more}


def group(*containers: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {
        "ContainerGroupName": "web",
        "RestartPolicy": "Never",
        "Container": list(containers),
        **more,
    }


async def create(api: EciApi, asked: dict[str, Any]) -> str:
    return await api.create(asked, token=os.urandom(8).hex())


async def until(api: EciApi, made: str, wanted: set[str]) -> GroupStatus:
    deadline = time.monotonic() + _LONGEST
    while time.monotonic() < deadline:
        [found] = [one async for one in api.statuses(ids=[made])]
        if found.status in wanted:
            return found
        await asyncio.sleep(0.03)
    raise AssertionError(f"{found.status}: {await api.log(made, 'main')}")


async def ran(api: EciApi, asked: dict[str, Any]) -> tuple[GroupStatus, str]:
    """The final state of a group, and the output of its container `main`."""
    made = await create(api, asked)
    found = await until(api, made, FINAL)
    return found, await api.log(made, "main")


async def written(api: EciApi, made: str, text: str) -> None:
    """Return when the container `main` has written it."""
    for _ in range(200):
        if text in await api.log(made, "main"):
            return
        await asyncio.sleep(0.05)
    raise AssertionError(f"never wrote {text}")


async def said(
    api: EciApi, made: str, words: list[str], *, tty: bool = False, typed: str = ""
) -> tuple[dict[int, str], int | None]:
    """What a command writes by stream, and its exit code; with `typed` only until it is back."""
    prepared = await api.execute(made, "main", words, tty=tty, stdin=bool(typed) or tty)
    command = EciExec(await api.open_socket(prepared), tty=tty)
    written = {1: "", 2: ""}
    try:
        if tty:
            await command.resize(width=120, height=40)
        await command.write_stdin(typed.encode())
        async with asyncio.timeout(_LONGEST):
            async for stream, data in command.output():
                written[stream] += data.decode()
                if typed and written[stream].endswith(typed):
                    return written, None
        return written, await command.exit_code()
    finally:
        await command.close()


async def test_output_exit_code_and_termination_message_are_those_of_the_container(
    api: EciApi,
) -> None:
    script = "echo out; echo err >&2; printf why > /dev/termination-log; exit 3"
    found, output = await ran(api, group(shell(script)))

    ended = found.pod_status.container_statuses[0].state.terminated
    assert sorted(output.splitlines()) == ["err", "out"]
    assert ended is not None
    assert (found.status, ended.exit_code, ended.message) == ("Failed", 3, "why")


async def test_a_container_has_what_was_asked_for(api: EciApi) -> None:
    script = (
        'echo "$A $POD"; pwd; id -u; id -g; hostname; cat /c/x/f; stat -c %a /c/x/f; cat /n/data'
    )
    content = base64.b64encode(b"a file\n").decode()
    asked = group(
        shell(
            script,
            EnvironmentVar=[
                {"Key": "A", "Value": "x y"},
                {"Key": "POD", "FieldRef": {"FieldPath": "status.podIP"}},
            ],
            WorkingDir="/tmp/there",
            SecurityContext={"RunAsUser": 1234},
            SecurityContextRunAsGroup=2345,
            VolumeMount=[
                {"Name": "c", "MountPath": "/c", "ReadOnly": True},
                {"Name": "n", "MountPath": "/n"},
            ],
        ),
        HostName="myhost",
        Volume=[
            {
                "Name": "c",
                "Type": "ConfigFileVolume",
                "ConfigFileVolume": {
                    "ConfigFileToPath": [{"Path": "x/f", "Content": content, "Mode": "0444"}]
                },
            },
            {
                "Name": "n",
                "Type": "NFSVolume",
                "NFSVolume": {"Server": "nas.example", "Path": "/share"},
            },
        ],
    )
    found, output = await ran(api, asked)

    assert output.splitlines() == [
        f"x y {found.pod_status.pod_ip}",
        "/tmp/there",
        "1234",
        "2345",
        "myhost",
        "a file",
        "444",
        "from the nas",
    ]


async def test_init_containers_share_volumes_with_what_comes_after(api: EciApi) -> None:
    mount = [{"Name": "v", "MountPath": "/v"}]
    asked = group(
        shell("cat /v/f", VolumeMount=mount),
        InitContainer=[shell("echo made > /v/f", name="init", VolumeMount=mount)],
        Volume=[{"Name": "v", "Type": "EmptyDirVolume"}],
    )
    found, output = await ran(api, asked)

    assert (found.status, output) == ("Succeeded", "made\n")


async def test_an_app_sees_what_its_sidecar_mounts_and_does_not_wait_for_it(api: EciApi) -> None:
    """As a FUSE client would: the mount comes after the app's own mounts could have been made."""
    sidecar = [
        {"Key": "ECI_CONTAINER_TYPE", "Value": "sidecar"},
        {"Key": "ECI_CONTAINER_IGNORE_EXIT_CODE", "Value": "true"},
        {"Key": "ECI_CONTAINER_LAUNCH_PRIORITY", "Value": "1000"},
    ]
    fuse = shell(
        "mkdir -p /m/fs; mount -t tmpfs none /m/fs; echo data > /m/fs/f; "
        "trap 'umount /m/fs; exit 7' TERM; touch /m/fs/ready; while :; do sleep 0.1; done",
        name="fuse",
        SecurityContextPrivileged=True,
        EnvironmentVar=sidecar,
        ReadinessProbe={"Exec": {"Command": ["test", "-e", "/m/fs/ready"]}, "PeriodSeconds": 1},
        VolumeMount=[{"Name": "v", "MountPath": "/m", "MountPropagation": "Bidirectional"}],
    )
    app = shell(
        "cat /d/fs/f; mount -t tmpfs none /tmp || echo no right",
        VolumeMount=[{"Name": "v", "MountPath": "/d", "MountPropagation": "HostToContainer"}],
    )
    volumes = [{"Name": "v", "Type": "EmptyDirVolume"}]
    found, output = await ran(api, group(app, fuse, Volume=volumes))

    ended = {
        one.name: one.state.terminated.exit_code
        for one in found.pod_status.container_statuses
        if one.state.terminated
    }
    assert found.status == "Succeeded"
    assert output.splitlines()[0] == "data"
    assert "no right" in output
    assert ended == {"main": 0, "fuse": 7}


@pytest.mark.parametrize(("propagation", "seen"), [("None", ""), ("HostToContainer", "f\n")])
async def test_a_mount_made_later_is_seen_only_with_propagation(
    api: EciApi, propagation: str, seen: str
) -> None:
    mounting = shell(
        "while ! test -e /m/up; do sleep 0.02; done; mkdir /m/fs; mount -t tmpfs none /m/fs; "
        "touch /m/fs/f; touch /m/done; exec sleep 100",
        name="other",
        SecurityContextPrivileged=True,
        EnvironmentVar=[{"Key": "ECI_CONTAINER_TYPE", "Value": "sidecar"}],
        VolumeMount=[{"Name": "v", "MountPath": "/m", "MountPropagation": "Bidirectional"}],
    )
    app = shell(
        "touch /d/up; while ! test -e /d/done; do sleep 0.02; done; ls /d/fs",
        VolumeMount=[{"Name": "v", "MountPath": "/d", "MountPropagation": propagation}],
    )
    volumes = [{"Name": "v", "Type": "EmptyDirVolume"}]
    asked = group(app, mounting, Volume=volumes, TerminationGracePeriodSeconds=0)
    _, output = await ran(api, asked)

    assert output == seen


async def test_commands_run_in_the_container(api: EciApi) -> None:
    made = await create(api, group(shell("touch /here; echo up; exec sleep 100")))
    await until(api, made, {"Running"})
    await written(api, made, "up")
    output = await said(api, made, ["sh", "-c", "ls /here; echo err >&2; exit 4"])
    typed = await said(api, made, ["cat"], typed="a\n")
    terminal = await said(api, made, ["sh", "-c", "sleep 0.3; stty size"], tty=True)

    assert output == ({1: "/here\n", 2: "err\n"}, 4)
    assert typed == ({1: "a\n", 2: ""}, None)
    assert terminal == ({1: "40 120\r\n", 2: ""}, 0)


async def test_a_command_can_be_answered_at_once(api: EciApi) -> None:
    made = await create(api, group(shell("exec sleep 100"), TerminationGracePeriodSeconds=0))
    await until(api, made, {"Running"})
    asked: Parameters = {
        "ContainerGroupId": made,
        "ContainerName": "main",
        "Command": '["sh", "-c", "echo out; echo err >&2"]',
        "Sync": True,
    }
    answer = await api._call("ExecContainerCommand", asked, into=dict)

    assert sorted(answer["SyncResponse"].split()) == ["err", "out"]


@pytest.mark.parametrize("how", ["HttpGet", "TcpSocket"])
async def test_a_probe_connects_inside_the_groups_network(api: EciApi, how: str) -> None:
    asked: dict[str, Any] = {how: {"Port": 8080}, "PeriodSeconds": 1}
    if how == "HttpGet":
        asked[how]["Path"] = "/f"
    serve = "mkdir /w; touch /w/f; sleep 0.2; httpd -f -p 127.0.0.1:8080 -h /w"
    made = await create(
        api, group(shell(serve, ReadinessProbe=asked), TerminationGracePeriodSeconds=0)
    )
    for _ in range(100):
        [container] = (await until(api, made, {"Running"})).pod_status.container_statuses
        if container.ready:
            break
        await asyncio.sleep(0.05)

    assert container.ready
    events = [event.reason for one in await api.events([made]) for event in one.events]
    assert "Unhealthy" in events


async def test_hooks_run_in_the_container(api: EciApi) -> None:
    loop = "trap 'cat /stopping; exit 0' TERM; while :; do sleep 0.05; done"
    asked = shell(
        loop,
        LifecyclePostStartHandlerExec=["sh", "-c", "echo started > /proc/1/fd/1"],
        LifecyclePreStopHandlerExec=["sh", "-c", "echo stopping > /stopping"],
    )
    made = await create(api, group(asked, ActiveDeadlineSeconds=2))
    await until(api, made, {"Failed"})

    assert await api.log(made, "main") == "started\nstopping\n"


async def test_a_container_that_ends_is_started_again_and_its_log_kept(api: EciApi) -> None:
    script = "echo run; test -e /v/again || { touch /v/again; exit 1; }; exec sleep 100"
    asked = group(
        shell(script, VolumeMount=[{"Name": "v", "MountPath": "/v"}]),
        Volume=[{"Name": "v", "Type": "EmptyDirVolume"}],
        RestartPolicy="OnFailure",
    )
    made = await create(api, asked)
    deadline = time.monotonic() + _LONGEST
    while time.monotonic() < deadline:
        found = await until(api, made, {"Running", "Pending"})
        [status] = found.pod_status.container_statuses
        if status.restart_count and await api.log(made, "main"):
            break
        await asyncio.sleep(0.05)

    assert status.restart_count == 1
    assert status.last_state.terminated is not None
    assert await api.log(made, "main", previous=True) == "run\n"


async def test_what_cannot_be_started_says_why(api: EciApi) -> None:
    asked = group({"Name": "main", "Image": "busybox:1.36", "Command": ["/nothing"]})
    found, output = await ran(api, asked)
    missing = await create(api, group({"Name": "main", "Image": "nowhere/app:1"}))
    await asyncio.sleep(0.5)
    waiting = await until(api, missing, {"Pending"})

    ended = found.pod_status.container_statuses[0].state.terminated
    assert ended is not None
    assert (ended.exit_code, "No such file" in ended.message) == (128, True), output
    reason = waiting.pod_status.container_statuses[0].state.waiting
    assert reason is not None
    assert reason.reason == "ErrImagePull"


async def test_a_deleted_group_gets_its_time_and_leaves_nothing(api: EciApi) -> None:
    script = "trap 'echo bye; exit 0' TERM; echo up; while :; do sleep 0.05; done"
    deaf = shell("trap '' TERM; while :; do sleep 0.05; done", name="deaf")
    made = await create(api, group(shell(script), deaf, TerminationGracePeriodSeconds=1))
    await until(api, made, {"Running"})
    await written(api, made, "up")
    began = time.monotonic()
    await api.delete(made)
    output = ""
    with contextlib.suppress(Exception):
        while time.monotonic() - began < _LONGEST:
            output = await api.log(made, "main")
            await asyncio.sleep(0.05)

    assert output == "up\nbye\n"
    assert 1 <= time.monotonic() - began < 10


def test_nothing_outlives_an_emulator_that_is_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))

    async def start(url: str) -> None:
        async with client_of(url) as api:
            made = await create(api, group(shell(f"exec sleep {marked}")))
            await until(api, made, {"Running"})

    marked = f"1000.{os.getpid()}"
    with EciService("--process", "--scheduling", "0", "--pulling", "0") as eci:
        asyncio.run(start(eci.url))
        deadline = time.monotonic() + 5
        while not _running(marked) and time.monotonic() < deadline:
            time.sleep(0.02)
        assert _running(marked)
        eci.kill()
        deadline = time.monotonic() + 5
        while _running(marked) and time.monotonic() < deadline:
            time.sleep(0.02)
        assert not _running(marked)
        assert list(tmp_path.glob("vnode-eci-*"))
    with EciService("--process"):
        pass
    assert not list(tmp_path.glob("vnode-eci-*"))


def _running(word: str) -> list[str]:
    found = []
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            if f"sleep\0{word}" in entry.read_text():
                found.append(entry.parent.name)
    return found
