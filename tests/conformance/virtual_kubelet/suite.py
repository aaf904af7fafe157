"""virtual-kubelet's suite: built once, run against a virtual node.

In: a tenant with a ready virtual node whose kubelet API answers without credentials on port 10250.
Out: verdicts, one per test. The program is kept in the cache under the digest of its sources.

The suite finds the node's kubelet API for statistics by the proxy of a *pod* of the node's name in
its namespace, as if the agent ran there. `pretend_agent_pod` makes that pod object: bound to no
node and with the agent's address, so nobody ever starts or ends it.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from tests.clusters.errors import ProgramError
from tests.clusters.programs import cache_folder, machine
from tests.conformance.errors import SuiteError
from tests.conformance.virtual_kubelet.verdicts import Verdict, read_output

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.clusters import Cluster

KUBELET_PORT = 10250
"""The suite asks no other port."""
TESTS = 9
"""How many tests it has."""
_FOLDER = Path(__file__).parent
_MODULE = "github.com/virtual-kubelet/virtual-kubelet"
_SOURCES = ("go.mod", "go.sum", "main_test.go")
_LONGEST_SECONDS = 600


def ensure(progress: Callable[[str], None]) -> Path:
    """The compiled suite; builds it when it is not in the cache (one to two minutes)."""
    digest = hashlib.sha256(b"".join((_FOLDER / name).read_bytes() for name in _SOURCES))
    folder = cache_folder() / f"virtual-kubelet-e2e-linux-{machine()}"
    program = folder / f"suite-{digest.hexdigest()[:16]}.test"
    if program.exists():
        return program
    go = shutil.which("go")
    if go is None:
        raise ProgramError("virtual-kubelet's suite is built from source: install Go")
    progress("building virtual-kubelet's suite from Go modules (one to two minutes)")
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder, prefix="new-") as work:
        new = Path(work) / program.name
        command = [go, "test", "-c", "-vet=off", "-trimpath", "-ldflags=-s -w", f"-o={new}", "."]
        environment = {**os.environ, "CGO_ENABLED": "0", "GOWORK": "off"}
        done = subprocess.run(
            command, cwd=_FOLDER, env=environment, capture_output=True, text=True, check=False
        )
        if done.returncode != 0:
            raise ProgramError(f"virtual-kubelet's suite was not built:\n{done.stderr[-2000:]}")
        new.replace(program)
    return program


def version() -> str:
    """The suite's version, as go.mod pins it."""
    found = re.search(rf"{re.escape(_MODULE)} (v\S+)", (_FOLDER / "go.mod").read_text())
    if found is None:
        raise ProgramError(f"{_FOLDER}/go.mod does not require {_MODULE}")
    return found[1]


def pretend_agent_pod(tenant: Cluster, *, namespace: str, node: str, address: str) -> None:
    """Make the pod object through which the suite reaches the node's kubelet API."""
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": node, "namespace": namespace},
        "spec": {"schedulerName": "nobody", "containers": [{"name": "agent", "image": "none"}]},
    }
    tenant.kubectl("apply", "-f", "-", input=json.dumps(pod))
    status = json.dumps({"status": {"podIP": address, "podIPs": [{"ip": address}]}})
    tenant.kubectl(
        *("patch", "pod", node, f"--namespace={namespace}", "--subresource=status"),
        *("--type=merge", f"--patch={status}"),
    )


def run(program: Path, tenant: Cluster, *, namespace: str, node: str) -> list[Verdict]:
    """Run the whole suite; failed tests are verdicts, no error. Raises SuiteError."""
    done = subprocess.run(
        [
            program,
            "-test.v",
            f"-test.timeout={_LONGEST_SECONDS}s",
            f"-kubeconfig={tenant.kubeconfig}",
            f"-namespace={namespace}",
            f"-node-name={node}",
        ],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        timeout=_LONGEST_SECONDS + 30,
    )
    verdicts = read_output(done.stdout)
    if len(verdicts) != TESTS:
        raise SuiteError(
            f"{len(verdicts)} of {TESTS} verdicts; the end of the output:\n{done.stdout[-2000:]}"
        )
    return verdicts
