"""What the demo shows of an account of ECI: one Job at home and there, and what it cost.

In: an `AccountSite` whose agent runs. Out: what `demo.stage` shows. The story ends with an error
unless the Job says the same in both places and nothing is left in the account. Nothing but the
agent is real: no account is needed, and prices are made up.
"""

from datetime import datetime

from rich.console import Console

from demo.stage import MANIFESTS, Stage, StoryError
from tests.eci.account_site import HOME, NODE, TYPE, AccountSite
from tests.eci.joined import BURST

_MANIFEST = MANIFESTS / "report.yaml"
_METRICS = f"/api/v1/nodes/{NODE}/proxy/metrics"
_PRICE = "federation_eci_price_per_hour"


class AccountStory(Stage):
    """The same Job, twice."""

    def __init__(self, console: Console, site: AccountSite) -> None:
        super().__init__(console, site.tenant)
        self._account = site.account

    def tell(self) -> None:
        """The whole story; raises StoryError."""
        self.scene("A place to pay for: an account of Alibaba Cloud ECI, played by an emulator")
        self.kubectl("get", "nodes", "-L", "vnode.dev/cluster")
        self.wait_for_policy()
        at_home = self._run(HOME)
        on_eci = self._run(BURST)
        if on_eci != at_home:
            raise StoryError(f"at home the Job said {at_home!r}, on ECI {on_eci!r}")
        self.scene("What it cost: prices are metrics of the agent")
        self._show_cost()
        self.scene("Nothing stays there, and nothing more is paid for")
        self.kubectl("delete", "job", "report", "--timeout=60s")
        self.until("no group is left in the account", lambda: not self._account.state()["groups"])
        self._say(self._account.table())

    def _run(self, place: str) -> str:
        """The Job's output where its node selector leads."""
        self.scene(f"The Job, with vnode.dev/cluster: {place}")
        manifest = _MANIFEST.read_text().replace(f"cluster: {HOME}", f"cluster: {place}")
        if place != HOME:
            self.kubectl("delete", "job", "report", "--timeout=60s")
        self.apply(manifest, f"sed 's/cluster: {HOME}/cluster: {place}/' {_MANIFEST.name}")
        self.kubectl("wait", "--for=condition=Complete", "job/report", "--timeout=90s")
        self.kubectl("get", "pods", "-l", "app=report", "-o", "wide")
        self.kubectl("logs", "job/report")
        return self.quiet("logs", "job/report")

    def _show_cost(self) -> None:
        self.until("the price is known", lambda: bool(self._price()))
        line = self._price()
        self.console.print(f"[bold cyan]$ kubectl get --raw {_METRICS} | grep {_PRICE}")
        self._say(line)
        self._say(self._account.table())
        ended = "{.items[0].status.containerStatuses[0].state.terminated.finishedAt}"
        wanted = f"jsonpath={{.items[0].status.startTime}} {ended}"
        times = self.quiet("get", "pods", "-l", "app=report", "-o", wanted).split()
        began, end = (datetime.fromisoformat(one) for one in times)
        seconds, price = (end - began).total_seconds(), float(line.rpartition(" ")[2])
        self._say(f"{seconds:.0f} s on {TYPE} at {price:g} an hour: {seconds * price / 3600:.4f}")

    def _price(self) -> str:
        """The line of the metric; empty: it is not known yet."""
        lines = self.quiet("get", "--raw", _METRICS).splitlines()
        return next((one for one in lines if one.startswith(_PRICE) and TYPE in one), "")

    def _say(self, text: str) -> None:
        self.console.print(text, highlight=False, markup=False)
