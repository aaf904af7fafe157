"""What the demo shows of bursting: one Job with one claim, at home and on nodes that play ECI.

In: a `DataSite` whose agent runs. Out: what `demo.stage` shows. The story ends with an error unless
the Job says the same in both places, its user sees nothing of the sidecar, the sidecar does not
keep the finished pod, and nothing that was made for the claim is left below.
"""

import json

from rich.console import Console

from demo.stage import MANIFESTS, NAMESPACE, Stage, StoryError
from tests.standin.data_site import ACK, CLAIM, HOME, DataSite

_BELOW = f"demo--{NAMESPACE}"
_MANIFEST = MANIFESTS / "reader.yaml"
_OF_THE_CLAIM = "datasets,thinruntimes,dataloads,persistentvolumeclaims,secrets,pods"
_OURS = "--selector=vnode.dev/tenant=demo"


class BurstStory(Stage):
    """The same Job, twice."""

    def __init__(self, console: Console, site: DataSite) -> None:
        super().__init__(console, site.federation.tenant)
        self._ack = site.federation.computes[ACK]

    def tell(self) -> None:
        """The whole story; raises StoryError."""
        self.scene("Two places to run, and one claim of the user")
        self.kubectl("get", "nodes", "-L", "vnode.dev/cluster")
        self.kubectl("get", "pvc", "--show-labels")
        self.wait_for_policy()
        at_home = self._run(HOME)
        self._see_nothing_left("at home the claim is an ordinary mount")
        on_eci = self._run(ACK)
        self.scene("The same output, and nothing is left in the compute cluster")
        if on_eci != at_home:
            raise StoryError(f"at home the Job said {at_home!r}, on ECI {on_eci!r}")
        self.until("nothing is left of the claim below", lambda: self._left() == "")
        self._see_nothing_left("Dataset, ThinRuntime, and the copies of claim and volume are gone")
        self.kubectl("get", "pvc", CLAIM)

    def _run(self, place: str) -> str:
        """The Job's output where its node selector leads."""
        self.scene(f"The Job, with vnode.dev/cluster: {place}")
        name = self._start(place)
        self.kubectl("wait", "--for=condition=Ready", name, "--timeout=120s")
        self.kubectl("get", name, "-o", "wide")
        self.kubectl("exec", name, "--", "ls", "-l", "/data")
        if place == ACK:
            self._show_below()
        self.kubectl("exec", name, "--", "touch", "/go")
        self.kubectl("wait", "--for=condition=Complete", "job/reader", "--timeout=60s")
        self.kubectl("logs", name)
        self.kubectl("get", "jobs,pods")
        output = self.quiet("logs", name)
        status = json.loads(self.quiet("get", name, "-o", "json"))["status"]
        if (seen := [c["name"] for c in status["containerStatuses"]]) != ["main"]:
            raise StoryError(f"the user sees containers {seen}")
        if place == ACK:
            self.until("the sidecar was ended too", self._all_ended)
            self.console.print("[dim]the sidecar was ended; how is not what the pod ended with")
        self.kubectl("delete", "job", "reader", "--timeout=60s")
        return output

    def _start(self, place: str) -> str:
        manifest = _MANIFEST.read_text().replace(f"cluster: {HOME}", f"cluster: {place}")
        self.apply(manifest, f"sed 's/cluster: {HOME}/cluster: {place}/' {_MANIFEST.name}")
        pods = ("get", "pods", "--selector=job-name=reader", "-o", "name")
        self.until("the Job has a pod", lambda: self.quiet(*pods) != "")
        return self.quiet(*pods)

    def _all_ended(self) -> bool:
        pods = json.loads(self._below("get", "pods", _OURS, "-o", "json"))["items"]
        return all(pod["status"]["phase"] in ("Succeeded", "Failed") for pod in pods)

    def _show_below(self) -> None:
        columns = "POD:.metadata.name,CONTAINERS:.spec.containers[*].name,PHASE:.status.phase"
        self.console.print("[dim]what administrators of the compute cluster see:")
        self.console.print(self._below("get", "pods", _OURS, "-o", f"custom-columns={columns}"))
        self.console.print(self._below("get", "datasets,thinruntimes", _OURS))

    def _see_nothing_left(self, text: str) -> None:
        if left := self._left():
            raise StoryError(f"left in the compute cluster: {left}")
        self.console.print(text)

    def _left(self) -> str:
        inside = self._below("get", _OF_THE_CLAIM, _OURS, "-o", "name")
        return inside + self._below("get", "persistentvolumes", _OURS, "-o", "name")

    def _below(self, *args: str) -> str:
        return self._ack.kubectl(f"--namespace={_BELOW}", *args)
