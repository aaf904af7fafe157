"""What must never happen, as pure functions over what was heard.

In: a `Ledger`, a UID, a `Request`. Out: `Violation`s, each with its evidence. A rule that needs a
moment in time compares the API servers' own times, all of one machine.
"""

from __future__ import annotations

import base64
import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tests.chaos.ledger import TERMINAL

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from tests.chaos.audit import Request
    from tests.chaos.ledger import Copy, Ledger, Parties, TenantPod

BETWEEN_SIGHTINGS = 2.0
"""Seconds between the first sight of a copy without tenant pod and its deletion."""
_CLUSTER_SCOPED = {
    True: frozenset(
        {
            "nodes",
            "certificatesigningrequests",
            "tokenreviews",
            "subjectaccessreviews",
            "selfsubjectaccessreviews",
            "selfsubjectrulesreviews",
        }
    ),
    False: frozenset({"selfsubjectaccessreviews", "selfsubjectrulesreviews"}),
}
"""What the agent may write outside namespaces, by whether it is in the tenant."""
_READS = frozenset({"get", "list"})
_ANSWERED_OF_SUBSTANCE = frozenset({404, 409})
"""Refusals that come after the request was read."""
_TOKEN = "eyJhbGciOi"
"""How a JSON Web Token begins: `{"alg":`."""
_AROUND = 60
_TRACEBACK = "Traceback (most recent call last)"
_LINES = 40


@dataclass(frozen=True, slots=True)
class Violation:
    """Something that must not be."""

    rule: str
    about: str
    text: str
    evidence: tuple[str, ...] = ()


def created_once(ledger: Ledger, uid: str, *, strict: bool) -> Iterator[Violation]:
    """A tenant pod UID is created below at most once, over all clusters.

    One case is open by contract (DESIGN 5): somebody else removed the copy before the tenant's
    status said that there was one. With `startOnce: strict` that one could not have started.
    """
    copies = sorted(ledger.copies_of[uid], key=lambda copy: copy.made)
    for first, second in itertools.pairwise(copies):
        if in_the_window(ledger, first, second) and not (strict and first.could_start):
            continue
        text = (
            f"{_name(ledger, uid)} was created below {len(copies)} times: "
            f"{first.handle} in {first.cluster}, then {second.handle} in {second.cluster}"
        )
        yield Violation("created once", uid, text, tuple(ledger.evidence(uid)))


def in_the_window(ledger: Ledger, first: Copy, second: Copy) -> bool:
    """Whether nobody could know of the first copy any more when the second was asked for."""
    pod = ledger.pods.get(first.uid)
    told = pod is not None and pod.forwarded is not None and pod.forwarded < second.made
    by_us = first.asked_by & ledger.parties.agents
    return first.gone is not None and not by_us and not told


def not_revived(ledger: Ledger, uid: str) -> Iterator[Violation]:
    """What is Succeeded or Failed in the tenant never changes its phase again."""
    pod = ledger.pods.get(uid)
    phases = pod.phases if pod else []
    for before, after in itertools.pairwise(phases):
        if before in TERMINAL:
            text = f"{_name(ledger, uid)} was {before} and became {after}"
            yield Violation("terminal is final", uid, text, tuple(ledger.evidence(uid)))


def own_status(ledger: Ledger, uid: str) -> Iterator[Violation]:
    """A tenant pod's status names containers of its own copy only."""
    pod = ledger.pods.get(uid)
    own = {container for copy in ledger.copies_of[uid] for container in copy.containers}
    for container in sorted((pod.shown if pod else set()) - own):
        owners = [c for c in ledger.copies.values() if container in c.containers]
        whose = f"copy {owners[0].handle} of {owners[0].uid}" if owners else "no copy of ours"
        text = f"{_name(ledger, uid)} showed container {container} of {whose}"
        yield Violation("own status", uid, text, tuple(ledger.evidence(uid)))


def orphan_confirmed(ledger: Ledger, request: Request) -> Iterator[Violation]:
    """A copy that an agent never knew a pod of is seen twice, and the tenant asked, before it goes.

    Judged where it is certain that nobody saw the pod go: it went before any agent was started.
    """
    copy = ledger.copies.get(request.answer.get("metadata", {}).get("uid", ""))
    pod = ledger.pods.get(copy.uid) if copy else None
    if copy is None or pod is None or pod.gone is None or not _deletes_pod(ledger.parties, request):
        return
    since, at = ledger.serving_since(request.received), request.received
    first = ledger.first_look(copy, since=since, until=at)
    if pod.gone >= since or first is None or any(n.seen <= at for n in _later(ledger, pod)):
        return
    evidence = tuple(dict.fromkeys((*ledger.evidence(pod.uid), request.line)))
    what = f"copy of {_name(ledger, pod.uid)}"
    if at - first < BETWEEN_SIGHTINGS:
        text = f"{what} was deleted {at - first:.2f} s after the agent first looked"
        yield Violation("orphans are sighted twice", pod.uid, text, evidence)
    if not any(first <= asked <= at for asked in ledger.asked[pod.namespace, pod.name]):
        text = f"{what} was deleted, and the tenant was not asked whether its pod is gone"
        yield Violation("orphans are confirmed", pod.uid, text, evidence)


