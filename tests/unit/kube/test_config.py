"""From a kubeconfig to TLS and credentials."""

import base64
import ssl
import subprocess
import sys
from pathlib import Path

import pytest
import trustme

from tests.unit.kube.test_kubeconfig import write
from vnode.kube.config import Connection, load, unchanged
from vnode.kube.errors import ConfigError

CA = trustme.CA()


def connection(path: Path) -> Connection:
    return Connection(name="clusters[0]", kubeconfig=path)


def cluster(folder: Path, ca: bytes = CA.cert_pem.bytes()) -> dict[str, object]:
    (folder / "ca.crt").write_bytes(ca)
    return {"server": "https://h:6443", "certificate-authority": "ca.crt"}


async def test_a_token_becomes_the_authorization_header(tmp_path: Path) -> None:
    access = await load(connection(write(tmp_path, cluster=cluster(tmp_path))))
    assert access.authorization == "Bearer s3cr3t-token"
    assert access.tls is not None
    assert access.tls.verify_mode is ssl.CERT_REQUIRED
    assert "s3cr3t-token" not in repr(access)


@pytest.mark.parametrize("part", ["token", "CA", "server", "verify", "certificate", "token file"])
async def test_what_changed_in_a_file_is_noticed(part: str, tmp_path: Path) -> None:
    pair = CA.issue_cert("agent.example")
    (tmp_path / "crt").write_bytes(pair.cert_chain_pems[0].bytes())
    (tmp_path / "key").write_bytes(pair.private_key_pem.bytes())
    (tmp_path / "token").write_text("one")
    users = {
        "certificate": {"client-certificate": "crt", "client-key": "key"},
        "token file": {"tokenFile": "token"},
    }
    user = users.get(part, {"token": "one"})
    path = write(tmp_path, cluster=cluster(tmp_path), user=user)
    access = await load(connection(path))
    assert await unchanged(connection(path), access)
    if part == "CA":
        (tmp_path / "ca.crt").write_bytes(trustme.CA().cert_pem.bytes())
    elif part == "certificate":
        other = CA.issue_cert("agent.example")
        (tmp_path / "crt").write_bytes(other.cert_chain_pems[0].bytes())
        (tmp_path / "key").write_bytes(other.private_key_pem.bytes())
    elif part == "token file":
        (tmp_path / "token").write_text("two")
    elif part == "server":
        moved = {**cluster(tmp_path), "server": "https://h:7443"}
        write(tmp_path, cluster=moved, user=user)
    elif part == "verify":
        lax = {**cluster(tmp_path), "insecure-skip-tls-verify": True}
        write(tmp_path, cluster=lax, user=user)
    else:
        write(tmp_path, cluster=cluster(tmp_path), user={"token": "two"})
    assert not await unchanged(connection(path), access)
    again = await load(connection(path))
    assert (again.tls_digest == access.tls_digest) is (part in ("token", "token file"))


async def test_a_file_that_went_away_is_said_and_shows_no_content(tmp_path: Path) -> None:
    path = write(tmp_path)
    access = await load(connection(path))
    path.unlink()
    with pytest.raises(ConfigError, match=r"^clusters\[0\]: kubeconfig .* no such file"):
        await unchanged(connection(path), access)


async def test_a_user_without_name_and_password_is_anonymous(tmp_path: Path) -> None:
    contexts = [{"name": "it", "context": {"cluster": "c"}}]
    access = await load(connection(write(tmp_path, contexts=contexts, users=None)))
    assert access.authorization is None


async def test_a_name_and_a_password_become_the_authorization_header(tmp_path: Path) -> None:
    user = {"username": "agent", "password": "open:sesame"}
    access = await load(connection(write(tmp_path, user=user)))
    assert access.authorization == f"Basic {base64.b64encode(b'agent:open:sesame').decode()}"
    assert access.max_age is None


def test_without_plugin_the_large_client_library_is_not_imported() -> None:
    code = "import sys, federation.agent; sys.exit('kubernetes_asyncio' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


async def test_the_certificate_pair_is_used_and_changes_the_digest(tmp_path: Path) -> None:
    pair = CA.issue_cert("agent.example")
    (tmp_path / "crt").write_bytes(pair.cert_chain_pems[0].bytes())
    (tmp_path / "key").write_bytes(pair.private_key_pem.bytes())
    user = {"client-certificate": "crt", "client-key": "key"}
    with_pair = await load(connection(write(tmp_path, cluster=cluster(tmp_path), user=user)))
    without = await load(connection(write(tmp_path, cluster=cluster(tmp_path), user={})))
    assert with_pair.certificate is not None
    assert with_pair.tls_digest != without.tls_digest


async def test_a_ca_that_is_no_certificate_is_named(tmp_path: Path) -> None:
    path = write(tmp_path, cluster=cluster(tmp_path, b"hello"))
    with pytest.raises(ConfigError, match=r"ca.crt is not a PEM certificate; put the API"):
        await load(connection(path))


async def test_a_certificate_and_a_key_that_are_no_pair_are_named(tmp_path: Path) -> None:
    (tmp_path / "crt").write_bytes(CA.issue_cert("a.example").cert_chain_pems[0].bytes())
    (tmp_path / "key").write_bytes(CA.issue_cert("b.example").private_key_pem.bytes())
    user = {"client-certificate": "crt", "client-key": "key"}
    with pytest.raises(ConfigError, match=r"crt are unusable .*not a pair"):
        await load(connection(write(tmp_path, user=user)))


async def test_outside_a_cluster_no_kubeconfig_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    with pytest.raises(ConfigError, match=r"tenant: no kubeconfig is set and .* set kubeconfig"):
        await load(Connection(name="tenant"))


async def test_in_a_cluster_the_service_account_is_used(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "token").write_text("sa-token\n")
    (tmp_path / "ca.crt").write_bytes(CA.cert_pem.bytes())
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "fd00::1")
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", "443")
    monkeypatch.setattr("vnode.kube.config.SERVICE_TOKEN_FILENAME", str(tmp_path / "token"))
    monkeypatch.setattr("vnode.kube.config.SERVICE_CERT_FILENAME", str(tmp_path / "ca.crt"))
    access = await load(Connection(name="tenant"))
    assert access.server == "https://[fd00::1]:443"
    assert access.authorization == "Bearer sa-token"
    assert access.max_age == 60.0


@pytest.mark.parametrize(
    ("token", "reason"), [(None, "No such file"), ("\n", "its token or its CA is empty")]
)
async def test_a_service_account_that_is_not_mounted_is_an_error(
    token: str | None, reason: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    if token is not None:
        (tmp_path / "token").write_text(token)
    (tmp_path / "ca.crt").write_bytes(CA.cert_pem.bytes())
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.0.0.1")
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", "443")
    monkeypatch.setattr("vnode.kube.config.SERVICE_TOKEN_FILENAME", str(tmp_path / "token"))
    monkeypatch.setattr("vnode.kube.config.SERVICE_CERT_FILENAME", str(tmp_path / "ca.crt"))
    with pytest.raises(ConfigError, match=f"in-cluster service account: .*{reason}.*automount"):
        await load(Connection(name="tenant"))


async def test_a_proxy_of_the_environment_is_used_but_not_against_no_proxy(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy:3128")
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    assert (await load(connection(write(tmp_path)))).proxy == "http://proxy:3128"
    monkeypatch.setenv("NO_PROXY", "h")
    assert (await load(connection(write(tmp_path)))).proxy is None
