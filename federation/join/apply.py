"""Brings a compute cluster to what a plan wants, or says why not and changes nothing.

In: objects, and a client with the administrator's rights. Out: what became of each object. Three
passes: every object is looked at (is it ours?), then tried by a dry run, and only then applied, by
server-side apply under one field manager and never by force. So an object of somebody else, a field
that somebody else set, and a right that is missing are errors before the first write. Two things
can be found by writing only: what is in a namespace that does not exist yet cannot be tried, and
somebody may be faster.

Raises `Refused`, which names every object with its reason and the way out, and KubeError where the
cluster as a whole does not answer.
"""

import asyncio
import enum
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, TypeVar

from federation.backends.kubernetes.translate.names import (
    ANNOTATION_CLUSTER_UID,
    ANNOTATION_NAMESPACE,
    LABEL_MANAGED_BY,
    LABEL_TENANT,
)
from federation.join.render import BOUND_KINDS, Object
from vnode.kube.client import KubeClient
from vnode.kube.errors import ApiError, Conflict, Forbidden, NotFound, ServerError, Unauthorized
from vnode.kube.resources import NAMESPACES, RESOURCE_QUOTAS, SERVICE_ACCOUNTS, Resource
from vnode.kube.types import JSON, object_in

MANAGER = "vnode-join"
"""The field manager of everything that is applied here."""
_RBAC = "rbac.authorization.k8s.io"
_ADMISSION = "admissionregistration.k8s.io"
RESOURCES = {
    each.kind: each
    for each in (
        NAMESPACES,
        SERVICE_ACCOUNTS,
        RESOURCE_QUOTAS,
        Resource("", "v1", "limitranges", "LimitRange"),
        Resource(_RBAC, "v1", "roles", "Role"),
        Resource(_RBAC, "v1", "rolebindings", "RoleBinding"),
        Resource(_RBAC, "v1", "clusterroles", "ClusterRole", namespaced=False),
        Resource(_RBAC, "v1", "clusterrolebindings", "ClusterRoleBinding", namespaced=False),
        Resource("networking.k8s.io", "v1", "networkpolicies", "NetworkPolicy"),
        Resource(
            _ADMISSION,
            "v1",
            "validatingadmissionpolicies",
            "ValidatingAdmissionPolicy",
            namespaced=False,
        ),
        Resource(
            _ADMISSION,
            "v1",
            "validatingadmissionpolicybindings",
            "ValidatingAdmissionPolicyBinding",
            namespaced=False,
        ),
    )
}
_AT_ONCE = 8
_SERVERS_OWN = ("creationTimestamp", "generation", "managedFields", "resourceVersion", "uid")
_NOT_HELD = "attempting to grant RBAC permissions not currently held"

T = TypeVar("T")
_V = TypeVar("_V")
Progress = Callable[[str], None]
"""Told what is done next."""


class Refused(Exception):
    """Objects that cannot be made as they should be; one line each."""

    def __init__(self, problems: Sequence[str], *, made: int = 0) -> None:
        super().__init__("\n".join(problems))
        self.problems = tuple(problems)
        self.made = made
        """How many objects had been made or changed before."""


class Result(enum.StrEnum):
    """What became of an object, or with a dry run what would."""

    CREATED = "created"
    CHANGED = "changed"
    UNCHANGED = "unchanged"


class Applied(NamedTuple):
    """One object and what became of it."""

    kind: str
    namespace: str
    """Empty for objects of the cluster."""
    name: str
    result: Result


@dataclass(frozen=True)
class _Wanted:
    """An object that is wanted, and what is there."""

    body: Object
    found: Object | None

    @property
    def resource(self) -> Resource:
        return RESOURCES[str(self.body["kind"])]

    @property
    def name(self) -> str:
        return str(_metadata(self.body)["name"])

    @property
    def namespace(self) -> str:
        return str(_metadata(self.body).get("namespace", ""))

    def __str__(self) -> str:
        place = f"{self.namespace}/" if self.namespace else ""
        return f"{self.body['kind']} {place}{self.name}"


