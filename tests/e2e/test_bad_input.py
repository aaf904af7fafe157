"""What an operator gets wrong when starting the agent: one clear message each, no traceback."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from tests.e2e.credentials import expired

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.agents import Federation
    from tests.clusters import Harness


def _run(config: Path) -> tuple[int, list[str]]:
    """Start the agent; its exit code and the lines that it printed as errors."""
    vnode = Path(sys.executable).with_name("vnode")
    done = subprocess.run(
        [vnode, "run", "--config", config], capture_output=True, text=True, timeout=60, check=False
    )
    output = done.stdout + done.stderr
    assert "Traceback" not in output, output
    return done.returncode, [line for line in output.splitlines() if line.startswith("error: ")]


def _no_kubeconfig(config: dict[str, Any], folder: Path) -> None:
    config["clusters"][0]["kubeconfig"] = str(folder / "missing.kubeconfig")


def _rewrite(
    config: dict[str, Any], folder: Path, change: Callable[[dict[str, Any]], None]
) -> None:
    """Give the tenant a kubeconfig that differs from the good one."""
    good = yaml.safe_load(Path(config["tenant"]["kubeconfig"]).read_text())
    change(good)
    path = folder / "changed.kubeconfig"
    path.write_text(yaml.safe_dump(good))
    config["tenant"]["kubeconfig"] = str(path)


def _wrong_ca(config: dict[str, Any], folder: Path) -> None:
    other = yaml.safe_load(Path(config["clusters"][0]["kubeconfig"]).read_text())
    authority = other["clusters"][0]["cluster"]

    def change(good: dict[str, Any]) -> None:
        cluster = good["clusters"][0]["cluster"]
        good["clusters"][0]["cluster"] = {**authority, "server": cluster["server"]}

    _rewrite(config, folder, change)


def _expired_token(config: dict[str, Any], folder: Path) -> None:
    """The agent's own token, signed by the tenant's own key, but an hour over."""

    def change(good: dict[str, Any]) -> None:
        authority = Path(good["clusters"][0]["cluster"]["certificate-authority"])
        credential = good["users"][0]["user"]
        credential["token"] = expired(credential["token"], authority)

    _rewrite(config, folder, change)


def _unreachable(config: dict[str, Any], folder: Path) -> None:
    def change(good: dict[str, Any]) -> None:
        good["clusters"][0]["cluster"]["server"] = "https://127.0.0.1:9"

    _rewrite(config, folder, change)


def _unknown_key(config: dict[str, Any], _folder: Path) -> None:
    config["tenant"]["nmespaces"] = ["default"]


def _same_name_twice(config: dict[str, Any], _folder: Path) -> None:
    config["clusters"][1]["name"] = config["clusters"][0]["name"]


CASES: dict[str, tuple[Callable[[dict[str, Any], Path], None], int, tuple[str, ...]]] = {
    "missing kubeconfig": (_no_kubeconfig, 2, ("missing.kubeconfig", "no such file")),
    "wrong CA": (_wrong_ca, 1, ("tenant: the certificate of https://", "is not signed by the CA")),
    "expired token": (_expired_token, 1, ("tenant: Unauthorized", "renew the credential")),
    "unreachable cluster": (_unreachable, 1, ("127.0.0.1", "check the server address")),
    "unknown key": (_unknown_key, 2, ("bad.yaml:", "tenant.nmespaces")),
    "two clusters with one name": (_same_name_twice, 2, ("bad.yaml:", "is used twice")),
}


@pytest.mark.parametrize("case", CASES)
def test_bad_input_gives_one_clear_message(
    case: str, federation: Federation, harness: Harness, tmp_path: Path
) -> None:
    spoil, code, words = CASES[case]
    config = yaml.safe_load(federation.config.read_text())
    for cluster in config["clusters"]:  # the good agent has the ports
        cluster["pools"][0]["port"] = harness.free_port()
    spoil(config, tmp_path)
    path = tmp_path / "bad.yaml"
    path.write_text(yaml.safe_dump(config))
    returned, errors = _run(path)
    assert len(errors) == 1, errors
    print(errors[0])
    assert returned == code
    for word in words:
        assert word in errors[0]


def test_invalid_yaml_is_named_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "bad.yaml"
    path.write_text("tenant:\n  name: [demo\nclusters: []\n")
    returned, errors = _run(path)
    assert returned == 2
    assert len(errors) == 1
    assert "bad.yaml:3" in errors[0]