def copy_goes_first(ledger: Ledger, request: Request) -> Iterator[Violation]:
    """The agent lets a tenant pod go only when nothing of it is left below."""
    uid = request.answer.get("metadata", {}).get("uid", "")
    by_us = request.user in ledger.parties.agents and request.succeeded
    if not by_us or request.cluster != ledger.parties.tenant or request.verb != "delete":
        return
    for copy in ledger.copies_of.get(uid, ()):
        if copy.gone is None or (copy.removed or 0.0) > request.answered:
            text = f"{_name(ledger, uid)} was removed before its copy {copy.handle} was gone"
            evidence = (*ledger.evidence(uid), request.line)
            yield Violation("copies go first", uid, text, tuple(dict.fromkeys(evidence)))


def preconditions(parties: Parties, request: Request) -> Iterator[Violation]:
    """Whatever the agent changes or deletes, it names by UID."""
    heard = request.succeeded or request.code in _ANSWERED_OF_SUBSTANCE
    if request.user not in parties.agents or not heard:
        return
    if request.verb == "delete":
        uid = request.body.get("preconditions", {}).get("uid")
    elif request.verb in ("patch", "update"):
        uid = request.body.get("metadata", {}).get("uid")
    else:
        return
    if not uid:
        text = f"{request.verb} of {request.resource} {request.name} without a UID"
        about = f"{request.verb} {request.resource}/{request.subresource}"
        yield Violation("UID preconditions", about, text, (request.line,))


def inside(parties: Parties, request: Request) -> Iterator[Violation]:
    """The agent writes in its namespaces only."""
    if request.user not in parties.agents or request.verb in _READS:
        return
    in_tenant = request.cluster == parties.tenant
    if request.namespace in parties.namespaces[request.cluster]:
        return
    if not request.namespace and request.resource in _CLUSTER_SCOPED[in_tenant]:
        return
    where = f"namespace {request.namespace}" if request.namespace else "the cluster's scope"
    text = f"{request.verb} of {request.resource} {request.name} in {where} of {request.cluster}"
    yield Violation("our namespaces only", f"{where} {request.resource}", text, (request.line,))


def foreign_left_alone(ledger: Ledger, request: Request) -> Iterator[Violation]:
    """A pod below without our marks is neither changed nor deleted by the agent."""
    if request.user not in ledger.parties.agents or request.resource != "pods":
        return
    named = (
        request.answer.get("metadata", {}).get("uid", ""),
        request.body.get("preconditions", {}).get("uid", ""),
        request.body.get("metadata", {}).get("uid", ""),
    )
    for uid in set(named) & ledger.foreign.keys():
        text = f"{request.verb} of pod {ledger.foreign[uid]} below, which is somebody else's"
        yield Violation("nobody else's", uid, text, (request.line,))


def no_secrets(source: str, text: str, secrets: Iterable[str]) -> Iterator[Violation]:
    """No value of a Secret, plain or in base64, and no token stands in a log or an event."""
    needles = [(secret, "a Secret's value") for secret in secrets]
    needles += [
        (base64.b64encode(s.encode()).decode().rstrip("="), "a Secret's value, encoded")
        for s, _ in list(needles)
    ]
    for needle, what in (*needles, (_TOKEN, "a token")):
        at = text.find(needle)
        if at >= 0:
            around = text[max(0, at - _AROUND) : at].replace("\n", " ")
            told = f"{source} holds {what}, after: {around!r}"
            yield Violation("no secrets told", f"{source}: {what}", told)


def no_surprises(source: str, text: str) -> Iterator[Violation]:
    """An agent meets no error that it was not written to meet."""
    at = text.find(_TRACEBACK)
    if at >= 0:
        lines = text[max(0, text.rfind("\n", 0, at - 1)) :].splitlines()[:_LINES]
        yield Violation("no surprises", lines[-1], f"{source} holds a traceback", tuple(lines))


def _deletes_pod(parties: Parties, request: Request) -> bool:
    return (
        request.user in parties.agents
        and request.cluster != parties.tenant
        and request.verb == "delete"
        and request.resource == "pods"
        and request.succeeded
    )


def _later(ledger: Ledger, pod: TenantPod) -> Iterator[TenantPod]:
    return (other for other in ledger.namesakes(pod) if other.seen > pod.seen)


def _name(ledger: Ledger, uid: str) -> str:
    pod = ledger.pods.get(uid)
    return f"pod {pod.namespace}/{pod.name} ({uid})" if pod else f"pod {uid}"