async def apply(
    client: KubeClient,
    objects: Sequence[Object],
    *,
    dry_run: bool = False,
    for_token: bool = False,
    progress: Progress = lambda _: None,
) -> list[Applied]:
    """Bring the cluster to these objects; with `dry_run` say what that would change.

    With `for_token` the account has to say which tenant cluster it is for, or be told by `objects`:
    else the next cluster of that tenant name gets a token of it, and what this one may read.

    Raises:
        Refused: what is in the way, object by object.
        KubeError: the cluster cannot be asked.
    """
    progress(f"looking at {len(objects)} objects")
    wanted = await _each(objects, lambda body: _look(client, body))
    _raise(filter(None, map(_objection, wanted)))
    if for_token:
        _raise(filter(None, map(_unbound, wanted)))
    missing = {w.name for w in wanted if w.resource is NAMESPACES and w.found is None}
    progress("trying what would change (dry run)")
    tried = await _each(
        wanted,
        lambda w: _try(client, w) if w.namespace not in missing else _created(w),
    )
    _raise(each for each in tried if isinstance(each, str))
    if dry_run:
        return [each for each in tried if isinstance(each, Applied)]
    done: list[Applied] = []
    for number, each in enumerate(wanted, 1):
        progress(f"{number} of {len(wanted)}: {each}")
        result = await _apply(client, each, dry_run=False)
        if isinstance(result, str):
            made = sum(one.result is not Result.UNCHANGED for one in done)
            raise Refused([result], made=made)
        done.append(result)
    return done


async def _look(client: KubeClient, body: Object) -> _Wanted:
    wanted = _Wanted(body, None)
    path = wanted.resource.path(namespace=wanted.namespace or None, name=wanted.name)
    try:
        found: Object = await client.get(
            wanted.resource, dict, name=wanted.name, namespace=wanted.namespace or None
        )
    except NotFound:
        return wanted
    except Unauthorized:
        raise
    except Forbidden as error:
        raise Refused([f"{wanted}: {error}; {_NEEDED}"]) from None
    except ServerError as error:
        if error.code != 404:
            raise
        raise Refused(
            [f"{wanted}: this API server has no {path.rpartition('/')[0]}; upgrade the cluster"]
        ) from None
    return _Wanted(body, found)


def _objection(wanted: _Wanted) -> str | None:
    """Why an object that exists is not ours to change; None: it is."""
    if wanted.found is None:
        return None
    have, want = _metadata(wanted.found), _metadata(wanted.body)
    if have.get("deletionTimestamp"):
        return f"{wanted} is being deleted; wait until it is gone and run this again"
    labels, own = object_in(have.get("labels")), object_in(want["labels"])
    key = LABEL_TENANT if LABEL_TENANT in own else LABEL_MANAGED_BY
    if labels.get(key) != own[key]:
        owner = labels.get(key)
        whose = f'belongs to "{owner}"' if owner else "is not made by vnode"
        return (
            f"{wanted} exists and {whose}; choose another name (of the tenant, or of the namespace "
            f"by NAME=COMPUTE-NAME), or, if it is yours to give, label it {key}={own[key]}"
        )
    notes, own = object_in(have.get("annotations")), object_in(want.get("annotations"))
    for key in (ANNOTATION_NAMESPACE, ANNOTATION_CLUSTER_UID):
        if key in own and notes.get(key, own[key]) != own[key]:
            return (
                f"{wanted} is another tenant's ({key}: {notes[key]}, not {own[key]}); give this "
                "one a name of its own, or remove that annotation if it is out of date"
            )
    return None


def _unbound(wanted: _Wanted) -> str | None:
    """What is missing for a token of this account; None: nothing, or it is no account."""
    if wanted.resource is not SERVICE_ACCOUNTS or _owner(wanted.body) is not None:
        return None
    return (
        f"{wanted} does not say which tenant cluster its tokens are for; give --tenant-uid "
        '"$(kubectl --context TENANT get namespace kube-system -o jsonpath={.metadata.uid})"'
    )


