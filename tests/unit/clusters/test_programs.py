"""Programs are looked for in a fixed order, and downloads are verified."""

import hashlib
import http.server
import io
import json
import shutil
import tarfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.clusters import gobuild, packages, programs, releases
from tests.clusters.errors import ProgramError

KUBERNETES = next(family for family in programs.FAMILIES if family.name == "kubernetes")


def program(folder: Path, name: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    path.write_text(f"#!/bin/sh\necho {name}\n")
    path.chmod(0o755)
    return path


def silent(_: str) -> None:
    """A progress that nobody reads."""


@pytest.fixture(autouse=True)
def _no_surroundings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KUBEBUILDER_ASSETS", raising=False)
    monkeypatch.setenv("VNODE_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def no_internet(monkeypatch: pytest.MonkeyPatch) -> None:
    def download(*_: object) -> None:
        raise releases.Unavailable("no internet")

    monkeypatch.setattr(releases, "download", download)


def test_versions_come_from_the_go_modules() -> None:
    versions = {family.name: family.version for family in programs.FAMILIES}
    kubernetes = {name: version for name, version in versions.items() if "kubernetes" in name}
    assert set(kubernetes.values()) == {"v1.36.3"}
    others = {"etcd", "kwok", "containerd", "coredns", "ginkgo"}
    assert versions.keys() - kubernetes == others | {"metrics-server", "old-kubectl", "kind"}
    assert (versions["etcd"], versions["kwok"]) == ("v3.6.8", "v0.8.0")


def test_every_program_belongs_to_one_family() -> None:
    names = [name for family in programs.FAMILIES for name in family.packages]
    built = (programs.METRICS_SERVER, programs.OLD_KUBECTL, programs.KIND)
    assert sorted(names) == sorted([*programs.CONFORMANCE, *built])


def test_the_given_folder_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assets = tmp_path / "assets"
    monkeypatch.setenv("KUBEBUILDER_ASSETS", str(assets))
    expected = program(assets, "etcd")
    program(tmp_path / "cache" / f"etcd-v3.6.8-linux-{programs.machine()}", "etcd")
    assert programs.ensure(["etcd"], silent) == {"etcd": expected}


def test_one_release_never_comes_from_two_places(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assets = tmp_path / "assets"
    monkeypatch.setenv("KUBEBUILDER_ASSETS", str(assets))
    program(assets, "kube-apiserver")  # of another version, and without its scheduler
    cache = tmp_path / "cache" / f"kubernetes-{KUBERNETES.version}-linux-{programs.machine()}"
    expected = {name: program(cache, name) for name in ("kube-apiserver", "kube-scheduler")}
    assert programs.ensure(expected, silent) == expected


@pytest.mark.usefixtures("no_internet")
def test_without_internet_only_what_is_missing_is_built(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = tmp_path / "cache" / f"kubernetes-{KUBERNETES.version}-linux-{programs.machine()}"
    program(cache, "kube-apiserver")
    built: list[str] = []

    def build(_: Path, wanted: dict[str, str], *, output: Path, **__: object) -> None:
        built.extend(wanted.values())
        for name in wanted:
            program(output, name)

    monkeypatch.setattr(gobuild, "build", build)
    found = programs.ensure(["kube-apiserver", "kubelet"], silent)
    assert built == ["k8s.io/kubernetes/cmd/kubelet"]
    assert found["kubelet"].read_text().endswith("kubelet\n")
    assert sorted(path.name for path in cache.iterdir()) == ["kube-apiserver", "kubelet", "lock"]


@pytest.mark.usefixtures("no_internet")
def test_without_internet_and_go_it_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda _: None)
    with pytest.raises(ProgramError, match="install Go or set KUBEBUILDER_ASSETS"):
        programs.ensure(["etcd"], silent)


def test_an_unknown_program_is_an_error() -> None:
    with pytest.raises(ProgramError, match="nosuch"):
        programs.ensure(["nosuch"], silent)


def test_go_names_executables_after_the_last_word_that_is_no_version() -> None:
    assert gobuild.default_name("go.etcd.io/etcd/server/v3") == "server"
    assert gobuild.default_name("k8s.io/kubernetes/cmd/kubelet") == "kubelet"


def test_a_test_binary_gets_its_own_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The go command names it after the folder; it must not examine dependencies either."""
    go = tmp_path / "bin" / "go"
    go.parent.mkdir()
    go.write_text(f'#!/bin/sh\necho "$@" >{tmp_path}/arguments\ntouch {tmp_path}/e2e.test\n')
    go.chmod(0o755)
    monkeypatch.setenv("PATH", str(go.parent), prepend=":")
    gobuild.build(
        tmp_path,
        {"wanted": "k8s.io/kubernetes/test/e2e"},
        version="v1.36.3",
        output=tmp_path,
        progress=silent,
        tests=True,
    )
    assert (tmp_path / "wanted").exists()
    assert (tmp_path / "arguments").read_text().startswith("test -c -vet=off ")


def test_kubernetes_programs_are_told_their_version() -> None:
    flags = gobuild.link_flags("v1.36.3")
    assert "version.gitVersion=v1.36.3" in flags
    assert "version.gitMinor=36" in flags


class Site(http.server.BaseHTTPRequestHandler):
    """A release page on loopback."""

    files: dict[str, bytes]

    def do_GET(self) -> None:
        body = self.files.get(self.path)
        self.send_response(200 if body is not None else 404)
        self.send_header("Content-Length", str(len(body or b"")))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body or b"")

    def do_HEAD(self) -> None:
        self.do_GET()

    def log_message(self, format: str, *args: object) -> None:
        """Keeps quiet."""


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, bytes]]:
    """Files of the release pages by path; fill it before downloading."""
    files: dict[str, bytes] = {}
    handler = type("Pages", (Site,), {"files": files})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        base = f"http://127.0.0.1:{server.server_port}"
        for name in ("_KUBERNETES", "_GITHUB", "_GITHUB_API"):
            monkeypatch.setattr(releases, name, base)
        files["base"] = base.encode()
        thread = threading.Thread(target=server.serve_forever, args=[0.01])
        thread.start()
        yield files
        server.shutdown()
        thread.join()


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def test_a_kubernetes_release_is_downloaded(site: dict[str, bytes], tmp_path: Path) -> None:
    site["/v1/bin/linux/amd64/kubelet"] = b"program"
    site["/v1/bin/linux/amd64/kubelet.sha256"] = digest(b"program").encode()
    releases.download("kubernetes", "v1", ["kubelet"], tmp_path, "amd64", silent)
    assert (tmp_path / "kubelet").read_bytes() == b"program"


def test_a_wrong_checksum_is_not_passed_over(site: dict[str, bytes], tmp_path: Path) -> None:
    site["/v1/bin/linux/amd64/kubelet"] = b"tampered"
    site["/v1/bin/linux/amd64/kubelet.sha256"] = digest(b"program").encode()
    with pytest.raises(ProgramError, match="SHA-256"):
        releases.download("kubernetes", "v1", ["kubelet"], tmp_path, "amd64", silent)


def test_etcd_is_taken_out_of_its_archive(site: dict[str, bytes], tmp_path: Path) -> None:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for name, data in (("etcd-v3/etcdctl", b"no"), ("etcd-v3/etcd", b"yes")):
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    archive = buffer.getvalue()
    page = "/etcd-io/etcd/releases/download/v3"
    site[f"{page}/etcd-v3-linux-arm64.tar.gz"] = archive
    site[f"{page}/SHA256SUMS"] = f"{digest(archive)}  etcd-v3-linux-arm64.tar.gz\n".encode()
    releases.download("etcd", "v3", ["etcd"], tmp_path, "arm64", silent)
    assert (tmp_path / "etcd").read_bytes() == b"yes"


def test_kwok_is_compared_with_the_digest_of_its_release(
    site: dict[str, bytes], tmp_path: Path
) -> None:
    site["/file"] = b"kwok"
    asset = {
        "name": "kwok-linux-amd64",
        "browser_download_url": f"{site['base'].decode()}/file",
        "digest": f"sha256:{digest(b'kwok')}",
    }
    site["/kubernetes-sigs/kwok/releases/tags/v0"] = json.dumps({"assets": [asset]}).encode()
    releases.download("kwok", "v0", ["kwok"], tmp_path, "amd64", silent)
    assert (tmp_path / "kwok").read_bytes() == b"kwok"


def test_a_release_without_checksums_is_not_trusted() -> None:
    release = {"assets": [{"name": "kwok-linux-amd64", "digest": None}]}
    with pytest.raises(releases.Unavailable, match="no checksum"):
        releases.asset_of("kwok-linux-amd64", json.dumps(release).encode())
    with pytest.raises(releases.Unavailable, match="no checksum"):
        releases.checksum_of("etcd.tar.gz", "abc  other.tar.gz\n")


def test_a_missing_page_is_unavailable(site: dict[str, bytes], tmp_path: Path) -> None:
    with pytest.raises(releases.Unavailable):
        releases.download("etcd", "v9", ["etcd"], tmp_path, "amd64", silent)


@pytest.mark.parametrize(("kinds", "expected"), [([1, 1], True), ([1, 3], False)])
def test_a_static_program_has_no_interpreter(
    tmp_path: Path, kinds: list[int], expected: bool
) -> None:
    header = bytearray(64)
    header[:6] = b"\x7fELF\x02\x01"
    header[32:40] = (64).to_bytes(8, "little")
    header[54:58] = (56).to_bytes(2, "little") + len(kinds).to_bytes(2, "little")
    entries = b"".join(kind.to_bytes(4, "little") + bytes(52) for kind in kinds)
    path = tmp_path / "program"
    path.write_bytes(bytes(header) + entries)
    assert packages.is_static(path) is expected


def test_a_script_is_no_static_program(tmp_path: Path) -> None:
    assert not packages.is_static(program(tmp_path, "script"))
