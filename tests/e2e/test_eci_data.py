"""A pod on an account reads the files of its claim through the FUSE sidecar. No cluster is needed.

The client is a real one (bindfs), by the profile of tests/standin; the emulator runs the group on
this machine. What the client itself reads is a network file system here, and it needs the Secret
that the claim's volume names.
"""

from __future__ import annotations

import asyncio
import base64
import random
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from federation.backends.eci.backend import EciBackend
from federation.claims.objects import PERSISTENT_VOLUMES, Claim
from federation.config import CopiedVolume
from federation.fluid.groups import GroupClaims
from federation.fluid.profiles import Thin
from tests.builders import NODE, loads, make_request
from tests.clusters import can_run_containers
from tests.eci.connecting import KEYS, connected
from tests.eci.process.images import node_images
from tests.eci.process.mode import Processes
from tests.eci.server import Emulator
from tests.fakes.client import RecordingClient
from tests.standin.data_site import CLAIM, DRIVER, PROFILE, claim, source, volume
from tests.standin.store import CLIENT, IMAGE, MOUNTED_FROM, TAG, build_image
from tests.unit.federation.eci.translate.builders import TRUSTING, config_map
from tests.unit.federation.translate.builders import make_pod, make_spec
from vnode.backend import SERVICE_VARIABLES, LogOptions, ObjectRef
from vnode.kube.decode import decode
from vnode.kube.resources import SECRETS
from vnode.kube.types import encode
from vnode.runtime.clock import SystemClock

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from vnode.backend import ObservedPod

pytestmark = [
    pytest.mark.containers,
    pytest.mark.skipif(not can_run_containers()[0], reason="containers cannot run here"),
]

SERVER, SHARE = "nas.example", "/store"
KEY = "/etc/fluid/secrets/key/token"
_LONGEST = 20.0
THIN = msgspec.convert(
    {
        "fileSystemType": "starfs",
        "fuse": {
            "image": IMAGE,
            "imageTag": TAG,
            "command": ["sh", "-c", f'test "$(cat {KEY})" = hush || exit 1\n{CLIENT}'],
            "volumeMounts": [{"name": "store", "mountPath": MOUNTED_FROM}],
        },
        "volumes": [{"name": "store", "nfs": {"server": SERVER, "path": SHARE}}],
    },
    Thin,
)
ALLOWED = CopiedVolume(
    driver=DRIVER, volume_handles=("starfs/demo/*",), attributes={"path": ("team-a",)}
)


def tenant() -> tuple[RecordingClient, Claim]:
    """One whose claim is bound, with the Secret that opens its volume."""
    client = RecordingClient()
    asked = claim(**{"fluid.io/runtime-profile": PROFILE})
    asked["metadata"] |= {"namespace": "team-a", "uid": "c-1"}
    of_claim = {"claimRef": {"namespace": "team-a", "name": CLAIM, "uid": "c-1"}}
    ref = {"nodePublishSecretRef": {"name": "key", "namespace": "team-a"}}
    client.put(PERSISTENT_VOLUMES, volume(source(**ref) | of_claim))
    data = {"token": base64.b64encode(b"hush").decode()}
    client.put(SECRETS, {"metadata": {"name": "key", "namespace": "team-a"}, "data": data})
    return client, decode(encode(asked), Claim)


@pytest.fixture
async def backend(tmp_path: Path) -> AsyncIterator[EciBackend]:
    """An account whose network file system has a file that nothing else has."""
    store = tmp_path / "store"
    (store / "team-a").mkdir(parents=True)
    (store / "team-a" / "figures").write_text("3\n14\n15\n")
    archive = tmp_path / "client.tar"
    build_image(archive)
    volumes = {f"{SERVER}:{SHARE}": store}
    mode = Processes([node_images(), archive], network_volumes=volumes)
    client, asked = tenant()
    async with Emulator(keys=KEYS, mode=mode) as emulator, connected(emulator) as api:
        made = EciBackend(
            api,
            policies={NODE: replace(TRUSTING, vswitches=(), claims=True)},
            account="beijing",
            claims=GroupClaims(
                client.client,
                claim=lambda _: asked,
                profiles={PROFILE: THIN},
                volumes=[ALLOWED],
                secrets=True,
            ),
            clock=SystemClock(),
            rng=random.Random(1),
        )
        await made.put_object(ObjectRef("team-a", *SERVICE_VARIABLES), config_map("x", {}))
        yield made


def reading(script: str) -> Any:
    """A pod that works with the claim."""
    container = {
        "name": "main",
        "image": "busybox:1.36",
        "command": ["sh", "-c", script],
        "volumeMounts": [{"name": "data", "mountPath": "/data"}],
    }
    mounted = {"name": "data", "persistentVolumeClaim": {"claimName": CLAIM}}
    return make_pod(make_spec(restartPolicy="Never", containers=[container], volumes=[mounted]))


async def ended(backend: EciBackend, copy: ObservedPod) -> dict[str, Any]:
    """Its last status."""
    deadline, status = time.monotonic() + _LONGEST, dict[str, Any]()
    while status.get("phase") not in {"Succeeded", "Failed"} and time.monotonic() < deadline:
        await asyncio.sleep(0.05)
        await backend.observer.look()
        found = backend.observed(copy.key)
        assert found is not None
        status = loads(found.status)
    return status


async def test_a_pod_reads_the_files_of_a_claim_and_ends_without_its_sidecar(
    backend: EciBackend,
) -> None:
    script = (
        "grep -o 'fuse.starfs' /proc/mounts; ls /etc/fluid; "
        "awk '{ s += $1 } END { print s }' /data/figures; echo 32 > /data/sum"
    )
    request = make_request(reading(script))
    backend.admit(request)
    copy = await backend.apply(request)
    status = await ended(backend, copy)
    said = b"".join([part async for part in backend.logs(copy, LogOptions(container="main"))])
    assert status["phase"] == "Succeeded", said
    assert [one["name"] for one in status["containerStatuses"]] == ["main"]
    assert b"fuse.starfs" in said
    assert b"No such file or directory" in said  # Of all that is the sidecar's there is nothing.
    assert said.endswith(b"32\n")