def _owner(value: Object) -> JSON:
    """UID of the tenant cluster that an object is for; None: it does not say."""
    return object_in(_metadata(value).get("annotations")).get(ANNOTATION_CLUSTER_UID)


async def _try(client: KubeClient, wanted: _Wanted) -> Applied | str:
    return await _apply(client, wanted, dry_run=True)


async def _created(wanted: _Wanted) -> Applied | str:
    """What is in a namespace that will be made cannot be tried."""
    return _applied(wanted, None)


async def _apply(client: KubeClient, wanted: _Wanted, *, dry_run: bool) -> Applied | str:
    """What became of it, or why it was refused."""
    try:
        after: Object = await client.apply(
            wanted.resource,
            _body(wanted),
            dict,
            name=wanted.name,
            namespace=wanted.namespace or None,
            manager=MANAGER,
            dry_run=dry_run,
        )
    except Unauthorized:
        raise
    except ApiError as error:
        return f"{wanted}: {_explained(error)}"
    return _applied(wanted, after)


def _body(wanted: _Wanted) -> Object:
    """What is applied: exactly to the object that was looked at, and never without its owner."""
    if wanted.found is None:
        return wanted.body
    metadata, have = _metadata(wanted.body), _metadata(wanted.found)
    body: Object = {**wanted.body, "metadata": {**metadata, "uid": have["uid"]}}
    owner = _owner(wanted.found)
    if owner is not None and wanted.resource.kind in BOUND_KINDS:
        notes = {ANNOTATION_CLUSTER_UID: owner, **object_in(metadata.get("annotations"))}
        _metadata(body)["annotations"] = notes
    return body


def _applied(wanted: _Wanted, after: Object | None) -> Applied:
    if wanted.found is None:
        result = Result.CREATED
    elif after is None or _content(after) == _content(wanted.found):
        result = Result.UNCHANGED
    else:
        result = Result.CHANGED
    return Applied(wanted.resource.kind, wanted.namespace, wanted.name, result)


def _content(value: Object) -> Object:
    """An object without what the API server keeps itself."""
    metadata = {k: v for k, v in _metadata(value).items() if k not in _SERVERS_OWN}
    return {**{k: v for k, v in value.items() if k != "status"}, "metadata": metadata}


def _explained(error: ApiError) -> str:
    """What the API server said, and what to do about it."""
    message = error.message.splitlines()[0].rstrip(":. ")
    if isinstance(error, Forbidden):
        return f"{message}; {_GRANT if _NOT_HELD in message else _NEEDED}"
    if isinstance(error, Conflict):
        causes = error.details.causes if error.details else []
        fields = [f"{c.field} ({c.message})" for c in causes if c.field]
        if fields:
            return (
                f"somebody else set {', '.join(fields)}; let them give it up, ask for the same "
                "value, or take it from them: the same command with --print, into kubectl apply "
                f"--server-side --force-conflicts --field-manager={MANAGER} --filename=-"
            )
        return f"{message}; somebody changed it just now: run this again"
    return message


_GRANT = (
    "nobody may grant rights that they have not: run this as cluster-admin, or with the verbs "
    "escalate and bind on roles and clusterroles"
)
_NEEDED = "run this as an administrator of the compute cluster"


def _raise(problems: Iterable[str]) -> None:
    if found := list(problems):
        raise Refused(found)


async def _each(values: Iterable[_V], work: Callable[[_V], Awaitable[T]]) -> list[T]:
    """The results in order; a few at once. The first error ends it, and comes out as it is."""
    turns = asyncio.Semaphore(_AT_ONCE)

    async def one(value: _V) -> T:
        async with turns:
            return await work(value)

    tasks = [asyncio.ensure_future(one(value)) for value in values]
    try:
        return list(await asyncio.gather(*tasks))
    finally:
        for task in tasks:
            task.cancel()


def _metadata(value: Object) -> Object:
    return object_in(value["metadata"])
