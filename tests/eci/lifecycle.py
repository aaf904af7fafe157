"""What happens to one container group: the part of ECI that is like a kubelet, without I/O.

In: the group as asked for, deletes, restarts and reclaims, and what the `Engine` reports of its
containers. Out: calls of the engine, and the state that anybody may read. Time is given: `advance`
does what is due, in order; nothing runs by itself.

Init containers run in turn; then containers by launch priority, each level when all of the one
before run, and are ready if they have a probe. Restarts follow the group's policy with the back-off
of kubelets. When all but sidecars have ended for good, sidecars are stopped. Stops go by exit
priority, the larger first, each level with SIGTERM and, after the grace period, SIGKILL.
"""

import heapq
import itertools
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from tests.eci.containers import Container, Ended, Probe
from tests.eci.engine import CannotStart, Engine, Timing

FINAL = frozenset({"Succeeded", "Failed", "Expired", "ScheduleFailed"})
WARNING = 180.0
"""Seconds between the news that a spot instance is taken back and its end."""
_BACKOFF, _LONGEST_BACKOFF, _FORGIVEN = 10.0, 300.0, 600.0
_GRACE = 30.0


@dataclass(frozen=True)
class Step:
    """From `at` (Unix seconds) the group is in `status`."""

    at: float
    status: str
    reason: str = ""


@dataclass(frozen=True)
class Event:
    at: float
    type: str
    reason: str
    message: str
    source: str = "EciService"
    """EciService or K8sAgent."""


