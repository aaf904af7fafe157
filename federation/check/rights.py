"""Has the agent every right that its configuration needs, and has it more than that?

In: `federation.rights` and the answers of an API server about ourselves. Out: what is missing, by
namespace, with what does not work without it; and a warning for rights by which the agent's
credential could do harm that its work does not need (DESIGN 11).
"""

from collections.abc import Iterable, Sequence
from itertools import groupby

from federation.check.findings import Finding, ok, shortened, warn, wrong
from federation.check.reviews import Rule, missing_rights, rules_in
from federation.rights import Right
from vnode.kube.client import KubeClient

__all__ = ["PROBES", "excess", "judge_missing", "required"]

PROBES = (
    Right("*", "*", "everything", group="*"),
    Right("list", "secrets", "read every Secret of the cluster"),
    Right("create", "pods", "run pods in any namespace"),
    Right("create", "pods/exec", "run commands in pods of any namespace"),
    Right("get", "nodes/proxy", "read logs of every pod, and run commands in it"),
    Right("create", "serviceaccounts/token", "become any ServiceAccount"),
    Right("impersonate", "users", "act as anybody"),
    Right("impersonate", "groups", "act as any group"),
    Right("escalate", "clusterroles", "give itself every right", group="rbac.authorization.k8s.io"),
    Right("bind", "clusterroles", "give itself every role", group="rbac.authorization.k8s.io"),
    Right(
        "approve",
        "signers",
        "have certificates made for any node",
        group="certificates.k8s.io",
        name="kubernetes.io/kubelet-serving",
    ),
    Right(
        "create",
        "mutatingwebhookconfigurations",
        "change what anybody writes",
        group="admissionregistration.k8s.io",
    ),
    Right("delete", "nodes", "delete nodes"),
)
"""Rights with which a stolen credential would reach beyond the tenant."""
_HARMLESS = {
    ("persistentvolumeclaims", "get"),
    ("persistentvolumeclaims", "list"),
    ("persistentvolumeclaims", "watch"),
    ("resourcequotas", "list"),
    ("resourcequotas", "watch"),
    ("namespaces", "get"),
    ("pods.metrics.k8s.io", "list"),
}
"""The manifests grant them in namespaces to all, although some configurations do not need them."""
_EVERYBODY = {"authentication.k8s.io", "authorization.k8s.io"}
"""Groups in which the roles of all users have rights about themselves."""


async def required(client: KubeClient, rights: Iterable[Right], *, mend: str) -> Sequence[Finding]:
    """Is every right there?"""
    rights = list(rights)
    return judge_missing(rights, await missing_rights(client, rights), mend=mend)


def _place(right: Right) -> tuple[bool, str]:
    """What is missing there is one finding."""
    return right.optional, right.namespace or ""


def judge_missing(
    rights: Sequence[Right], missing: Sequence[Right], *, mend: str
) -> Sequence[Finding]:
    """One finding for each namespace in which something is missing."""
    findings = []
    for (optional, namespace), group in groupby(sorted(missing, key=_place), key=_place):
        listed = list(group)
        if namespace and not optional and _all_of(namespace, rights) == len(listed):
            text = f"has no right at all in namespace {namespace}: its Role is missing, or it is"
            findings.append(wrong(text, mend))
            continue
        verbs = shortened(f"{each.verb} {_resource(each)}" for each in listed)
        purposes = shortened(dict.fromkeys(each.purpose for each in listed), most=3)
        place = f"in namespace {namespace}" if namespace else "in the whole cluster"
        text = f"may not {verbs} {place} ({purposes})"
        findings.append((warn if optional else wrong)(text, mend))
    return findings or [ok(f"all {len(rights)} that are needed")]


async def excess(
    client: KubeClient, needed: Iterable[Right], *, namespaces: Iterable[str], mend: str
) -> Sequence[Finding]:
    """May it more than it needs?"""
    needed = list(needed)
    probes = [probe for probe in PROBES if not _is_needed(probe, needed)]
    lacks = set(await missing_rights(client, probes))
    has = [probe for probe in probes if probe not in lacks]
    if PROBES[0] in has:
        return [warn("it may do everything in the whole cluster", mend)]
    findings = [warn(f"it may {p.purpose} ({p}), which it does not need", mend) for p in has]
    for namespace in namespaces:
        more = _more(await rules_in(client, namespace), needed, namespace)
        if more:
            text = f"it may also {shortened(more)} in namespace {namespace}"
            findings.append(warn(f"{text}, which it does not need", mend))
    return findings or [ok("nothing beyond its work")]


def _all_of(namespace: str, rights: Iterable[Right]) -> int:
    return sum(right.namespace == namespace and not right.optional for right in rights)


def _is_needed(probe: Right, needed: Iterable[Right]) -> bool:
    return any(
        (each.verb, each.group, each.resource) == (probe.verb, probe.group, probe.resource)
        and each.namespace is None
        and not each.name
        for each in needed
    )


def _more(rules: Iterable[Rule], needed: Sequence[Right], namespace: str) -> list[str]:
    """What rules allow in a namespace beyond what is needed there, as `verb resource`."""
    here = {(_resource(each), each.verb) for each in needed if each.namespace in (None, namespace)}
    found = {
        (f"{resource}.{group}" if group else resource, verb): None
        for rule in rules
        for group in rule.api_groups
        if group not in _EVERYBODY
        for resource in rule.resources
        for verb in rule.verbs
    }
    return [
        f"{verb} {resource}" for resource, verb in found if (resource, verb) not in here | _HARMLESS
    ]


def _resource(right: Right) -> str:
    return f"{right.resource}.{right.group}" if right.group else right.resource
