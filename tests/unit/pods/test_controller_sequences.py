"""Random histories of two clusters and an agent: what must hold whatever happens.

The rules are what users, kubelets, other controllers and broken networks do. They may follow each
other faster than the agent hears of them. After every pause that is long enough for everything to
come to rest, the invariants of DESIGN 4 and 5 are checked.
"""

import asyncio
import dataclasses
from collections.abc import Callable, Coroutine

import looptime
import structlog
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from tests.builders import NODE, loads, make_copy, make_error, make_pod, make_uid
from tests.fakes.backend import UNREACHABLE
from tests.fakes.client import Body
from tests.unit.pods.world import World
from vnode.backend import ObservedPod, Sight
from vnode.kube.resources import PODS
from vnode.kube.types import ObjectKey
from vnode.pods.lifecycle import finished_by_itself
from vnode.pods.partition.policy import ANNOTATION
from vnode.pods.start_once import StartOnce

KEYS = [ObjectKey("team-a", "job-0"), ObjectKey("team-a", "job-1")]
TERMINAL = ("Succeeded", "Failed")
WRITES = ("patch pods/status", "delete pods", "patch nodes")

picks = st.integers(0, len(KEYS) - 1)
moments = st.sampled_from([0.0, 0.004, 0.02, 0.3, 1.2, 5.0])


