"""What the demo shows, step by step, with plain kubectl against the tenant.

In: a joined tenant with an agent that runs. Out: text for people; each command is printed as they
would type it. A command that fails ends the story with its error.
"""

import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from rich.console import Console

from tests.clusters import Cluster

MANIFESTS = Path(__file__).with_name("manifests")
NAMESPACE = "team-a"
_WAIT = 90.0


class StoryError(Exception):
    """A step did not turn out as it should."""


class Story:
    """Runs kubectl for an audience."""

    def __init__(self, console: Console, tenant: Cluster, *, containers: bool) -> None:
        self._console = console
        self._tenant = tenant
        self._containers = containers

    def tell(self) -> None:
        """The whole story; raises StoryError."""
        self._scene("The compute clusters are nodes of the tenant now")
        self._kubectl("get", "nodes", "-o", "wide")
        self._scene("A GPU Job with a ConfigMap and a Secret, and a Deployment")
        self._wait_for_policy()
        self._kubectl("apply", "-f", str(MANIFESTS / "training.yaml"))
        self._kubectl("apply", "-f", str(MANIFESTS / "notebook.yaml"))
        self._kubectl("rollout", "status", "deployment/notebook", "--timeout=90s")
        self._kubectl("get", "pods", "-o", "wide")
        if self._containers:
            self._with_containers()
        self._kubectl("wait", "--for=condition=Complete", "job/train", "--timeout=90s")
        self._kubectl("get", "jobs,pods")
        self._scene("Why is it pending? A Job that asks for more GPUs than there are")
        self._waiting_pod()
        self._scene("Deletion reaches the compute clusters first, then the tenant")
        self._kubectl("delete", "-f", str(MANIFESTS / "training.yaml"))
        self._kubectl("delete", "-f", str(MANIFESTS / "notebook.yaml"))
        self._until("no pods are left", lambda: self._quiet("get", "pods", "-o", "name") == "")
        self._kubectl("get", "pods")

    def _with_containers(self) -> None:
        self._scene("Logs, followed while it runs")
        pod = self._quiet("get", "pods", "-l", "app=train", "-o", "name").splitlines()[0]
        self._kubectl("wait", "--for=jsonpath={.status.phase}=Running", pod, "--timeout=60s")
        self._kubectl("logs", "-f", pod)
        self._scene("A command in a running container")
        self._kubectl("exec", "deployment/notebook", "--", "sh", "-c", "hostname; id -u; ls /")

    def _waiting_pod(self) -> None:
        overrides = (
            '{"spec":{"containers":[{"name":"big","image":"docker.io/library/busybox:1.36",'
            '"resources":{"limits":{"nvidia.com/gpu":"4096"}}}]}}'
        )
        self._kubectl(
            "run", "big", "--image=docker.io/library/busybox:1.36", f"--overrides={overrides}"
        )
        self._until(
            "the scheduler has judged it",
            lambda: "FailedScheduling" in self._quiet("events", "--for", "pod/big"),
        )
        self._kubectl("get", "pod", "big")
        self._kubectl("events", "--for", "pod/big")
        self._kubectl("delete", "pod", "big", "--now")

    def _wait_for_policy(self) -> None:
        """New admission policies take a few seconds to act."""
        self._until(
            "the admission policy of deploy/tenant acts",
            lambda: (
                "vnode.dev/provider"
                in self._quiet(
                    "run", "probe", "--image=none", "--dry-run=server", "-o", "jsonpath={.spec}"
                )
            ),
        )

    def _scene(self, title: str) -> None:
        self._console.print()
        self._console.rule(f"[bold]{title}", align="left")

    def _kubectl(self, *args: str) -> None:
        shown = " ".join(a if " " not in a and "{" not in a else f"'{a}'" for a in args)
        self._console.print(f"[bold cyan]$ kubectl -n {NAMESPACE} {shown}", highlight=False)
        self._console.file.flush()
        done = subprocess.run(self._command(args), timeout=180, check=False)
        if done.returncode != 0:
            raise StoryError(f"kubectl {args[0]} ended with code {done.returncode}")

    def _quiet(self, *args: str) -> str:
        done = subprocess.run(
            self._command(args), capture_output=True, text=True, timeout=60, check=False
        )
        return done.stdout.strip()

    def _until(self, what: str, done: Callable[[], bool]) -> None:
        deadline = time.monotonic() + _WAIT
        with self._console.status(f"waiting until {what}"):
            while not done():
                if time.monotonic() > deadline:
                    raise StoryError(f"waited {_WAIT:g} s in vain until {what}")
                time.sleep(0.5)

    def _command(self, args: tuple[str, ...]) -> list[str]:
        program, kubeconfig = self._tenant.kubectl_program, self._tenant.kubeconfig
        return [str(program), f"--kubeconfig={kubeconfig}", f"--namespace={NAMESPACE}", *args]
