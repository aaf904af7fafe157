"""What the demo shows of bursting: one Job with one claim, at home and by both routes to ECI.

In: a `DataSite` whose agent runs. Out: what `demo.stage` shows. The story ends with an error unless
the Job runs where its node selector leads and says the same in all places, a command in its
container finds the claim's file, which a FUSE client has mounted on both routes to ECI and none at
home, its user sees nothing of the sidecar, the sidecar does not keep the finished pod, and nothing
that was made for the claim is left below.
"""

import json
from typing import Any

from rich.console import Console

from demo.stage import MANIFESTS, NAMESPACE, Stage, StoryError
from tests.eci.joined import BURST
from tests.standin.data_site import ACK, CLAIM, HOME, DataSite

_BELOW = f"demo--{NAMESPACE}"
_MANIFEST = MANIFESTS / "reader.yaml"
_OF_THE_CLAIM = "datasets,thinruntimes,dataloads,persistentvolumeclaims,secrets,pods"
_OURS = "--selector=vnode.dev/tenant=demo"
_SIDECAR = "fluid-fuse"
_MADE = ("dataset", "thinruntime", "persistentvolumeclaim", "persistentvolume/")


class BurstStory(Stage):
    """The same Job, three times."""

    def __init__(self, console: Console, site: DataSite) -> None:
        super().__init__(console, site.federation.tenant)
        self._account = site.account
        self._ack = site.federation.computes[ACK]

    def tell(self) -> None:
        """The whole story; raises StoryError."""
        self.scene("Three places to run, and one claim of the user")
        self.kubectl("get", "nodes", "-L", "vnode.dev/cluster")
        self.kubectl("get", "pvc", "--show-labels")
        self.wait_for_policy()
        at_home = self._run(HOME)
        self._see_nothing_left("at home the claim is an ordinary mount")
        on_eci = self._run(ACK)
        self.scene("The same output, and nothing is left in the compute cluster")
        _require_same(at_home, on_eci)
        self.until("nothing is left of the claim below", lambda: self._left() == "")
        self._see_nothing_left("Dataset, ThinRuntime, and the copies of claim and volume are gone")
        in_account = self._run(BURST)
        self.scene("The same output, and no group is left in the account")
        _require_same(at_home, in_account)
        self.until("no group is left in the account", lambda: not self._groups())
        self.kubectl("get", "pvc", CLAIM)

    def _run(self, place: str) -> str:
        """The Job's output where its node selector leads."""
        self.scene(f"The Job, with vnode.dev/cluster: {place}")
        name = self._start(place)
        self.kubectl("wait", "--for=condition=Ready", name, "--timeout=120s")
        self.kubectl("get", name, "-o", "wide")
        self.kubectl("exec", name, "--", "ls", "-l", "/data")
        self._require_there(name, place)
        if place == ACK:
            self._show_below()
        if place == BURST:
            self._show_account()
        self.kubectl("exec", name, "--", "touch", "/go")
        self.kubectl("wait", "--for=condition=Complete", "job/reader", "--timeout=60s")
        self.kubectl("logs", name)
        self.kubectl("get", "jobs,pods")
        output = self.quiet("logs", name)
        _require_only_own(self.quiet("get", name, "-o", "json"))
        if place != HOME:
            self.until("the sidecar was ended too", lambda: self._all_ended(place))
            self.console.print("[dim]the sidecar was ended; how is not what the pod ended with")
        self.kubectl("delete", "job", "reader", "--timeout=60s")
        return output

    def _start(self, place: str) -> str:
        manifest = _MANIFEST.read_text().replace(f"cluster: {HOME}", f"cluster: {place}")
        self.apply(manifest, f"sed 's/cluster: {HOME}/cluster: {place}/' {_MANIFEST.name}")
        pods = ("get", "pods", "--selector=job-name=reader", "-o", "name")
        self.until("the Job has a pod", lambda: self.quiet(*pods) != "")
        return self.quiet(*pods)

    def _require_there(self, name: str, place: str) -> None:
        """What is shown is true of this place."""
        node = self.quiet("get", name, "-o", "jsonpath={.spec.nodeName}")
        label = "jsonpath={.metadata.labels.vnode\\.dev/cluster}"
        if (cluster := self.quiet("get", "node", node, "-o", label)) != place:
            raise StoryError(f"the Job runs on {node} of cluster {cluster!r}")
        files = self.quiet("exec", name, "--", "ls", "/data").split()
        if "hello" not in files:
            raise StoryError(f"the claim has files {files}")
        mounts = self.quiet("exec", name, "--", "cat", "/proc/mounts").splitlines()
        by_fuse = any(line.split()[1:3] == ["/data", "fuse.starfs"] for line in mounts)
        if by_fuse is (place == HOME):
            raise StoryError(f"a FUSE client mounts the claim: {by_fuse}")

    def _all_ended(self, place: str) -> bool:
        if place == BURST:
            return {group["status"] for group in self._groups()} == {"Succeeded"}
        pods = json.loads(self._below("get", "pods", _OURS, "-o", "json"))["items"]
        return all(pod["status"]["phase"] in ("Succeeded", "Failed") for pod in pods)

    def _show_below(self) -> None:
        columns = "POD:.metadata.name,CONTAINERS:.spec.containers[*].name,PHASE:.status.phase"
        self.console.print("[dim]what administrators of the compute cluster see:")
        pods = self._below("get", "pods", _OURS, "-o", f"custom-columns={columns}")
        self.console.print(pods)
        self.console.print(self._below("get", "datasets,thinruntimes", _OURS))
        made = self._left()
        if missing := [kind for kind in _MADE if kind not in made]:
            raise StoryError(f"nothing was made for the claim of kinds {missing}")
        if _SIDECAR not in pods:
            raise StoryError("the pod has no sidecar below")

    def _show_account(self) -> None:
        self.console.print("[dim]what administrators of the account see:")
        for group in self._groups():
            containers = ", ".join(group["containers"])
            self.console.print(f"{group['name']}  {group['status']}  {containers}")
        if [_SIDECAR in "".join(group["containers"]) for group in self._groups()] != [True]:
            raise StoryError("in the account there is not one group with a sidecar")

    def _groups(self) -> list[Any]:
        found: list[Any] = self._account.state()["groups"]
        return found

    def _see_nothing_left(self, text: str) -> None:
        if left := self._left():
            raise StoryError(f"left in the compute cluster: {left}")
        self.console.print(text)

    def _left(self) -> str:
        inside = self._below("get", _OF_THE_CLAIM, _OURS, "-o", "name")
        return inside + self._below("get", "persistentvolumes", _OURS, "-o", "name")

    def _below(self, *args: str) -> str:
        return self._ack.kubectl(f"--namespace={_BELOW}", *args)


def _require_only_own(pod: str) -> None:
    """Of a finished pod the user sees his own container alone."""
    status = json.loads(pod)["status"]
    seen = [(c["name"], c["state"]["terminated"]["exitCode"]) for c in status["containerStatuses"]]
    if (status["phase"], seen) != ("Succeeded", [("main", 0)]):
        raise StoryError(f"the user sees a pod that is {status['phase']}, and containers {seen}")


def _require_same(at_home: str, there: str) -> None:
    if there != at_home:
        raise StoryError(f"at home the Job said {at_home!r}, on ECI {there!r}")
