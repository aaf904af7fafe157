"""What goes into images is built from pinned sources, and shows its progress."""

import http.server
import threading
from pathlib import Path

import pytest

from tests.clusters import busybox, debian_root
from tests.clusters.errors import ProgramError
from tests.clusters.long_command import run_long


def test_busybox_is_static_and_without_what_does_not_compile() -> None:
    text = "CONFIG_TC=y\nCONFIG_LS=y\n# CONFIG_STATIC is not set\n"
    assert busybox.configure(text) == "# CONFIG_TC is not set\nCONFIG_LS=y\nCONFIG_STATIC=y\n"


def test_another_source_of_busybox_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Site(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", "8")
            self.end_headers()
            self.wfile.write(b"tampered")

        def log_message(self, format: str, *args: object) -> None:
            """Keeps quiet."""

    monkeypatch.setenv("VNODE_CACHE", str(tmp_path))
    with http.server.HTTPServer(("127.0.0.1", 0), Site) as site:
        monkeypatch.setattr(busybox, "_SOURCES", (f"http://127.0.0.1:{site.server_port}/",))
        monkeypatch.setattr(busybox, "_BUILD_TOOLS", {})
        thread = threading.Thread(target=site.serve_forever, args=[0.01])
        thread.start()
        with pytest.raises(ProgramError, match="SHA-256"):
            busybox.ensure(lambda _: None)
        site.shutdown()
        thread.join()
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == ["lock"]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """As debootstrap leaves it, with alternatives that lead nowhere outside of the root."""
    root = tmp_path / "root"
    for folder in ("etc", "bin"):
        (root / folder).mkdir(parents=True)
    (root / "etc/passwd").write_text("root:x:0:0::/root:/bin/bash\n")
    (root / "etc/group").write_text("root:x:0:\n")
    (root / "bin/nc").symlink_to("/etc/alternatives/nc-of-the-root")
    return root


def test_busybox_stands_in_only_for_what_debian_lacks(root: Path, tmp_path: Path) -> None:
    program = tmp_path / "busybox"
    program.write_bytes(b"program")
    debian_root.finish(root, program, ["nc", "wget"])
    own = root / "usr/local/bin"
    assert sorted(path.name for path in own.iterdir()) == ["busybox", "wget"]
    assert (own / "wget").readlink() == Path("busybox")


def test_the_debian_root_has_the_user_of_agnhost(root: Path, tmp_path: Path) -> None:
    program = tmp_path / "busybox"
    program.touch()
    debian_root.finish(root, program, [])
    assert "user-defined-in-image:x:1000:1000:" in (root / "etc/passwd").read_text()
    groups = (root / "etc/group").read_text()
    assert "group-defined-in-image:x:50000:user-defined-in-image" in groups


def test_a_failed_build_says_what_it_printed() -> None:
    with pytest.raises(ProgramError, match="building it failed:\noh no"):
        run_long(["sh", "-c", "echo oh no; exit 1"], what="building it", progress=lambda _: None)


def test_a_build_gets_its_answers_and_tells_of_its_end() -> None:
    said: list[str] = []
    command = ["sh", "-c", "read word && test $word = yes"]
    run_long(command, what="asking", progress=said.append, answers="yes\n")
    assert said == ["asking", "asking: done in 0 s"]


def test_a_build_without_end_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.clusters.long_command._REPORT_EVERY", 0.01)
    with pytest.raises(ProgramError, match="no end"):
        run_long(["sleep", "60"], what="waiting", progress=lambda _: None, timeout=0.02)
