"""What the demo shows, step by step, with plain kubectl against the tenant.

In: a joined tenant with an agent that runs. Out: what `demo.stage` shows.
"""

from rich.console import Console

from demo.stage import MANIFESTS, Stage
from tests.clusters import Cluster


class Story(Stage):
    """A Job, a Deployment, and a pod that waits."""

    def __init__(self, console: Console, tenant: Cluster, *, containers: bool) -> None:
        super().__init__(console, tenant)
        self._containers = containers

    def tell(self) -> None:
        """The whole story; raises StoryError."""
        self.scene("The compute clusters are nodes of the tenant now")
        self.kubectl("get", "nodes", "-o", "wide")
        self.scene("A GPU Job with a ConfigMap and a Secret, and a Deployment")
        self.wait_for_policy()
        self.kubectl("apply", "-f", str(MANIFESTS / "training.yaml"))
        self.kubectl("apply", "-f", str(MANIFESTS / "notebook.yaml"))
        self.kubectl("rollout", "status", "deployment/notebook", "--timeout=90s")
        self.kubectl("get", "pods", "-o", "wide")
        if self._containers:
            self._with_containers()
        self.kubectl("wait", "--for=condition=Complete", "job/train", "--timeout=90s")
        self.kubectl("get", "jobs,pods")
        self.scene("Why is it pending? A Job that asks for more GPUs than there are")
        self._waiting_pod()
        self.scene("Deletion reaches the compute clusters first, then the tenant")
        self.kubectl("delete", "-f", str(MANIFESTS / "training.yaml"))
        self.kubectl("delete", "-f", str(MANIFESTS / "notebook.yaml"))
        self.until("no pods are left", lambda: self.quiet("get", "pods", "-o", "name") == "")
        self.kubectl("get", "pods")

    def _with_containers(self) -> None:
        self.scene("Logs, followed while it runs")
        pod = self.quiet("get", "pods", "-l", "app=train", "-o", "name").splitlines()[0]
        self.kubectl("wait", "--for=jsonpath={.status.phase}=Running", pod, "--timeout=60s")
        self.kubectl("logs", "-f", pod)
        self.scene("A command in a running container")
        self.kubectl("exec", "deployment/notebook", "--", "sh", "-c", "hostname; id -u; ls /")

    def _waiting_pod(self) -> None:
        overrides = (
            '{"spec":{"containers":[{"name":"big","image":"docker.io/library/busybox:1.36",'
            '"resources":{"limits":{"nvidia.com/gpu":"4096"}}}]}}'
        )
        self.kubectl(
            "run", "big", "--image=docker.io/library/busybox:1.36", f"--overrides={overrides}"
        )
        self.until(
            "the scheduler has judged it",
            lambda: "FailedScheduling" in self.quiet("events", "--for", "pod/big"),
        )
        self.kubectl("get", "pod", "big")
        self.kubectl("events", "--for", "pod/big")
        self.kubectl("delete", "pod", "big", "--now")
