"""docs/install.md as what it tells people to type.

In: the page, clusters. Out: its blocks of shell, and what one of them says when it is run as it
stands, with the variables that the page lets people set. A block that cannot be run here has a
comment before it that says why.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from tests.clusters import Cluster

ROOT = Path(__file__).parents[3]
_PAGE = ROOT / "docs" / "install.md"
_BLOCK = re.compile(r"^(?:<!-- not run: ([^\n]+) -->\n)?```sh\n(.*?)^```$", re.M | re.S)
_SECONDS = 230.0


class Block(NamedTuple):
    """One block of shell."""

    why_not: str
    """Why it is not run; empty: it is."""
    text: str


def blocks() -> list[Block]:
    """All, in their order."""
    return [Block(*found) for found in _BLOCK.findall(_PAGE.read_text())]


def _settings(clusters: dict[str, Cluster]) -> dict[str, str]:
    """What the page lets people set."""
    server = urlsplit(clusters["tenant"].server)
    return {
        "KUBECONFIG": str(clusters["tenant"].kubeconfig),
        "COMPUTE": str(clusters["gpu-a"].kubeconfig),
        "COMPUTE_SERVER": clusters["gpu-a"].server,
        "TENANT_HOST": str(server.hostname),
        "TENANT_PORT": str(server.port),
        "IMAGE": "vnode-federation",
    }


def environment(clusters: dict[str, Cluster]) -> dict[str, str]:
    """Of somebody who has set what the page says."""
    tenant = clusters["tenant"]
    programs = [Path(sys.executable).parent, tenant.kubectl_program.parent]
    path = ":".join([*map(str, programs), os.environ["PATH"]])
    return {
        **os.environ,
        **_settings(clusters),
        "PATH": path,
        "KUBECACHEDIR": str(tenant.kubectl_cache),
    }


def run(text: str, environment: dict[str, str], checkout: Path) -> str:
    """Returns what a block says, and fails with that."""
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", text],
        env=environment,
        cwd=checkout,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=_SECONDS,
        check=False,
    )
    assert done.returncode == 0, f"$ {text}\n{done.stdout}"
    return done.stdout
