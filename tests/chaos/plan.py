"""What happens in a round: drawn from the seed and the round's number alone. Pure.

In: a seed, a number. Out: a `Round`: what users do and which faults happen, when, to whom. Things
that only exist by then (the third of the pods that run) are given as numbers, to be taken modulo
how many there are. So a seed gives the same schedule wherever it runs; what comes of it depends on
the machine's timing.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

LASTS = 3.0
"""Seconds in which users work and faults begin."""
TENANT = "tenant"


class FaultKind(StrEnum):
    """What can be broken."""

    KILL_AGENT = "agent killed"
    FREEZE_AGENT = "agent frozen"
    KILL_API = "API server killed"
    FREEZE_API = "API server frozen"
    CUT = "link cut"
    BLACKHOLE = "link silent"
    ONE_WAY = "answers held back"
    SLOW = "link slow"
    REFUSE = "requests refused"
    LOSE = "answers lost"
    DELETE_COPIES = "copies deleted below"
    FORCE_COPIES = "copies force-deleted below"
    WHILE_DEAD = "copies deleted while the agent is dead"
    COMPACT = "etcd compacted"


class ActKind(StrEnum):
    """What users do."""

    DEPLOY = "deployment"
    JOB = "job"
    STATEFUL = "stateful set"
    PODS = "pods"
    SUCCESSOR = "successor"
    DELETE = "delete"
    CONFIG = "configuration"
    RELABEL = "labels"
    NAMESAKE = "namesake below"


FAULT_WEIGHTS = {
    FaultKind.KILL_AGENT: 5,
    FaultKind.FREEZE_AGENT: 2,
    FaultKind.KILL_API: 4,
    FaultKind.FREEZE_API: 3,
    FaultKind.CUT: 4,
    FaultKind.BLACKHOLE: 3,
    FaultKind.ONE_WAY: 3,
    FaultKind.SLOW: 2,
    FaultKind.REFUSE: 4,
    FaultKind.LOSE: 4,
    FaultKind.DELETE_COPIES: 3,
    FaultKind.FORCE_COPIES: 3,
    FaultKind.WHILE_DEAD: 4,
    FaultKind.COMPACT: 2,
}
ACT_WEIGHTS = {
    ActKind.DEPLOY: 3,
    ActKind.JOB: 2,
    ActKind.STATEFUL: 2,
    ActKind.PODS: 4,
    ActKind.SUCCESSOR: 4,
    ActKind.DELETE: 4,
    ActKind.CONFIG: 3,
    ActKind.RELABEL: 2,
    ActKind.NAMESAKE: 4,
}
_OF_A_COMPUTE_CLUSTER = frozenset(
    {FaultKind.DELETE_COPIES, FaultKind.FORCE_COPIES, FaultKind.WHILE_DEAD}
)
_GRACES = (0, 1, 2, 5)
_CODES = (409, 429, 429, 500, 503)


@dataclass(frozen=True, slots=True)
class Fault:
    """Something breaks, at `at` for `lasts` seconds."""

    kind: FaultKind
    target: str
    """A cluster's name; for faults of the agent it says nothing."""
    at: float
    lasts: float
    pick: int
    """Chooses among what is there by then: copies, status codes."""


@dataclass(frozen=True, slots=True)
class Act:
    """Users do something at `at`."""

    kind: ActKind
    at: float
    pick: int
    """Chooses among what is there by then."""
    grace: int
    """Seconds, where something is deleted; 0 is by force."""


@dataclass(frozen=True, slots=True)
class Round:
    """One round."""

    number: int
    acts: Sequence[Act]
    faults: Sequence[Fault]


def plan(seed: int, number: int, computes: Sequence[str]) -> Round:
    """Round `number` of a seed, in a federation of these compute clusters."""
    rng = random.Random(f"{seed}/{number}")
    acts = sorted((_act(rng) for _ in range(rng.randint(5, 9))), key=lambda act: act.at)
    faults = sorted(
        (_fault(rng, computes) for _ in range(rng.choice((1, 2, 2, 3)))),
        key=lambda fault: fault.at,
    )
    return Round(number, acts, faults)


def _act(rng: random.Random) -> Act:
    kind = rng.choices(list(ACT_WEIGHTS), list(ACT_WEIGHTS.values()))[0]
    return Act(
        kind,
        at=round(rng.uniform(0, LASTS), 3),
        pick=rng.randrange(1 << 16),
        grace=rng.choice(_GRACES),
    )


def _fault(rng: random.Random, computes: Sequence[str]) -> Fault:
    kind = rng.choices(list(FAULT_WEIGHTS), list(FAULT_WEIGHTS.values()))[0]
    anywhere = list(computes) if kind in _OF_A_COMPUTE_CLUSTER else [TENANT, *computes]
    return Fault(
        kind,
        target=rng.choice(anywhere),
        at=round(rng.uniform(0.2, LASTS * 0.8), 3),
        lasts=round(rng.uniform(0.2, 2.0), 3),
        pick=rng.randrange(1 << 16),
    )


def refusal(fault: Fault) -> int:
    """The status code of a `REFUSE`."""
    return _CODES[fault.pick % len(_CODES)]