class Lifecycle:
    """One group."""

    def __init__(
        self, asked: dict[str, Any], *, group: str, engine: Engine, timing: Timing, now: float
    ) -> None:
        self.group = group
        self.asked = asked
        self.now = now
        self.steps = [Step(now, "Scheduling")]
        self.events: list[Event] = []
        self.changed = now
        """When the group or a container changed last."""
        self.placed: float | None = None
        self.inits = [Container(one, init=True) for one in asked.get("InitContainer", ())]
        self.containers = [Container(one) for one in asked["Container"]]
        self._engine = engine
        self._timing = timing
        self._due: list[tuple[float, int, Callable[[], None]]] = []
        self._order = itertools.count()
        self._levels: list[list[Container]] | None = None
        """Levels still to be stopped, the present one first; None when nothing is stopping."""
        self._after: Callable[[], None] = lambda: None
        self.at(now + timing.scheduling, self._place)

    @property
    def step(self) -> Step:
        return self.steps[-1]

    @property
    def status(self) -> str:
        return self.steps[-1].status

    @property
    def everyone(self) -> list[Container]:
        return [*self.inits, *self.containers]

    @property
    def grace(self) -> float:
        return float(self.asked.get("TerminationGracePeriodSeconds", _GRACE))

    def at(self, when: float, what: Callable[[], None]) -> None:
        """Plan something."""
        heapq.heappush(self._due, (when, next(self._order), what))

    def advance(self, now: float) -> None:
        """Do all that is due."""
        while self._due and self._due[0][0] <= now:
            when, _, what = heapq.heappop(self._due)
            self.now = max(self.now, when)
            what()
        self.now = max(self.now, now)

    def delete(self, now: float) -> None:
        """Stop and forget it. Again is no matter."""
        self.advance(now)
        if self.status not in {"Terminating", "Gone"}:
            self._set("Terminating")
            self._stop(self.everyone, self._leave)

    def restart(self, now: float) -> None:
        """Stop all containers and start from the first one."""
        self.advance(now)
        self._set("Restarting")
        self._stop(self.everyone, lambda: self.at(self.now + 1, self._again))

    def reclaim(self, now: float) -> None:
        """The spot market takes the instance back: a warning now, the end three minutes later."""
        self.advance(now)
        self.tell("Warning", "SpotToBeReleased", "The spot instance is going to be released.")
        self.at(now + WARNING, self._expire)

    def tell(self, kind: str, reason: str, message: str, *, source: str = "EciService") -> None:
        """Record an event."""
        self.events.append(Event(self.now, kind, reason, message, source))

    def exited(
        self, container: Container, exit_code: int, *, now: float, message: str = ""
    ) -> None:
        """The engine's word that a run has ended."""
        if container.started is None:
            return
        self.now = max(self.now, now)
        reason = "Completed" if exit_code == 0 else "Error"
        container.ended = Ended(container.started, self.now, exit_code, reason, message)
        container.started, container.ready = None, False
        self.changed = self.now
        if self._levels is not None:
            self._go_on_stopping()
        elif self.status not in FINAL:
            (self._after_init if container.init else self._after_container)(container)

    def _place(self) -> None:
        if self.status != "Scheduling":
            return
        if reason := self._timing.schedule_fails:
            self._set("ScheduleFailed", reason)
            self.tell("Warning", reason, f"Create ECI failed because of {reason}.")
            return
        self.placed = self.now
        self._set("Pending")
        if limit := self.asked.get("ActiveDeadlineSeconds"):
            self.at(self.now + float(limit), self._deadline)
        self.at(self.now + self._timing.pulling, self._begin)

    def _begin(self) -> None:
        if self.status == "Pending":
            self._go_on()

    def _again(self) -> None:
        if self.status == "Restarting":
            for container in self.everyone:
                container.previous, container.ended = container.ended or container.previous, None
                container.waiting, container.launched = "ContainerCreating", False
            self._set("Pending")
            self._go_on()

    def _go_on(self) -> None:
        """Start whatever may start now."""
        for init in self.inits:
            if not (init.ended and init.ended.exit_code == 0):
                if not init.running and init.waiting != "CrashLoopBackOff":
                    self._start(init)
                return
        for level in _levels(self.containers, lambda one: one.launch_priority):
            for container in level:
                if not container.launched:
                    self._start(container)
            if not all(one.ready or one.ended or not one.gated for one in level):
                break
            if not all(one.running or one.ended for one in level):
                break
        self._settle()

    def _start(self, container: Container) -> None:
        container.previous = container.ended or container.previous
        container.ended = None
        container.waiting = container.waiting_message = ""
        container.failures.clear()
        container.attempt += 1
        container.launched = True
        container.started = self.now
        container.ready = not container.init and not container.gated
        self.changed = self.now
        try:
            self._engine.start(self, container)
        except CannotStart as error:
            container.attempt -= 1
            container.started, container.ready = None, False
            container.waiting, container.waiting_message = error.reason, str(error)
            self.tell("Warning", "Failed", str(error), source="K8sAgent")
            self._later(container, _BACKOFF)
            return
        said = f"Started container {container.name}"
        self.tell("Normal", "Started", said, source="K8sAgent")
        for probe in container.probes:
            self._ask(container, probe, container.attempt, self.now + probe.delay)

    def _later(self, container: Container, delay: float) -> None:
        attempt = container.attempt

        def again() -> None:
            still = self.status in {"Pending", "Running"} and self._levels is None
            if still and not container.running and container.attempt == attempt:
                self._start(container)
                self._settle()

        self.at(self.now + delay, again)

    def _ask(self, container: Container, probe: Probe, attempt: int, when: float) -> None:
        def due() -> None:
            if container.running and container.attempt == attempt and self._levels is None:
                self._engine.probe(self, container, probe, answered)

        def answered(good: bool, why: str) -> None:
            if container.running and container.attempt == attempt and self._levels is None:
                self._ask(container, probe, attempt, self.now + probe.period)
                self._probed(container, probe, good, why)

        self.at(when, due)

    def _probed(self, container: Container, probe: Probe, good: bool, why: str) -> None:
        count = 0 if good else container.failures.get(probe.kind, 0) + 1
        container.failures[probe.kind] = count
        if not good:
            self.tell("Warning", "Unhealthy", f"{probe.kind} failed: {why}", source="K8sAgent")
        if probe.kind == "ReadinessProbe":
            was = container.ready
            container.ready = good or (was and count < probe.failures)
            if container.ready != was:
                self.changed = self.now
                self._go_on()
        elif count == probe.failures:
            self.tell("Normal", "Killing", f"{container.name} is not alive", source="K8sAgent")
            self._engine.stop(self, container)
            attempt = container.attempt
            self.at(self.now + self.grace, lambda: self._kill(container, attempt))

    def _kill(self, container: Container, attempt: int) -> None:
        if container.running and container.attempt == attempt:
            self._engine.kill(self, container)

    def _after_init(self, container: Container) -> None:
        assert container.ended is not None
        if container.ended.exit_code == 0:
            self._go_on()
        elif self.asked.get("RestartPolicy", "Always") == "Never":
            self._finish("Failed")
        else:
            self._back_off(container)

    def _after_container(self, container: Container) -> None:
        assert container.ended is not None
        policy = self.asked.get("RestartPolicy", "Always")
        if policy == "Always" or (policy == "OnFailure" and not container.succeeded):
            self._back_off(container)
        else:
            container.waiting = ""
        self._go_on()
        main = [one for one in self.containers if not one.sidecar] or self.containers
        if all(one.ended and not one.waiting for one in main):
            self._stop(self.containers, self._complete)

    def _back_off(self, container: Container) -> None:
        """At once after the first run, then 10 s, doubled up to 300 s, as kubelets do."""
        ended = container.ended
        assert ended is not None
        delay = min(_BACKOFF * 2 ** (container.attempt - 2), _LONGEST_BACKOFF)
        if container.attempt == 1 or ended.finished - ended.started > _FORGIVEN:
            delay = 0.0
        container.waiting = "CrashLoopBackOff"
        container.waiting_message = f"back-off {delay:.0f}s restarting failed container"
        if delay:
            said = "Back-off restarting failed container"
            self.tell("Warning", "BackOff", said, source="K8sAgent")
        self._later(container, delay)

    def _complete(self) -> None:
        self._finish("Succeeded" if all(one.succeeded for one in self.containers) else "Failed")

    def _finish(self, status: str, reason: str = "") -> None:
        self._levels = None
        self._set(status, reason)
        self._engine.clean(self)

    def _deadline(self) -> None:
        if self.status in {"Pending", "Running"} and self._levels is None:
            self.tell("Warning", "DeadlineExceeded", "It was active for too long.")
            self._stop(self.everyone, lambda: self._finish("Failed", "DeadlineExceeded"))

    def _expire(self) -> None:
        if self.status not in FINAL | {"Terminating", "Gone"}:
            for container in self.everyone:
                if container.running:
                    self._engine.kill(self, container)
            self._finish("Expired", "SpotReleased")

    def _leave(self) -> None:
        self._engine.clean(self)
        self.at(self.now + self._timing.terminating, lambda: self._set("Gone"))

    def _stop(self, whom: Iterable[Container], after: Callable[[], None]) -> None:
        """Level by level; `after` when none of them runs."""
        self._after = after
        self._levels = [[], *_levels(whom, lambda one: one.exit_priority)]
        self._go_on_stopping()

    def _go_on_stopping(self) -> None:
        assert self._levels is not None
        while not any(one.running for one in self._levels[0]):
            self._levels.pop(0)
            if not self._levels:
                self._levels = None
                self._after()
                return
            for container in self._levels[0]:
                if container.running:
                    self._engine.stop(self, container)
                    attempt = container.attempt
                    when = self.now + self.grace
                    self.at(when, lambda c=container, a=attempt: self._kill(c, a))  # type: ignore[misc]

    def _settle(self) -> None:
        if self.status in {"Pending", "Running"}:
            made = all(one.attempt for one in self.containers)
            alive = any(one.running or one.waiting for one in self.containers)
            self._set("Running" if made and alive else self.status)

    def _set(self, status: str, reason: str = "") -> None:
        if (status, reason) != (self.status, self.step.reason):
            self.steps.append(Step(self.now, status, reason))
            self.changed = self.now


def _levels(
    whom: Iterable[Container], priority: Callable[[Container], int]
) -> list[list[Container]]:
    ordered = sorted(whom, key=priority, reverse=True)
    return [list(level) for _, level in itertools.groupby(ordered, key=priority)]
