"""Credentials that exec plugins give."""

import datetime
import json
import stat
from pathlib import Path

import pytest
import trustme

from tests.unit.kube.test_kubeconfig import write
from vnode.kube.config import Connection, load, unchanged
from vnode.kube.errors import ConfigError

CA = trustme.CA()


def connection(path: Path) -> Connection:
    return Connection(name="clusters[0]", kubeconfig=path)


def plugin(folder: Path, **status: object) -> dict[str, object]:
    """An exec plugin that prints a credential."""
    answer = {
        "apiVersion": "client.authentication.k8s.io/v1",
        "kind": "ExecCredential",
        "status": status,
    }
    path = folder / "login"
    path.write_text(f"#!/bin/sh\ncat <<'END'\n{json.dumps(answer)}\nEND\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return {"exec": {"apiVersion": "client.authentication.k8s.io/v1", "command": "./login"}}


async def test_a_plugin_is_not_run_to_see_whether_files_changed(tmp_path: Path) -> None:
    path = write(tmp_path, user=plugin(tmp_path, token="from-plugin"))
    access = await load(connection(path))
    (tmp_path / "login").unlink()
    assert await unchanged(connection(path), access)


async def test_a_plugin_gives_a_token_that_is_renewed_before_it_ends(tmp_path: Path) -> None:
    end = datetime.datetime.now(datetime.UTC) + datetime.timedelta(minutes=20)
    user = plugin(
        tmp_path, token="from-plugin", expirationTimestamp=end.strftime("%Y-%m-%dT%H:%M:%SZ")
    )
    access = await load(connection(write(tmp_path, user=user)))
    assert access.authorization == "Bearer from-plugin"
    assert access.max_age is not None
    assert 18 * 60 < access.max_age < 19.1 * 60


async def test_a_plugin_may_give_a_certificate(tmp_path: Path) -> None:
    pair = CA.issue_cert("agent.example")
    user = plugin(
        tmp_path,
        clientCertificateData=pair.cert_chain_pems[0].bytes().decode(),
        clientKeyData=pair.private_key_pem.bytes().decode(),
    )
    access = await load(connection(write(tmp_path, user=user)))
    assert access.certificate is not None
    assert access.certificate.certificate == pair.cert_chain_pems[0].bytes()


async def test_a_plugin_that_fails_is_named(tmp_path: Path) -> None:
    (tmp_path / "login").write_text("#!/bin/sh\necho no session >&2; exit 3\n")
    (tmp_path / "login").chmod(0o700)
    user = {"exec": {"apiVersion": "client.authentication.k8s.io/v1", "command": "./login"}}
    path = write(tmp_path, user=user)
    with pytest.raises(ConfigError, match=r"users\[u\].*returned 3.*no session") as caught:
        await load(connection(path))
    assert str(caught.value).startswith(f"clusters[0]: kubeconfig {path}")
