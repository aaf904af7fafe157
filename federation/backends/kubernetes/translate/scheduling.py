"""Where in the compute cluster a pod may run.

In: the tenant pod's scheduling fields, the pool's settings, and what the annotation
`vnode.dev/compute-scheduling` asks. Out: nodeSelector, affinity, tolerations and spread constraints
of the copy. The tenant's own fields chose the virtual node, so they mostly stay behind; what
travels is what uses `passthrough` keys. The annotation speaks to the compute cluster, so each of
its keys must be allowed: one that is not refuses the pod. The pool's selector is always ANDed, the
pool's tolerations are the only NoExecute ones, and compute nodes cannot be named.
"""

import itertools
import math
from dataclasses import dataclass

from federation.backends.kubernetes.translate.translation import Translation
from federation.backends.translation.rules import Refused, as_list, as_object, as_objects, as_text
from vnode.kube.types import JSON, JSONObject

_HOSTNAME = "kubernetes.io/hostname"
_REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"
_PREFERRED = "preferredDuringSchedulingIgnoredDuringExecution"
_POD_KINDS = ("podAffinity", "podAntiAffinity")
_ALTERNATIVES_MAX = 256


@dataclass(frozen=True, slots=True)
class _Keys:
    """Which keys may be used; a strict one refuses the others, a lenient one leaves them out."""

    allowed: frozenset[str]
    strict: bool

    def admits(self, key: str) -> bool:
        """Whether a taint or topology key may be used."""
        return key in self.allowed or self._no(f"scheduling key {key!r} is not allowed")

    def admits_node_label(self, key: str) -> bool:
        """Whether nodes may be chosen by a label. Never by their names."""
        if key == _HOSTNAME:
            return self._no("nodes cannot be chosen by name")
        return self.admits(key)

    def _no(self, text: str) -> bool:
        if self.strict:
            raise Refused(f"{text} by this virtual node's policy")
        return False


def node_selector(value: JSON, at: Translation) -> JSON:
    """Handler for the tenant's nodeSelector: what travels of it."""
    return _selector(value, _passthrough(at))


def affinity(value: JSON, at: Translation) -> JSON:
    """Handler for the tenant's affinity: what travels of it."""
    return _affinity(as_object(value), _passthrough(at), at)


def tolerations(value: JSON, at: Translation) -> JSON:
    """Handler for the tenant's tolerations: what travels of them."""
    return _tolerations(value, _passthrough(at))


def topology_spread(value: JSON, at: Translation) -> JSON:
    """Handler for the tenant's topologySpreadConstraints: what travels of them."""
    return _topology_spread(value, _passthrough(at))


def check_request(asked: JSONObject, at: Translation) -> JSONObject:
    """What the annotation `vnode.dev/compute-scheduling` asks, after its own table.

    Raises:
        Refused: it uses a key that is not allowed, or names nodes.
    """
    keys = _Keys(at.policy.scheduling_keys, strict=True)
    result: JSONObject = {}
    for name, value in asked.items():
        try:
            match name:
                case "nodeSelector":
                    result[name] = _selector(value, keys)
                case "affinity":
                    result[name] = _affinity(as_object(value), keys, at)
                case "tolerations":
                    result[name] = _tolerations(value, keys)
                case _:
                    result[name] = _topology_spread(value, keys)
        except Refused as refused:
            refused.inside(f".{name}")
            raise
    return result


def complete(spec: JSONObject, asked: JSONObject, at: Translation) -> None:
    """Add the pool's own and the annotation's to what travelled. Changes `spec`.

    Raises:
        Refused: a selector contradicts the pool's.
    """
    selector: JSONObject = dict(at.policy.node_selector)
    for wanted in (spec.pop("nodeSelector", None), asked.get("nodeSelector")):
        for key, value in as_object(wanted or {}).items():
            if selector.setdefault(key, value) != value:
                refused = Refused(f"{key}={value} contradicts this virtual node's pool")
                refused.inside(".nodeSelector")
                raise refused
    both = _both(
        as_object(spec.pop("affinity", None) or {}), as_object(asked.get("affinity") or {})
    )
    tolerated = [
        *(dict(toleration) for toleration in at.policy.tolerations),
        *as_list(spec.pop("tolerations", None)),
        *as_list(asked.get("tolerations")),
    ]
    spread = [
        *as_list(spec.pop("topologySpreadConstraints", None)),
        *as_list(asked.get("topologySpreadConstraints")),
    ]
    parts: JSONObject = {
        "nodeSelector": selector,
        "affinity": both,
        "tolerations": tolerated,
        "topologySpreadConstraints": spread,
    }
    spec.update((name, value) for name, value in parts.items() if value)


def priority_class(value: JSON, at: Translation) -> JSON:
    """Handler for priorityClassName: the cluster's class for it; its default class if none."""
    return at.policy.priority_classes.get(as_text(value))


def scheduler(value: JSON, at: Translation) -> JSON:
    """Handler for schedulerName: the cluster's scheduler for it; its default scheduler if none."""
    return at.policy.scheduler_names.get(as_text(value))


def runtime_class(value: JSON, at: Translation) -> JSON:
    """Handler for runtimeClassName: a runtime that the cluster lacks refuses the pod."""
    name = as_text(value)
    below = at.policy.runtime_classes.get(name)
    if name and below is None:
        raise Refused(f"runtime class {name!r} is not offered by this virtual node")
    return below


def _passthrough(at: Translation) -> _Keys:
    return _Keys(at.policy.passthrough, strict=False)


def _selector(value: JSON, keys: _Keys) -> JSON:
    return {key: item for key, item in as_object(value).items() if keys.admits_node_label(key)}


