"""Where a story is told: a console, and kubectl against the tenant.

In: a tenant. Out: text for people; each command is printed as they would type it. A command that
fails, or a wait in vain, ends the story with `StoryError`.
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


class Stage:
    """Runs kubectl for an audience."""

    def __init__(self, console: Console, tenant: Cluster) -> None:
        self.console = console
        self._tenant = tenant

    def scene(self, title: str) -> None:
        """Begin something new."""
        self.console.print()
        self.console.rule(f"[bold]{title}", align="left")

    def kubectl(self, *args: str) -> None:
        """Show a command and what it prints."""
        shown = " ".join(a if " " not in a and "{" not in a else f"'{a}'" for a in args)
        self._run_shown(f"kubectl -n {NAMESPACE} {shown}", args)

    def apply(self, manifest: str, made_by: str) -> None:
        """Create what `made_by`, a command for the audience, would print."""
        shown = f"{made_by} | kubectl -n {NAMESPACE} apply -f -"
        self._run_shown(shown, ("apply", "-f", "-"), manifest)

    def _run_shown(self, shown: str, args: tuple[str, ...], text: str = "") -> None:
        self.console.print(f"[bold cyan]$ {shown}", highlight=False)
        self.console.file.flush()
        done = subprocess.run(self._command(args), input=text, text=True, timeout=180, check=False)
        if done.returncode != 0:
            raise StoryError(f"kubectl {args[0]} ended with code {done.returncode}")

    def quiet(self, *args: str) -> str:
        """What a command prints, which nobody sees."""
        done = subprocess.run(
            self._command(args), capture_output=True, text=True, timeout=60, check=False
        )
        return done.stdout.strip()

    def until(self, what: str, done: Callable[[], bool]) -> None:
        """Wait, at most 90 s."""
        deadline = time.monotonic() + _WAIT
        with self.console.status(f"waiting until {what}"):
            while not done():
                if time.monotonic() > deadline:
                    raise StoryError(f"waited {_WAIT:g} s in vain until {what}")
                time.sleep(0.5)

    def wait_for_policy(self) -> None:
        """New admission policies take a few seconds to act."""
        probe = ("run", "probe", "--image=none", "--dry-run=server", "-o", "jsonpath={.spec}")
        self.until(
            "the admission policy of deploy/tenant acts",
            lambda: "vnode.dev/provider" in self.quiet(*probe),
        )

    def _command(self, args: tuple[str, ...]) -> list[str]:
        program, kubeconfig = self._tenant.kubectl_program, self._tenant.kubeconfig
        return [str(program), f"--kubeconfig={kubeconfig}", f"--namespace={NAMESPACE}", *args]