class Histories(RuleBasedStateMachine):
    """Two pod names on one virtual node."""

    @initialize(
        seed=st.integers(0, 1000),
        lag=st.sampled_from([0.0, 0.01, 0.5, 3.0]),
        start_once=st.sampled_from(StartOnce),
    )
    def begin(self, seed: int, lag: float, start_once: StartOnce) -> None:
        structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))
        self.loop = looptime.new_event_loop()
        asyncio.set_event_loop(self.loop)
        self.world = World(seed=seed, lag=lag, latency=0.01)
        self.world.start_once = start_once
        self.world.tenant.on_change.append(self._watch_tenant)
        self.world.below.watchers.append(self._watch_below)
        self.uids = 0
        self.final: dict[str, str] = {}
        """Terminal phase by tenant UID."""
        self.broken: list[str] = []
        self.run(self._start())

    async def _start(self) -> None:
        self.world.start()
        self.uids = 1
        self.world.create(make_pod(KEYS[0].name, uid=make_uid(1)))

    def run(self, act: Coroutine[None, None, None]) -> None:
        self.loop.run_until_complete(act)

    def teardown(self) -> None:
        if not hasattr(self, "loop"):
            return
        try:
            if not self.broken:
                self.rest()
        finally:
            self.run(self.world.stop())
            self.loop.close()
            asyncio.set_event_loop(None)
            structlog.reset_defaults()

    # --- invariants of every moment -------------------------------------------------------------

    def _watch_tenant(self, plural: str, body: Body, exists: bool) -> None:
        if plural != PODS.plural:
            return
        metadata, status = body["metadata"], body["status"]
        key = ObjectKey(metadata["namespace"], metadata["name"])
        before = self.final.get(metadata["uid"])
        if before is not None and status["phase"] != before:
            self.broken.append(f"{key} was {before} and became {status['phase']}")
        if status["phase"] in TERMINAL:
            self.final[metadata["uid"]] = status["phase"]
        for container in status.get("containerStatuses", []):
            mark = container.get("containerID", "")
            if mark not in ("", f"fake://{metadata['uid']}"):
                self.broken.append(f"{key} shows containers of another UID")
        copy = self.world.below.copies.get(key)
        if self._lives(copy, body) and metadata["uid"] not in self._fenced():
            if not exists and self._removed_by_us(metadata["uid"]):
                self.broken.append(f"{key} was removed while its copy lives")
            given_up = before is None and status["phase"] in TERMINAL
            if given_up and status.get("reason") == "ComputeUnreachable":
                self.broken.append(f"{key} was given up unfenced while its copy lives")

    def _fenced(self) -> set[str]:
        return {str(fence.uid) for fence in self.world.fenced()}

    def _watch_below(self, copy: ObservedPod, version: int) -> None:
        if self.world.start_once is StartOnce.STRICT and self.world.below.started[copy.uid] > 1:
            self.broken.append(f"{copy.key} could start twice for one UID")
        if copy.uid in self.world.below.removed_by_others:
            return
        if self.world.below.made[copy.uid] > 1 or self.world.below.started[copy.uid] > 1:
            self.broken.append(f"{copy.key} was made twice for one UID")

    def _removed_by_us(self, uid: str) -> bool:
        return any(call.uid == uid for call in self.world.tenant.named("delete pods"))

    @staticmethod
    def _lives(copy: ObservedPod | None, body: Body) -> bool:
        return (
            copy is not None
            and copy.uid == body["metadata"]["uid"]
            and _phase(copy) not in TERMINAL
        )

    @invariant()
    def nothing_is_broken(self) -> None:
        assert not getattr(self, "broken", [])

    @invariant()
    def every_delete_carries_a_uid_and_no_metadata_is_written(self) -> None:
        if not hasattr(self, "world"):
            return
        for call in self.world.tenant.calls:
            if call.name == "delete pods":
                assert call.uid
            if call.plural == PODS.plural and call.verb == "patch":
                assert call.subresource == "status"
                assert set(call.body["metadata"]) <= {"uid", "resourceVersion"}
                assert call.body["metadata"]["uid"]
        for deletion in self.world.below.called("delete"):
            assert deletion[3], "the copy's own UID"

    # --- rest -----------------------------------------------------------------------------------

    @rule()
    def rest(self) -> None:
        """All faults end and time passes."""
        self.world.tenant.heal()
        self.world.below.faults.clear()
        self.run(self._act(self.world.mend, 0.0))
        self.run(self._act(lambda: self._look_below(Sight.COMPLETE), 0.0))
        self.run(self._rest())
        self.check_rest()

    async def _rest(self) -> None:
        if self.world.agent is None:
            self.world.start()
        await self.world.settle()

    def check_rest(self) -> None:
        assert not self.broken
        below, tenant = self.world.below, self.world
        for copy in below.copies.values():
            body = tenant.pod(copy.key)
            owned = body is not None and body["metadata"]["uid"] == copy.uid
            assert owned or copy.deleting, f"{copy.key} has a copy and no tenant pod"
            if body is not None and "deletionTimestamp" in body["metadata"]:
                assert copy.deleting, f"{copy.key} is deleted in the tenant only"
        for uid in self._fenced():
            held = [copy for copy in below.copies.values() if copy.uid == uid]
            assert held, "a fence outlives its copy"
            assert held[0].deleting, "a fenced copy is left alone"
        for key in KEYS:
            body = tenant.pod(key)
            if body is None or not body["spec"].get("nodeName"):
                continue
            found = below.copies.get(key)
            if found is None:
                assert "deletionTimestamp" not in body["metadata"], f"{key} is stuck"
                assert body["status"]["phase"] in TERMINAL, f"{key} was forgotten"
            else:
                assert not found.gated, f"{key} was never let start"
            if found is not None and (
                found.uid == body["metadata"]["uid"]
                and body["status"]["phase"] not in TERMINAL
                and not _ends_because_of_others(found)
            ):
                self._check_mirrored(key, body, found)

    def _check_mirrored(self, key: ObjectKey, body: Body, copy: ObservedPod) -> None:
        below = self.world.agent.backend.observed(key) if self.world.agent else None
        assert below == copy, "the fake's watch is complete"
        assert body["status"]["phase"] == _phase(copy), f"{key} shows an old phase"
        ready = self.world.condition(key, "Ready")
        if _phase(copy) == "Running":
            assert ready is not None
            assert ready["status"] == "True", f"{key} shows what another controller wrote"

    # --- what tenants do ------------------------------------------------------------------------

    @precondition(lambda self: any(self.world.pod(key) is None for key in KEYS))
    @rule(bound=st.sampled_from([True, True, True, False]), after=moments)
    def create(self, bound: bool, after: float) -> None:
        key = next(key for key in KEYS if self.world.pod(key) is None)
        self._create(key, NODE if bound else "", after)

    def _create(self, key: ObjectKey, node: str, after: float) -> None:
        self.uids += 1
        say = {ANNOTATION: "fail-after=20s"} if self.uids % 2 else {}
        pod = make_pod(key.name, uid=make_uid(self.uids), node=node, annotations=say)
        self.run(self._act(lambda: self.world.create(pod), after))

    @precondition(lambda self: self._pods(bound=False))
    @rule(pick=picks, after=moments)
    def bind(self, pick: int, after: float) -> None:
        key = _pick(self._pods(bound=False), pick)
        self._edit(key, lambda body: body["spec"].update(nodeName=NODE), after)

    @precondition(lambda self: self._pods())
    @rule(pick=picks, grace=st.sampled_from([0, 1, 5, 30]), after=moments)
    def delete(self, pick: int, grace: int, after: float) -> None:
        key = _pick(self._pods(), pick)
        self.run(self._act(lambda: self.world.delete(key, grace=grace), after))

    @precondition(lambda self: self._pods())
    @rule(pick=picks, after=moments)
    def replace(self, pick: int, after: float) -> None:
        """Force-delete a pod and make a successor of the same name at once."""
        key = _pick(self._pods(), pick)
        self.run(self._act(lambda: self.world.delete(key, grace=0), 0.0))
        self._create(key, NODE, after)

    @precondition(lambda self: self._pods())
    @rule(pick=picks, after=moments)
    def annotate(self, pick: int, after: float) -> None:
        self.uids += 1
        note = {"note": str(self.uids)}
        key = _pick(self._pods(), pick)
        self._edit(
            key, lambda body: body["metadata"].setdefault("annotations", {}).update(note), after
        )

    @precondition(lambda self: self._pods())
    @rule(pick=picks, after=moments)
    def node_lifecycle_controller_sets_not_ready(self, pick: int, after: float) -> None:
        def change(body: Body) -> None:
            for condition in body["status"].get("conditions", []):
                if condition["type"] == "Ready":
                    condition["status"] = "False"

        self._edit(_pick(self._pods(), pick), change, after)

    @precondition(lambda self: self._pods(ended=False))
    @rule(pick=picks, after=moments)
    def another_controller_fails_the_pod(self, pick: int, after: float) -> None:
        key = _pick(self._pods(ended=False), pick)
        failed = {"phase": "Failed", "reason": "DeadlineExceeded"}  # A reason of its own, not ours.
        self._edit(key, lambda body: body["status"].update(failed), after)

    def _pods(self, *, bound: bool | None = None, ended: bool | None = None) -> list[ObjectKey]:
        found = [(key, body) for key in KEYS if (body := self.world.pod(key)) is not None]
        return [
            key
            for key, body in found
            if bound in (None, bool(body["spec"].get("nodeName")))
            and ended in (None, body["status"]["phase"] in TERMINAL)
        ]

    def _edit(self, key: ObjectKey, change: Callable[[Body], None], after: float) -> None:
        self.run(self._act(lambda: self.world.tenant.edit(PODS, key, change), after))

    # --- what happens below ---------------------------------------------------------------------

    @precondition(lambda self: self._copies("Pending", deleting=False, gated=False))
    @rule(pick=picks, after=moments)
    def copy_starts(self, pick: int, after: float) -> None:
        key = _pick(self._copies("Pending", deleting=False, gated=False), pick)
        self.run(self._act(lambda: self.world.below.start(key), after))

    @precondition(lambda self: self._copies("Running"))
    @rule(pick=picks, code=st.sampled_from([0, 1]), after=moments)
    def copy_ends(self, pick: int, code: int, after: float) -> None:
        key = _pick(self._copies("Running"), pick)
        self.run(self._act(lambda: self.world.below.end(key, exit_code=code), after))

    @precondition(lambda self: self._copies(deleting=True))
    @rule(pick=picks, after=moments)
    def deleted_copy_goes(self, pick: int, after: float) -> None:
        key = _pick(self._copies(deleting=True), pick)
        self.run(self._act(lambda: self.world.below.finish_deletion(key), after))

    @precondition(lambda self: self._copies())
    @rule(pick=picks, after=moments)
    def copy_is_evicted(self, pick: int, after: float) -> None:
        key = _pick(self._copies(), pick)
        self.run(self._act(lambda: self.world.below.evict(key), after))

    @precondition(lambda self: self._removed_by_others())
    @rule(pick=picks, after=moments)
    def a_create_that_hung_lands(self, pick: int, after: float) -> None:
        """With startOnce: strict; the copy before was removed by others."""
        body = self.world.pod(_pick(self._removed_by_others(), pick))
        assert body is not None
        pod, below = (
            make_pod(body["metadata"]["name"], uid=body["metadata"]["uid"]),
            self.world.below,
        )
        late = make_copy(pod, handle=f"late-{next(below.handles)}", status={"phase": "Pending"})
        self.run(self._act(lambda: below.put(dataclasses.replace(late, gated=True)), after))

    def _removed_by_others(self) -> list[ObjectKey]:
        below = self.world.below
        if self.world.start_once is not StartOnce.STRICT:
            return []
        found = [(key, self.world.pod(key)) for key in self._pods(bound=True)]
        return [
            key
            for key, body in found
            if body is not None
            and body["metadata"]["uid"] in below.removed_by_others
            and key not in below.copies
        ]

    @precondition(lambda self: self._copies(deleting=False))
    @rule(pick=picks, after=moments)
    def copy_is_deleted_by_somebody(self, pick: int, after: float) -> None:
        key = _pick(self._copies(deleting=False), pick)
        self.run(self._act(lambda: self.world.below.kill(key), after))

    def _copies(
        self,
        phase: str | None = None,
        *,
        deleting: bool | None = None,
        gated: bool | None = None,
    ) -> list[ObjectKey]:
        return [
            copy.key
            for copy in self.world.below.copies.values()
            if phase in (None, _phase(copy))
            and deleting in (None, copy.deleting)
            and gated in (None, copy.gated)
        ]

    # --- what breaks ----------------------------------------------------------------------------

    @rule(after=moments)
    def agent_restarts(self, after: float) -> None:
        self.run(self._restart(after))

    async def _restart(self, after: float) -> None:
        await self.world.restart()
        await asyncio.sleep(after)

    @rule(after=moments)
    def agent_is_down(self, after: float) -> None:
        self.run(self.world.stop())
        self.run(asyncio.sleep(after))

    @rule(after=st.sampled_from([0.0, 1.2, 15.0, 30.0, 60.0]))
    def link_is_lost(self, after: float) -> None:
        self.run(self._act(self.world.cut, after))

    @precondition(lambda self: self.world.below.cut)
    @rule(after=moments)
    def link_is_back(self, after: float) -> None:
        self.run(self._act(self.world.mend, after))

    @rule(call=st.sampled_from(WRITES), applied=st.booleans(), code=st.sampled_from([409, 500]))
    def tenant_write_fails(self, call: str, applied: bool, code: int) -> None:
        self.world.tenant.fail(make_error(code, "broken"), call, after=applied)

    @rule(
        call=st.sampled_from(["apply", "ungate", "update", "delete", "confirm_gone"]),
        applied=st.booleans(),
    )
    def compute_write_fails(self, call: str, applied: bool) -> None:
        self.world.below.fail(call, after=applied, error=UNREACHABLE)

    @rule(barred=st.booleans(), after=moments)
    def namespace_below_is_barred(self, barred: bool, after: float) -> None:
        """What is there cannot be seen; or it can again, and backends tell of all of it."""
        sight = Sight.BARRED if barred else Sight.COMPLETE
        self.run(self._act(lambda: self._look_below(sight), after))

    def _look_below(self, sight: Sight) -> None:
        before = self.world.sights.get(KEYS[0].namespace, Sight.COMPLETE)
        self.world.sights[KEYS[0].namespace] = sight
        if self.world.agent is not None and before is not sight is Sight.COMPLETE:
            backend = self.world.agent.backend
            for key in (*backend._known, *backend._gone):
                backend._notify(key)

    @staticmethod
    async def _act(act: Callable[[], object], after: float) -> None:
        act()
        await asyncio.sleep(after)


def _pick(keys: list[ObjectKey], pick: int) -> ObjectKey:
    return keys[pick % len(keys)]


def _ends_because_of_others(copy: ObservedPod) -> bool:
    """Such a copy is shown as lost once it is gone, and as it was until then."""
    return copy.deleting and _phase(copy) in TERMINAL and not finished_by_itself(copy)


def _phase(copy: ObservedPod) -> str:
    return str(loads(copy.status)["phase"])


Histories.TestCase.settings = settings(
    max_examples=60,
    stateful_step_count=30,
    deadline=None,
    report_multiple_bugs=False,
    suppress_health_check=list(HealthCheck),
)
TestHistories = Histories.TestCase
