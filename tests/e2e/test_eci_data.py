"""A container group reads a claim's files through its FUSE sidecar. No cluster is needed.

The client is a real one (bindfs), by the profile of tests/standin; the emulator runs the group on
this machine. What the client itself reads is a network file system here.
"""

from __future__ import annotations

import asyncio
import os
import time
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from federation.claims.objects import VolumeSpec
from federation.fluid.profiles import Dataset, Thin
from federation.fluid.sidecar import Asked, Brought, brought
from tests.clusters import can_run_containers
from tests.eci.connecting import KEYS, connected
from tests.eci.process.images import node_images
from tests.eci.process.mode import Processes
from tests.eci.server import Emulator
from tests.standin.store import CLIENT, IMAGE, MOUNTED_FROM, TAG, build_image

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from federation.backends.eci.api import EciApi

pytestmark = [
    pytest.mark.containers,
    pytest.mark.skipif(not can_run_containers()[0], reason="containers cannot run here"),
]

SERVER, SHARE = "nas.example", "/store"
_LONGEST = 20.0
ASKED = Asked(
    namespace="team-a",
    claim="data",
    volume="data",
    source=msgspec.convert(
        {"csi": {"driver": "csi.starfs.example.com", "volumeAttributes": {"path": "demo"}}},
        VolumeSpec,
    ),
    dataset=msgspec.convert({"mounts": [{"mountPoint": "pvc://data", "name": "data"}]}, Dataset),
    thin=msgspec.convert(
        {
            "fileSystemType": "starfs",
            "fuse": {
                "image": IMAGE,
                "imageTag": TAG,
                "command": ["sh", "-c", CLIENT],
                "volumeMounts": [{"name": "store", "mountPath": MOUNTED_FROM}],
            },
            "volumes": [{"name": "store", "nfs": {"server": SERVER, "path": SHARE}}],
        },
        Thin,
    ),
)


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[EciApi]:
    """An account whose network file system has a file that nothing else has."""
    store = tmp_path / "store"
    (store / "demo").mkdir(parents=True)
    (store / "demo" / "figures").write_text("3\n14\n15\n")
    archive = tmp_path / "client.tar"
    build_image(archive)
    volumes = {f"{SERVER}:{SHARE}": store}
    mode = Processes([node_images(), archive], network_volumes=volumes)
    async with Emulator(keys=KEYS, mode=mode) as emulator, connected(emulator) as client:
        yield client


def group(found: Brought, script: str) -> dict[str, Any]:
    app = {
        "Name": "main",
        "Image": "busybox:1.36",
        "Command": ["sh", "-c"],
        "Arg": [script],
        "VolumeMount": [
            {"Name": "data", "MountPath": "/data", "MountPropagation": found.propagation}
        ],
    }
    return {
        "ContainerGroupName": "job",
        "RestartPolicy": "Never",
        "Container": [app, found.sidecar],
        "Volume": list(found.volumes),
    }


async def test_a_group_reads_the_files_of_a_claim_and_ends_without_its_sidecar(
    api: EciApi,
) -> None:
    script = (
        "grep -o 'fuse.starfs' /proc/mounts; "
        "awk '{ s += $1 } END { print s }' /data/figures; echo 32 > /data/sum"
    )
    made = await api.create(
        group(brought(ASKED, privileged=True), script), token=os.urandom(8).hex()
    )
    deadline, status = time.monotonic() + _LONGEST, ""
    while status not in {"Succeeded", "Failed"} and time.monotonic() < deadline:
        await asyncio.sleep(0.05)
        [found] = [one async for one in api.statuses(ids=[made])]
        status = found.status
    said = await api.log(made, "fluid-fuse-0")
    assert status == "Succeeded", said
    assert await api.log(made, "main") == "fuse.starfs\n32\n"
