"""Which rights of the manifests the agents of a run needed, and which they lacked.

In: the audit logs of the API servers, in which every request of an agent stands with the role that
allowed it, and the roles of deploy/ and of `vnode join`, in whose names `*` stands for a tenant's
or a cluster's. Out: `Seen`, gathered cluster by cluster in a folder while the
tests of a run end their clusters, and judged when all are through. A right is one verb on one
resource in one rule. Requests that others made with an agent's credential (kubectl, in tests of
fences) say nothing about what agents need and are left out, by their user agent. What was refused
once and allowed another time was asked of an API server that had just started, and did not know
its roles yet.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import yaml

if TYPE_CHECKING:
    from collections.abc import Iterable

_ROOT = Path(__file__).resolve().parents[2]
DEPLOY = _ROOT / "deploy"
MANIFESTS = {"deploy": DEPLOY, "join": _ROOT / "federation" / "join" / "manifests"}
"""Where roles stand, by what begins `Right.manifest`."""
_PLACEHOLDER = re.compile(r"\$\{\w+\}")
FOLDER = "VNODE_RIGHTS_SEEN"
"""Environment variable: where the tests of a run leave what they saw."""
AGENTS = "system:serviceaccount:vnode-system:"
_USER_AGENT = "vnode/"
_ALLOWED = re.compile(r'allowed by \w+ "[^"]+" of (\w+) "([^"]+)" ')


class Request(NamedTuple):
    """What RBAC is asked about."""

    verb: str
    group: str
    resource: str
    """With its subresource: `pods/log`."""
    name: str
    namespace: str = ""


class Right(NamedTuple):
    """One verb on one resource in one rule of a role."""

    manifest: str
    """Path, from one of `MANIFESTS`."""
    role: str
    """Kind and name."""
    verb: str
    group: str
    resource: str
    namespace: str = ""
    """The only namespace that it is about; empty: wherever its role is bound."""
    names: tuple[str, ...] = ()
    """The only objects that it is about; empty: all."""

    @property
    def narrow(self) -> bool:
        """Whether it says itself what it is about."""
        return bool(self.names or self.namespace)

    def covers(self, request: Request) -> bool:
        """Whether it allows the request where its role is bound."""
        return (
            (self.verb, self.group, self.resource)
            == (request.verb, request.group, request.resource)
            and (not self.names or any(fnmatchcase(request.name, n) for n in self.names))
            and (not self.namespace or request.namespace == self.namespace)
        )

    def __str__(self) -> str:
        only = f" named {', '.join(self.names)}" if self.names else ""
        group = f" of {self.group}" if self.group else ""
        return f"{self.manifest}: {self.role}: {self.verb} {self.resource}{group}{only}"


@dataclass(frozen=True)
class Seen:
    """What agents asked of API servers."""

    used: set[Right] = field(default_factory=set)
    lacked: Counter[Request] = field(default_factory=Counter)
    """What the authorizer refused, without names and namespaces, and how often."""

    def add(self, other: Seen) -> None:
        """Take in what somebody else saw."""
        self.used.update(other.used)
        self.lacked.update(other.lacked)


@cache
def granted() -> frozenset[Right]:
    """Every right of the roles of all manifests."""
    return frozenset(
        Right(
            f"{name}/{path.relative_to(root)}",
            f"{role['kind']} {_any(role['metadata']['name'])}",
            verb,
            group,
            resource,
            _only(role["metadata"].get("namespace", "")),
            tuple(map(_any, rule.get("resourceNames", ()))),
        )
        for name, root in MANIFESTS.items()
        for path in sorted(root.rglob("*.yaml"))
        for role in yaml.safe_load_all(path.read_text())
        if role and role.get("kind") in ("Role", "ClusterRole")
        for rule in role["rules"]
        for verb in rule["verbs"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
    )


def _any(name: str) -> str:
    """A name with `*` for what differs from tenant to tenant."""
    return _PLACEHOLDER.sub("*", name)


def _only(namespace: str) -> str:
    """A namespace that is the same for all; a tenant's own says no more than its binding."""
    return "" if "*" in _any(namespace) else namespace


def seen_in(audit: Iterable[str], rights: frozenset[Right]) -> Seen:
    """What the agents did, by the lines of one audit log.

    Whoever writes it may be about to: a last line without an end is left out.
    """
    used: set[Right] = set()
    allowed: set[tuple[str, Request]] = set()
    refused: Counter[tuple[str, Request]] = Counter()
    for line in audit:
        if AGENTS not in line or not line.endswith("\n"):
            continue
        entry = json.loads(line)
        user = entry["user"]["username"]
        by_agent = entry.get("userAgent", "").startswith(_USER_AGENT)
        if not (by_agent and user.startswith(AGENTS) and "objectRef" in entry):
            continue
        request, notes = _request(entry), entry.get("annotations", {})
        whose = (user, request._replace(name=""))
        if notes.get("authorization.k8s.io/decision") == "forbid":
            refused[whose] += 1
            continue
        allowed.add(whose)
        reason = _ALLOWED.search(notes.get("authorization.k8s.io/reason", ""))
        if reason is not None:
            used.update(_needed(request, " ".join(reason.groups()), rights))
    lacked: Counter[Request] = Counter()
    for whose, count in refused.items():
        if whose not in allowed:
            lacked[whose[-1]._replace(namespace="")] += count
    return Seen(used, lacked)


def _request(entry: dict[str, Any]) -> Request:
    ref = entry["objectRef"]
    resource = "/".join(filter(None, (ref["resource"], ref.get("subresource"))))
    return Request(
        entry["verb"],
        ref.get("apiGroup", ""),
        resource,
        ref.get("name", ""),
        ref.get("namespace", ""),
    )


def _needed(request: Request, role: str, rights: frozenset[Right]) -> set[Right]:
    """The rights by which a role allowed a request.

    Several roles may allow it, and the API server names any of them: it is the narrowest that is
    needed for this.
    """
    covering = {right for right in rights if right.covers(request)}
    narrow = {right for right in covering if right.narrow}
    return narrow or {right for right in covering if fnmatchcase(role, right.role)}


def leave(seen: Seen, file: Path) -> None:
    """Write to a file what was seen."""
    lacked = [[*request, count] for request, count in seen.lacked.items()]
    file.write_text(json.dumps({"used": sorted(seen.used), "lacked": lacked}))


def gathered(folder: Path) -> Seen:
    """What all tests of a run have left in a folder."""
    seen = Seen()
    for file in sorted(folder.glob("*.json")):
        left = json.loads(file.read_text())
        for *fields, names in left["used"]:
            seen.used.add(Right._make([*fields, tuple(names)]))
        for *fields, count in left["lacked"]:
            seen.lacked[Request(*fields)] += count
    return seen
