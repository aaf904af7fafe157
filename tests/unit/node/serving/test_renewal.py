import asyncio
from collections.abc import Callable, Coroutine
from pathlib import Path

import pytest
import trustme

from tests.unit.node.serving.builders import DAY, HOST, NODE, NOW, issue
from vnode.kube.errors import Unreachable
from vnode.node.serving.key_pair import CertificateError, KeyPair, self_signed
from vnode.node.serving.renewal import CertificateFiles, keep_client_ca, keep_self_signed
from vnode.node.serving.tls import ServingCertificate


class SteppingClock:
    """Every sleep takes no time and moves the clock; the given number of them ends the loop."""

    def __init__(self, *, sleeps: int, before: Callable[[int], None] | None = None) -> None:
        self.now = NOW
        self.left = sleeps
        self.before = before
        self.slept: list[float] = []

    def monotonic(self) -> float:
        return self.now

    def time(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        if len(self.slept) == self.left:
            raise asyncio.CancelledError
        if self.before is not None:
            await asyncio.to_thread(self.before, len(self.slept))
        self.slept.append(seconds)
        self.now += seconds


async def run_out(loop: Coroutine[object, object, object]) -> None:
    with pytest.raises(asyncio.CancelledError):
        await loop


async def test_a_client_ca_that_is_rotated_is_trusted_whatever_happens_in_between() -> None:
    old, new = (trustme.CA().cert_pem.bytes() for _ in range(2))
    certificate = ServingCertificate(issue(trustme.CA()), client_ca=old)
    answers: list[bytes | Exception] = [old, Unreachable("away"), b"no certificate", new, new, new]
    trusted: list[bytes] = []

    async def read() -> bytes:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    clock = SteppingClock(sleeps=5, before=lambda _: trusted.append(certificate.client_ca))
    await run_out(keep_client_ca(certificate, read=read, clock=clock, period_seconds=60))
    assert trusted == [old, old, old, new, new]
    assert clock.slept == [60.0] * 5


async def test_a_client_ca_that_was_replaced_before_the_takeover_is_noticed_at_once() -> None:
    old, new = (trustme.CA().cert_pem.bytes() for _ in range(2))
    certificate = ServingCertificate(issue(trustme.CA()), client_ca=old)

    async def read() -> bytes:
        return new

    await run_out(keep_client_ca(certificate, read=read, clock=SteppingClock(sleeps=0)))
    assert certificate.client_ca == new


async def test_a_self_signed_certificate_is_renewed_before_it_ends() -> None:
    certificate = ServingCertificate(self_signed(node=NODE, addresses=[HOST], now=NOW))
    first = certificate.pair
    clock = SteppingClock(sleeps=int(0.81 * 365 * 24))
    await run_out(keep_self_signed(certificate, node=NODE, addresses=[HOST], clock=clock))
    assert certificate.pair != first
    assert certificate.pair.lifetime()[0] > first.lifetime()[0] + 0.79 * 365 * DAY
    assert max(clock.slept) <= 3600


async def test_files_are_installed_when_they_change_and_only_as_a_fitting_pair(
    tmp_path: Path,
) -> None:
    ca = trustme.CA()
    files = CertificateFiles(certificate=tmp_path / "tls.crt", key=tmp_path / "tls.key")
    first, second = issue(ca), issue(ca)
    files.certificate.write_bytes(first.certificate)
    files.key.write_bytes(first.key)
    certificate = ServingCertificate(await files.read())
    seen: list[KeyPair] = []

    def before(number: int) -> None:
        seen.append(certificate.pair)
        if number == 0:
            files.certificate.write_bytes(second.certificate)
        elif number == 2:
            files.key.write_bytes(second.key)
        elif number == 4:
            files.key.unlink()

    await run_out(files.keep(certificate, clock=SteppingClock(sleeps=8, before=before)))
    assert seen == [first] * 3 + [second] * 5


async def test_files_that_changed_before_the_takeover_are_installed_at_once(tmp_path: Path) -> None:
    files = CertificateFiles(certificate=tmp_path / "tls.crt", key=tmp_path / "tls.key")
    ca = trustme.CA()
    old, new = issue(ca), issue(ca)
    files.certificate.write_bytes(new.certificate)
    files.key.write_bytes(new.key)
    certificate = ServingCertificate(old)
    await run_out(files.keep(certificate, clock=SteppingClock(sleeps=0)))
    assert certificate.pair == new


async def test_files_that_are_missing_are_named(tmp_path: Path) -> None:
    files = CertificateFiles(certificate=tmp_path / "tls.crt", key=tmp_path / "tls.key")
    with pytest.raises(CertificateError, match=r"tls\.crt: No such file"):
        await files.read()
