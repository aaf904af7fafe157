"""Certificates are what Kubernetes expects, and keys stay private."""

import ipaddress
import json
import stat
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from cryptography.x509.verification import PolicyBuilder, Store

from tests.clusters.pki import Authority, client_user, signing_key, write_kubeconfig, write_private


def load(path: Path) -> x509.Certificate:
    return x509.load_pem_x509_certificate(path.read_bytes())


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path, "ca")


def test_a_client_certificate_carries_user_and_groups(authority: Authority) -> None:
    pair = authority.issue("kubelet", "system:node:n1", groups=["system:nodes", "extra"])
    subject = load(pair.cert).subject
    names = subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    groups = subject.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)
    assert [name.value for name in names] == ["system:node:n1"]
    assert [group.value for group in groups] == ["system:nodes", "extra"]


def test_a_server_certificate_verifies_for_its_names_and_addresses(authority: Authority) -> None:
    pair = authority.issue("server", "server", sans=["localhost", "10.200.0.10"])
    store = Store([load(authority.files.cert)])
    for subject in (
        x509.DNSName("localhost"),
        x509.IPAddress(ipaddress.ip_address("10.200.0.10")),
    ):
        verifier = PolicyBuilder().store(store).build_server_verifier(subject)
        assert verifier.verify(load(pair.cert), [])


def test_only_certificates_with_names_serve(authority: Authority) -> None:
    usages = {
        stem: load(authority.issue(stem, stem, sans=sans).cert)
        .extensions.get_extension_for_class(x509.ExtendedKeyUsage)
        .value
        for stem, sans in (("client", []), ("server", ["localhost"]))
    }
    assert ExtendedKeyUsageOID.SERVER_AUTH not in usages["client"]
    assert ExtendedKeyUsageOID.SERVER_AUTH in usages["server"]


def test_keys_are_readable_by_their_owner_only(authority: Authority, tmp_path: Path) -> None:
    keys = [
        authority.files.key,
        authority.issue("client", "client").key,
        signing_key(tmp_path, "sa").key,
    ]
    assert {stat.S_IMODE(key.stat().st_mode) for key in keys} == {0o600}


def test_the_public_half_of_a_signing_key_belongs_to_it(tmp_path: Path) -> None:
    pair = signing_key(tmp_path, "sa")
    private = load_pem_private_key(pair.key.read_bytes(), None)
    assert pair.cert.read_text().startswith("-----BEGIN PUBLIC KEY-----")
    assert private.key_size == 2048  # type: ignore[union-attr]


def test_write_private_does_not_keep_the_mode_of_an_older_file(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    path.write_text("old")
    path.chmod(0o644)
    write_private(path, b"new")
    assert (path.read_bytes(), stat.S_IMODE(path.stat().st_mode)) == (b"new", 0o600)


def test_a_kubeconfig_names_files_and_is_its_current_context(
    authority: Authority, tmp_path: Path
) -> None:
    pair = authority.issue("admin", "admin")
    path = write_kubeconfig(
        tmp_path / "admin.kubeconfig",
        cluster="tenant",
        server="https://127.0.0.1:1",
        ca_file=authority.files.cert,
        user=client_user(pair),
    )
    config = json.loads(path.read_text())
    assert config["current-context"] == config["contexts"][0]["name"] == "tenant"
    assert config["clusters"][0]["cluster"]["certificate-authority"] == str(authority.files.cert)
    assert config["users"][0]["user"]["client-key"] == str(pair.key)