def _tolerations(value: JSON, keys: _Keys) -> JSON:
    result: list[JSON] = []
    for toleration in as_objects(value):
        key, effect = as_text(toleration.get("key")), as_text(toleration.get("effect"))
        if not keys.admits(key):
            continue
        if effect == "NoExecute" or (keys.strict and not effect):
            if keys.strict:
                raise Refused("only NoSchedule and PreferNoSchedule can be tolerated here")
            continue
        # Without an effect it would tolerate NoExecute too.
        effects = [effect] if effect else ["NoSchedule", "PreferNoSchedule"]
        result.extend({**toleration, "effect": each} for each in effects)
    return result


def _topology_spread(value: JSON, keys: _Keys) -> JSON:
    result: list[JSON] = []
    for constraint in as_objects(value):
        if keys.admits(as_text(constraint.get("topologyKey"))):
            _refuse_label_keys(constraint)
            result.append(constraint)
    return result


def _affinity(value: JSONObject, keys: _Keys, at: Translation) -> JSON:
    result: JSONObject = {}
    nodes = as_object(value.get("nodeAffinity") or {})
    required = _required_nodes(as_object(nodes.get(_REQUIRED) or {}), keys)
    preferred = _preferred_nodes(nodes.get(_PREFERRED), keys)
    _put(result, "nodeAffinity", required=required, preferred=preferred)
    for kind in _POD_KINDS:
        pods = as_object(value.get(kind) or {})
        hard = [
            _pod_term(term, at)
            for term in as_objects(pods.get(_REQUIRED))
            if keys.admits(as_text(term.get("topologyKey")))
        ]
        soft = []
        for weighted in as_objects(pods.get(_PREFERRED)):
            term = as_object(weighted.get("podAffinityTerm"))
            if keys.admits(as_text(term.get("topologyKey"))):
                soft.append({**weighted, "podAffinityTerm": _pod_term(term, at)})
        _put(result, kind, required=list(hard), preferred=list(soft))
    return result or None


def _put(result: JSONObject, kind: str, *, required: JSON, preferred: JSON) -> None:
    parts: JSONObject = {_REQUIRED: required, _PREFERRED: preferred}
    present: JSONObject = {name: value for name, value in parts.items() if value}
    if present:
        result[kind] = present


def _required_nodes(selector: JSONObject, keys: _Keys) -> JSON:
    terms: list[JSON] = []
    for term in as_objects(selector.get("nodeSelectorTerms")):
        if not term.get("matchExpressions") and not term.get("matchFields"):
            continue  # matches no node, so it adds nothing to the alternatives
        expressions = _expressions(term, keys)
        if not expressions:
            return None  # one alternative says nothing about compute nodes: no constraint
        terms.append({"matchExpressions": expressions})
    return {"nodeSelectorTerms": terms} if terms else None


def _preferred_nodes(value: JSON, keys: _Keys) -> JSON:
    result: list[JSON] = []
    for preference in as_objects(value):
        expressions = _expressions(as_object(preference.get("preference")), keys)
        if expressions:
            result.append({**preference, "preference": {"matchExpressions": expressions}})
    return result


def _expressions(term: JSONObject, keys: _Keys) -> list[JSON]:
    if term.get("matchFields"):
        keys.admits_node_label(_HOSTNAME)  # the only field there is: the node's name
    return [
        expression
        for expression in as_objects(term.get("matchExpressions"))
        if keys.admits_node_label(as_text(expression.get("key")))
    ]


def _pod_term(term: JSONObject, at: Translation) -> JSON:
    _refuse_label_keys(term)
    if "namespaceSelector" in term:
        # Labels of compute namespaces are not the tenant's; {} would even mean all tenants.
        raise Refused("namespaceSelector is not supported yet by this virtual node")
    if not term.get("namespaces"):
        return term
    below: list[JSON] = []
    for namespace in as_list(term["namespaces"]):
        # In mode `same` one that is not forwarded has the name of somebody else's below.
        known = not at.policy.namespaces or namespace in at.policy.namespaces
        name = at.namespaces.below(as_text(namespace)) if known else None
        if name is None:
            raise Refused(f"namespace {namespace!r} is not forwarded by this virtual node")
        below.append(name)
    return {**term, "namespaces": below}


def _refuse_label_keys(term: JSONObject) -> None:
    for field in ("matchLabelKeys", "mismatchLabelKeys"):
        if term.get(field):
            raise Refused(f"{field} is not supported yet by this virtual node")


def _both(one: JSONObject, other: JSONObject) -> JSONObject:
    if not one or not other:
        return one or other
    result: JSONObject = {}
    nodes = [as_object(value.get("nodeAffinity") or {}) for value in (one, other)]
    alternatives = [
        as_objects(as_object(value[_REQUIRED]).get("nodeSelectorTerms"))
        for value in nodes
        if _REQUIRED in value
    ]
    if math.prod(map(len, alternatives)) > _ALTERNATIVES_MAX:
        raise Refused("the node affinities of pod and annotation have too many terms")
    # Both must hold and each is a list of alternatives: the pairs are the alternatives of both.
    terms: list[JSON] = [
        {"matchExpressions": [e for term in pair for e in as_list(term.get("matchExpressions"))]}
        for pair in itertools.product(*alternatives)
        if pair
    ]
    _put(
        result,
        "nodeAffinity",
        required={"nodeSelectorTerms": terms} if terms else None,
        preferred=_concatenated(nodes, _PREFERRED),
    )
    for kind in _POD_KINDS:
        pods = [as_object(value.get(kind) or {}) for value in (one, other)]
        _put(
            result,
            kind,
            required=_concatenated(pods, _REQUIRED),
            preferred=_concatenated(pods, _PREFERRED),
        )
    return result


def _concatenated(values: list[JSONObject], field: str) -> JSON:
    return [item for value in values for item in as_list(value.get(field))]
