"""What users do: pods of every kind come, change, succeed each other, and go.

In: `Act`s. Out: requests to the tenant's API server as users, and for namesakes to a compute
cluster's as somebody else there. What an API server refuses is not done: the next act comes anyway.
Numbers of a plan choose among what the histories say there is.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from typing import TYPE_CHECKING, Any

from tests.chaos.api import Refused
from tests.chaos.ledger import TERMINAL
from tests.chaos.plan import Act, ActKind
from tests.e2e.user import BELOW
from tests.e2e.workloads import (
    CLUSTER_LABEL,
    NAMESPACE,
    config_map,
    deployment,
    job,
    pod_spec,
    secret,
    stateful_set,
)
from tests.e2e.workloads import pod as bare_pod

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from tests.chaos.api import Api
    from tests.chaos.history import History

SETTINGS, ACCESS = "settings", "access"
_MOST_PODS = 36
_BARE = 14
_SINGLE = ("bare-", "fresh-", "probe-")
"""How names of pods begin that nobody makes again."""
_NAMESAKE_SECONDS = 1.2
_LATER = "pod-complete.stage.kwok.x-k8s.io/delay"
_SLOW_END = "pod-delete.stage.kwok.x-k8s.io/delay"


class Work:
    """One team's."""

    def __init__(
        self,
        tenant: Api,
        below: Mapping[str, Api],
        *,
        histories: Mapping[str, History],
        pods: Callable[[], Mapping[str, Mapping[str, Any]]],
        seed: int,
        tell_secret: Callable[[str], None],
    ) -> None:
        """`pods`: the tenant's, now; `tell_secret` hears of every value of a Secret."""
        self._tenant = tenant
        self._below = below
        self._histories = histories
        self._pods = pods
        self._seed = seed
        self._tell_secret = tell_secret
        self._values = 0
        self.done: Counter[str] = Counter()
        self.refused = 0

    async def begin(self) -> None:
        """What all pods refer to."""
        await self._tenant.create("configmaps", NAMESPACE, config_map(SETTINGS, MODE="0"))
        await self._tenant.create("secrets", NAMESPACE, secret(ACCESS, password=self._value()))

    async def act(self, act: Act) -> None:
        """Do it; what is refused is counted."""
        todo = {
            ActKind.DEPLOY: self._deploy,
            ActKind.JOB: self._job,
            ActKind.STATEFUL: self._stateful,
            ActKind.PODS: self._some_pods,
            ActKind.SUCCESSOR: self._succeed,
            ActKind.DELETE: self._delete,
            ActKind.CONFIG: self._configure,
            ActKind.RELABEL: self._relabel,
            ActKind.NAMESAKE: self._namesake,
        }
        try:
            await todo[act.kind](act)
            self.done[act.kind] += 1
        except Refused:
            self.refused += 1

    async def burst(self, cluster: str, names: Sequence[str]) -> None:
        """New pods for one cluster, at once."""
        made = (self._create(self.pod(name, 1, cluster=cluster)) for name in names)
        await asyncio.gather(*made)

    async def abandon(self, pick: int, others: Sequence[str]) -> None:
        """Force-delete one pod: nobody is there to see it go, and its copy is left over."""
        names = [n for n in self._pods() if n.startswith(_SINGLE) and n not in others]
        if names:
            name = sorted(names)[pick % len(names)]
            with contextlib.suppress(Refused):
                await self._tenant.delete("pods", NAMESPACE, name, grace=0)

    async def probe(self, number: int) -> None:
        """A pod for each cluster: that it runs shows that everything works. Old ones go."""
        for name in [name for name, pod in self._pods().items() if _is_done_with(name, pod)]:
            with contextlib.suppress(Refused):
                await self._tenant.delete("pods", NAMESPACE, name, grace=1)
        for cluster in self._below:
            made = self.pod(f"probe-{number}-{cluster}", 1, cluster=cluster)
            await self._tenant.create("pods", NAMESPACE, made)

    async def remove_namesakes(self) -> None:
        """Somebody else's pods below go."""
        for cluster, api in self._below.items():
            for name, found in self._histories[cluster].of("pods", BELOW).items():
                if "vnode.dev/uid" not in found["metadata"].get("annotations", {}):
                    with contextlib.suppress(Refused):
                        await api.delete("pods", BELOW, name, grace=0)

    def pod(self, name: str, pick: int, *, cluster: str | None = None) -> Any:
        """A bare pod; the number chooses how it is made."""
        made = bare_pod(name, cluster=cluster or "", **self._details(pick))
        if cluster is None:
            self._place(made["spec"], pick)
        notes: dict[str, str] = {}
        if pick % 3 == 0:
            notes[_SLOW_END] = "600ms"
        if pick % 5 == 0 and cluster is None:
            made["spec"]["restartPolicy"] = "Never"
            notes[_LATER] = "2s"
        made["metadata"]["annotations"] = notes
        return made

    def _details(self, pick: int) -> dict[str, Any]:
        uses = {
            "envFrom": [{"configMapRef": {"name": SETTINGS}}],
            "env": [
                {
                    "name": "PASSWORD",
                    "valueFrom": {"secretKeyRef": {"name": ACCESS, "key": "password"}},
                }
            ],
        }
        return {
            "terminationGracePeriodSeconds": 1 + pick % 3,
            "container": uses if pick % 2 else {},
        }

    def _place(self, spec: dict[str, Any], pick: int) -> None:
        """In one cluster, or wherever there is room."""
        clusters = sorted(self._below)
        choice = pick // 7 % (len(clusters) + 1)
        if choice < len(clusters):
            spec["nodeSelector"] = {CLUSTER_LABEL: clusters[choice]}
        else:
            del spec["nodeSelector"]
            terms = [{"key": CLUSTER_LABEL, "operator": "In", "values": clusters}]
            required = {"nodeSelectorTerms": [{"matchExpressions": terms}]}
            rule = {"requiredDuringSchedulingIgnoredDuringExecution": required}
            spec["affinity"] = {"nodeAffinity": rule}

    def _spec(self, pick: int) -> dict[str, Any]:
        spec = pod_spec(cluster="", **self._details(pick))
        self._place(spec, pick)
        return spec

    async def _create(self, pod: Mapping[str, Any]) -> None:
        try:
            await self._tenant.create("pods", NAMESPACE, pod)
        except Refused as refused:
            if refused.code != 409:
                raise

    async def _deploy(self, act: Act) -> None:
        name = f"web-{act.pick % 2}"
        replicas = 0 if len(self._pods()) > _MOST_PODS else 1 + act.pick // 2 % 5
        if act.pick % 7 == 6:
            await self._tenant.delete("deployments", NAMESPACE, name)
            return
        change: dict[str, Any] = {"spec": {"replicas": replicas}}
        if act.pick % 3 == 0:
            mark = {"chaos": str(act.pick)}
            change["spec"]["template"] = {"metadata": {"annotations": mark}}
        made = deployment(name, replicas=replicas, spec=self._spec(act.pick))
        await self._change_or_create("deployments", name, change, made)

    async def _stateful(self, act: Act) -> None:
        change: dict[str, Any] = {"spec": {"replicas": act.pick % 4}}
        if act.pick % 3 == 0:
            mark = {"chaos": str(act.pick)}
            change["spec"]["template"] = {"metadata": {"annotations": mark}}
        made = stateful_set("set", replicas=act.pick % 4, spec=self._spec(act.pick))
        await self._change_or_create("statefulsets", "set", change, made)

    async def _change_or_create(self, kind: str, name: str, change: Any, made: Any) -> None:
        try:
            await self._tenant.patch(kind, NAMESPACE, name, change)
        except Refused as refused:
            if refused.code != 404:
                raise
            await self._tenant.create(kind, NAMESPACE, made)

    async def _job(self, act: Act) -> None:
        if len(self._pods()) > _MOST_PODS:
            return
        made = job(f"job-{act.pick}", cluster="", completions=1 + act.pick % 3)
        made["spec"]["ttlSecondsAfterFinished"] = act.pick % 6
        made["spec"]["template"]["spec"] = {**self._spec(act.pick), "restartPolicy": "Never"}
        await self._tenant.create("jobs", NAMESPACE, made)

    async def _some_pods(self, act: Act) -> None:
        if len(self._pods()) > _MOST_PODS:
            await self._delete(act)
            return
        for number in range(1 + act.pick % 4):
            name = f"bare-{(act.pick + number) % _BARE}"
            await self._create(self.pod(name, act.pick + number))

    def _chosen(self, act: Act, *prefixes: str) -> list[str]:
        """Some of the pods that there are, in an order that the act tells."""
        names = sorted(name for name in self._pods() if name.startswith(prefixes or ""))
        if not names:
            return []
        first = act.pick % len(names)
        return (names[first:] + names[:first])[: 1 + act.pick // 16 % 3]

    async def _succeed(self, act: Act) -> None:
        """Delete by force and make one of the same name at once."""
        for name in self._chosen(act, "bare-"):
            with contextlib.suppress(Refused):
                await self._tenant.delete("pods", NAMESPACE, name, grace=0)
            await self._create(self.pod(name, act.pick // 3))

    async def _delete(self, act: Act) -> None:
        for name in self._chosen(act):
            await self._tenant.delete("pods", NAMESPACE, name, grace=act.grace)

    async def _configure(self, act: Act) -> None:
        if act.pick % 2:
            data = {"MODE": str(act.pick)}
            await self._tenant.patch("configmaps", NAMESPACE, SETTINGS, {"data": data})
        else:
            value = {"password": self._value()}
            await self._tenant.patch("secrets", NAMESPACE, ACCESS, {"stringData": value})

    async def _relabel(self, act: Act) -> None:
        for name in self._chosen(act):
            change = {"metadata": {"labels": {"chaos": str(act.pick)}}}
            await self._tenant.patch("pods", NAMESPACE, name, change)

    async def _namesake(self, act: Act) -> None:
        """A pod of somebody else's is in the way, for a while."""
        cluster = sorted(self._below)[act.pick % len(self._below)]
        name = f"bare-{act.pick // 2 % _BARE}"
        other = bare_pod(name, cluster="")
        other["metadata"]["namespace"] = BELOW
        del other["spec"]["nodeSelector"]
        await self._below[cluster].create("pods", BELOW, other)
        await self._create(self.pod(name, act.pick, cluster=cluster))
        await asyncio.sleep(_NAMESAKE_SECONDS)
        await self._below[cluster].delete("pods", BELOW, name, grace=0)

    def _value(self) -> str:
        self._values += 1
        value = f"hush-{self._seed:x}-{self._values:06d}-{self._seed * 7919 + self._values:x}"
        self._tell_secret(value)
        return value


def _is_done_with(name: str, pod: Mapping[str, Any]) -> bool:
    """Probes of before, and what has ended that nobody else removes."""
    ended = pod.get("status", {}).get("phase") in TERMINAL
    return name.startswith("probe-") or (ended and name.startswith(_SINGLE))
