"""Who we are at an API server, and how long."""

import base64
import json
from pathlib import Path
from typing import Any

import pytest

from federation.check.findings import Level
from federation.check.links import configuration, credential, lifetime, link
from federation.check.site import Peer
from tests.builders import make_error
from tests.unit.federation.check.api import Api
from vnode.kube.config import Access, Connection
from vnode.kube.errors import KubeError, Unreachable, Untrusted

NOW = 1_800_000_000.0
DAY = 86_400.0


def token(**claims: Any) -> str:
    body = base64.urlsafe_b64encode(json.dumps(claims).encode()).rstrip(b"=").decode()
    return f"Bearer head.{body}.signature"


def access(authorization: str | None) -> Access:
    return Access(
        server="https://gpu.example:6443",
        tls=None,
        authorization=authorization,
        certificate=None,
        ca_source="the kubeconfig",
        tls_digest=b"",
    )


def peer(folder: Path, api: Api, *, ends: float = NOW + 30 * DAY) -> Peer:
    path = folder / "gpu.kubeconfig"
    path.write_text(
        "current-context: it\n"
        "contexts: [{name: it, context: {cluster: c, user: u}}]\n"
        "clusters: [{name: c, cluster: {server: 'https://gpu.example:6443'}}]\n"
        "users: [{name: u, user: {token: t}}]\n"
    )
    subject = "system:serviceaccount:vnode-system:vnode-red"
    found = access(token(exp=ends, sub=subject))
    return Peer("gpu", Connection("gpu", path), found, opened=api.client)


@pytest.fixture
def api() -> Api:
    made = Api()
    made.answers["/version"] = {"gitVersion": "v1.36.3"}
    return made


async def test_a_credential_says_whose_it_is_and_until_when(api: Api, tmp_path: Path) -> None:
    (finding,) = await credential(peer(tmp_path, api), now=NOW)
    assert finding.level is Level.OK
    assert finding.text == "system:serviceaccount:vnode-system:vnode; token ends in 30 days"


async def test_a_refused_credential_says_that_it_ended_and_how_to_make_another(
    api: Api, tmp_path: Path
) -> None:
    api.user = make_error(401, "Unauthorized")
    (finding,) = await credential(peer(tmp_path, api, ends=NOW - 60), now=NOW)
    assert finding.level is Level.WRONG
    assert "its token ended at 2027-01-15T07:59:00Z" in finding.text
    assert "config set-credentials u " in finding.mend
    assert "-n vnode-system create token vnode-red" in finding.mend


async def test_a_refused_credential_that_should_be_good_is_just_refused(
    api: Api, tmp_path: Path
) -> None:
    api.user = make_error(401, "Unauthorized")
    (finding,) = await credential(peer(tmp_path, api), now=NOW)
    assert finding.text == "the credential is refused"


async def test_nobody_is_a_wrong_credential(api: Api, tmp_path: Path) -> None:
    api.user = {"username": "system:anonymous"}
    (finding,) = await credential(peer(tmp_path, api), now=NOW)
    assert finding.level is Level.WRONG


async def test_an_almighty_credential_is_a_warning(api: Api, tmp_path: Path) -> None:
    api.user = {"username": "admin", "groups": ["system:masters"]}
    _, finding = await credential(peer(tmp_path, api), now=NOW)
    assert finding.level is Level.WARN


async def test_a_server_without_the_review_is_no_failure(api: Api, tmp_path: Path) -> None:
    api.user = make_error(404, "the server could not find the requested resource")
    (finding,) = await credential(peer(tmp_path, api), now=NOW)
    assert finding.level is Level.UNTRIED
    assert not finding.blocks


@pytest.mark.parametrize(
    ("error", "mend"),
    [
        (Untrusted("gpu: not signed by the CA"), "config set-cluster c --embed-certs"),
        (Unreachable("gpu: cannot connect"), "check the address"),
        (make_error(404, "page not found"), "is this the address of an API server?"),
    ],
)
async def test_a_broken_link_is_told_with_its_mend(
    api: Api, tmp_path: Path, error: KubeError, mend: str
) -> None:
    api.answers["/version"] = error
    (finding,) = await link(peer(tmp_path, api))
    assert finding.level is Level.WRONG
    assert mend in finding.mend


@pytest.mark.parametrize("code", [401, 403])
async def test_a_refusal_of_the_credential_is_no_fault_of_the_link(
    api: Api, tmp_path: Path, code: int
) -> None:
    api.answers["/version"] = make_error(code, "refused")
    (finding,) = await link(peer(tmp_path, api))
    assert finding.level is Level.OK


async def test_plain_http_is_a_warning(api: Api, tmp_path: Path) -> None:
    first, second = await configuration(peer(tmp_path, api))
    assert (first.level, second.level) == (Level.OK, Level.WARN)


@pytest.mark.parametrize("authorization", [None, "Bearer opaque", "Basic dTpw", "Bearer a.!.c"])
def test_what_is_no_token_that_ends_has_no_lifetime(authorization: str | None) -> None:
    assert lifetime(access(authorization), renewed=False) is None
