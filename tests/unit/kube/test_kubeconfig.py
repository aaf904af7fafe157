"""Reading kubeconfig files, and saying what is wrong with them."""

import base64
from pathlib import Path

import pytest
import yaml

from vnode.kube.errors import ConfigError
from vnode.kube.kubeconfig import read_kubeconfig

SECRET = "s3cr3t-token"


def write(folder: Path, *, cluster: object = None, user: object = None, **changes: object) -> Path:
    """A kubeconfig with one context `it`."""
    document: dict[str, object] = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "it",
        "contexts": [{"name": "it", "context": {"cluster": "c", "user": "u"}}],
        "clusters": [{"name": "c", "cluster": cluster or {"server": "https://h:6443/"}}],
        "users": [{"name": "u", "user": {"token": SECRET} if user is None else user}],
        **changes,
    }
    path = folder / "kubeconfig"
    path.write_text(yaml.safe_dump(document))
    return path


def test_server_and_user_are_found(tmp_path: Path) -> None:
    found = read_kubeconfig(write(tmp_path), None)
    assert found.server == "https://h:6443"
    assert found.user == {"token": SECRET}
    assert SECRET not in repr(found)


def test_files_count_from_the_folder_of_the_kubeconfig(tmp_path: Path) -> None:
    (tmp_path / "pki").mkdir()
    for name in ("ca", "cert", "key"):
        (tmp_path / "pki" / name).write_bytes(name.encode())
    path = write(
        tmp_path,
        cluster={"server": "https://h", "certificate-authority": "pki/ca"},
        user={"client-certificate": "pki/cert", "client-key": "pki/key"},
    )
    found = read_kubeconfig(path, None)
    assert found.ca == b"ca"
    assert found.ca_source == str(tmp_path / "pki" / "ca")
    assert found.certificate is not None
    assert (found.certificate.certificate, found.certificate.key) == (b"cert", b"key")
    assert found.user == {}


def test_data_wins_over_files_and_may_be_folded(tmp_path: Path) -> None:
    data = base64.b64encode(b"inline").decode()
    cluster = {
        "server": "https://h",
        "certificate-authority": "missing",
        "certificate-authority-data": f"{data[:3]}\n  {data[3:]}",
    }
    assert read_kubeconfig(write(tmp_path, cluster=cluster), None).ca == b"inline"


def test_a_token_file_is_read_and_stripped_and_wins_over_a_token(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("from-file\n")
    found = read_kubeconfig(write(tmp_path, user={"token": "old", "tokenFile": "token"}), None)
    assert found.user == {"token": "from-file"}


def test_a_context_may_have_no_user(tmp_path: Path) -> None:
    contexts = [{"name": "it", "context": {"cluster": "c"}}]
    found = read_kubeconfig(write(tmp_path, contexts=contexts, users=None), None)
    assert found.user == {}


def test_a_relative_plugin_counts_from_the_folder_but_a_bare_name_is_looked_up(
    tmp_path: Path,
) -> None:
    relative = read_kubeconfig(write(tmp_path, user={"exec": {"command": "./login"}}), None)
    bare = read_kubeconfig(write(tmp_path, user={"exec": {"command": "login"}}), None)
    assert relative.user["exec"] == {"command": str(tmp_path / "login")}
    assert bare.user["exec"] == {"command": "login"}


def test_another_context_can_be_named(tmp_path: Path) -> None:
    contexts = [
        {"name": "it", "context": {"cluster": "c", "user": "u"}},
        {"name": "other", "context": {"cluster": "d", "user": "u"}},
    ]
    clusters = [
        {"name": "c", "cluster": {"server": "https://c"}},
        {"name": "d", "cluster": {"server": "https://d", "tls-server-name": "x"}},
    ]
    found = read_kubeconfig(write(tmp_path, contexts=contexts, clusters=clusters), "other")
    assert (found.server, found.tls_server_name) == ("https://d", "x")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"current-context": ""}, "it has no current-context; set one there or name a context"),
        ({"current-context": "nope"}, r"no context 'nope' in contexts \(there: 'it'\)"),
        ({"clusters": []}, r"no cluster 'c' in clusters \(there: none\)"),
        ({"clusters": None}, "not a kubeconfig"),
        ({"users": []}, r"no user 'u' in users"),
        ({"users": ["u"]}, "users is not a list of named entries"),
        ({"contexts": [{"name": "it", "context": {}}]}, "context 'it' names no cluster"),
        ({"cluster": {"server": "h:6443"}}, r"clusters\[c\] has no server URL"),
        (
            {"cluster": {"server": "https://h", "certificate-authority": "no/ca"}},
            r"clusters\[c\].certificate-authority: cannot read .*/no/ca: No such file",
        ),
        (
            {"cluster": {"server": "https://h", "certificate-authority-data": "%%"}},
            r"clusters\[c\].certificate-authority-data is not base64",
        ),
        ({"user": {"client-key-data": "aaaa"}}, "needs client-certificate and client-key together"),
        ({"user": {"tokenFile": "no/token"}}, r"users\[u\].tokenFile: cannot read"),
    ],
)
def test_mistakes_are_named_with_file_and_entry(
    tmp_path: Path, changes: dict[str, object], message: str
) -> None:
    path = write(tmp_path, **changes)
    with pytest.raises(ConfigError, match=message) as caught:
        read_kubeconfig(path, None)
    assert str(path) in str(caught.value)
    assert SECRET not in str(caught.value)


def test_a_missing_file_is_named_with_the_way_out(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such file; mount it there or correct the path"):
        read_kubeconfig(tmp_path / "none", None)


@pytest.mark.parametrize("content", [b"\xff\xfe\x00", b"", b"- a\n", b"just text"])
def test_files_of_another_kind_are_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "kubeconfig"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match="not a"):
        read_kubeconfig(path, None)


def test_broken_yaml_is_located_but_not_quoted(tmp_path: Path) -> None:
    path = tmp_path / "kubeconfig"
    path.write_text(f"users:\n- name: u\n  user: {{token: {SECRET}\nclusters: [\n")
    with pytest.raises(ConfigError, match="not valid YAML near line") as caught:
        read_kubeconfig(path, None)
    assert SECRET not in str(caught.value)


def test_an_empty_token_file_is_a_mistake(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("\n")
    with pytest.raises(ConfigError, match=r"users\[u\].tokenFile token is empty"):
        read_kubeconfig(write(tmp_path, user={"tokenFile": "token"}), None)
