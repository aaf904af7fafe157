"""Which certificate a virtual node has, by configuration."""

import asyncio
import random
from pathlib import Path

import pytest

from federation.certificates import Certificates
from federation.config import CertificateConfig
from tests.fakes.clock import LoopClock
from tests.unit.node.serving.signer import DAY, CertificatesApi
from vnode.kube.types import NodeName
from vnode.node.serving.key_pair import CertificateError, KeyPair, self_signed

A, B = NodeName("vnode-a"), NodeName("vnode-b")


def certificates(api: CertificatesApi, **config: object) -> Certificates:
    return Certificates(
        api.client,
        CertificateConfig.model_validate(config),
        address="10.0.0.1",
        client_ca=b"",
        clock=LoopClock(),
        rng=random.Random(1),
    )


def write(folder: Path, pair: KeyPair) -> dict[str, object]:
    certificate, key = folder / "tls.crt", folder / "tls.key"
    certificate.write_bytes(pair.certificate)
    key.write_bytes(pair.key)
    return {"source": "files", "file": certificate, "key": key}


@pytest.mark.looptime
async def test_by_default_every_virtual_node_asks_for_a_certificate_of_its_own() -> None:
    api = CertificatesApi()
    made = certificates(api)
    tasks = [asyncio.create_task((await made.of(node))[1]()) for node in (A, B)]
    await asyncio.sleep(5)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert sorted(name.rpartition("-")[0] for name in api.requests) == [A, B]


@pytest.mark.looptime
async def test_what_was_issued_outlives_the_loss_of_a_lease() -> None:
    api = CertificatesApi()
    made = certificates(api)
    serving, keep = await made.of(A)
    task = asyncio.create_task(keep())
    await asyncio.sleep(5)
    signed = api.approve(api.newest, now=LoopClock().time(), life=30 * DAY)
    await asyncio.sleep(20)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    again, _ = await made.of(A)
    assert again is serving
    assert again.pair.certificate == signed


@pytest.mark.looptime
async def test_self_signed_asks_for_nothing() -> None:
    api = CertificatesApi()
    _, keep = await certificates(api, source="selfSigned").of(A)
    task = asyncio.create_task(keep())
    await asyncio.sleep(3600)
    assert not task.done()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert api.calls == []


async def test_files_are_shown_as_they_are(tmp_path: Path) -> None:
    pair = self_signed(node=A, addresses=["10.0.0.1"], now=LoopClock().time())
    api = CertificatesApi()
    serving, _ = await certificates(api, **write(tmp_path, pair)).of(A)
    assert serving.pair == pair


async def test_files_that_cannot_be_used_are_an_error_at_the_start(tmp_path: Path) -> None:
    made = certificates(CertificatesApi(), **write(tmp_path, KeyPair(b"", b"")))
    with pytest.raises(CertificateError):
        await made.of(A)
