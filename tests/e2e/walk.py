"""Everything that an API server offers, tried with one credential.

In: discovery as an administrator sees it, namespaces, and a credential. Out: what each request was
answered. Every group, version, resource, subresource and verb becomes requests: by name, in a
namespace, over all namespaces, with selectors, as the old `/watch/` paths, and with impersonation.
Writes are dry runs, so that one which is allowed does no harm.

An authorizer answers before anything else is looked at, so a request without a right is 403 whether
or not there is such an object. Any other answer means that the request got past it.
"""

from __future__ import annotations

import asyncio
import ssl
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, NamedTuple

import aiohttp
import yaml

from vnode.kube.sockets import Sockets

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

    from tests.clusters import Cluster

_AT_ONCE = 12
_PATIENCE = 20
"""How often a server may say that it has too much to do."""
_DRY = (("dryRun", "All"),)
_PATCHES = (
    "application/merge-patch+json",
    "application/strategic-merge-patch+json",
    "application/json-patch+json",
    "application/apply-patch+yaml",
)


_Form = tuple[str, str, tuple[tuple[str, str], ...]]
"""Method, path and query of a request."""


class Resource(NamedTuple):
    """One line of discovery."""

    root: str
    """`/api/v1` or `/apis/<group>/<version>`."""
    name: str
    """With its subresource: `pods/log`."""
    namespaced: bool
    verbs: tuple[str, ...]

    @property
    def short(self) -> str:
        """`pods/log`, or `deployments.apps`."""
        group = self.root.split("/")[2] if self.root.startswith("/apis/") else ""
        plural, sign, sub = self.name.partition("/")
        return f"{plural}.{group}{sign}{sub}" if group else self.name


class Attempt(NamedTuple):
    """One request."""

    verb: str
    resource: str
    where: str
    """A namespace; empty: the cluster."""
    method: str
    path: str
    query: tuple[tuple[str, str], ...] = ()
    content_type: str = "application/json"
    headers: tuple[tuple[str, str], ...] = ()

    def __str__(self) -> str:
        extra = " ".join(f"{k}={v}" for k, v in (*self.query, *self.headers))
        return f"{self.verb} {self.resource} in {self.where or 'the cluster'}: {self.path} {extra}"


def discovered(cluster: Cluster) -> list[Resource]:
    """All resources of all versions, by an administrator's eyes."""
    core = [("/api", version) for version in _json(cluster, "/api")["versions"]]
    groups = [
        ("/apis", version["groupVersion"])
        for group in _json(cluster, "/apis")["groups"]
        for version in group["versions"]
    ]
    return [
        Resource(f"{base}/{version}", each["name"], each["namespaced"], tuple(each["verbs"]))
        for base, version in [*core, *groups]
        for each in _json(cluster, f"{base}/{version}")["resources"]
    ]


def _json(cluster: Cluster, path: str) -> Any:
    return yaml.load(cluster.kubectl("get", "--raw", path), Loader=yaml.CSafeLoader)


def attempts(
    resources: Iterable[Resource], *, namespaces: Sequence[str], names: dict[str, str]
) -> Iterator[Attempt]:
    """Every request; `names`: of objects that exist, by plural."""
    for resource in resources:
        places = namespaces if resource.namespaced else [""]
        for place in places:
            yield from _in(resource, place, names.get(resource.name.partition("/")[0], "x"))
        if resource.namespaced:
            yield from _everywhere(resource, namespaces)


def _in(resource: Resource, namespace: str, name: str) -> Iterator[Attempt]:
    """All verbs on a resource in one place."""
    plural, sign, sub = resource.name.partition("/")
    base = f"{resource.root}/namespaces/{namespace}" if namespace else resource.root
    one = f"{base}/{plural}/{name}{sign}{sub}"
    many = one if sub else f"{base}/{plural}"
    forms: dict[str, list[_Form]] = {
        "get": [("GET", one, ()), *_connections(one, sub)],
        "list": [("GET", many, (each,)) for each in _selectors(name)],
        "watch": _watches(resource, many, name),
        "create": [("POST", many, _DRY)],
        "update": [("PUT", one, _DRY)],
        "patch": [("PATCH", one, (*_DRY, ("fieldManager", "x")))],
        "delete": [("DELETE", one, _DRY)],
        "deletecollection": [("DELETE", many, _DRY)],
    }
    for verb in resource.verbs:  # a verb that is not here is one that nobody has thought of
        for method, path, query in forms[verb]:
            for kind in _PATCHES if verb == "patch" else ("application/json",):
                yield Attempt(verb, resource.short, namespace, method, path, query, kind)


def _connections(one: str, sub: str) -> list[_Form]:
    """What `get` of a subresource opens."""
    if sub in ("exec", "attach", "portforward"):
        return [("GET", one, (("command", "id"), ("ports", "1")))]
    return [("GET", f"{one}/any/path", ())] if sub == "proxy" else []


def _selectors(name: str) -> list[tuple[str, str]]:
    return [
        ("limit", "1"),
        ("resourceVersion", "0"),
        ("fieldSelector", f"metadata.name={name}"),
        ("labelSelector", "vnode.dev/tenant=demo"),
    ]


def _everywhere(resource: Resource, namespaces: Sequence[str]) -> Iterator[Attempt]:
    """Lists and watches over all namespaces, also with selectors that ask for one."""
    path = f"{resource.root}/{resource.name}"
    if "list" in resource.verbs:
        selectors = [("limit", "1"), ("labelSelector", "vnode.dev/tenant=demo")]
        selectors += [("fieldSelector", f"metadata.namespace={each}") for each in namespaces]
        for selector in selectors:
            yield Attempt("list", resource.short, "", "GET", path, (selector,))
    if "watch" in resource.verbs:
        for method, at, query in _watches(resource, path, "x"):
            yield Attempt("watch", resource.short, "", method, at, query)


def _watches(resource: Resource, path: str, name: str) -> list[_Form]:
    short = ("timeoutSeconds", "1")
    old = path.replace(resource.root, f"{resource.root}/watch", 1)
    return [
        ("GET", path, (("watch", "1"), short)),
        ("GET", path, (("watch", "1"), ("fieldSelector", f"metadata.name={name}"), short)),
        ("GET", path, (("watch", "1"), ("labelSelector", "a=b"), short)),
        ("GET", old, (short,)),
        ("GET", f"{old}/{name}", (short,)),
    ]


def pretending(path: str, *identities: dict[str, str]) -> Iterator[Attempt]:
    """One harmless request in the name of others."""
    for headers in identities:
        yield Attempt("impersonate", "users", "", "GET", path, headers=tuple(headers.items()))


async def answers(
    wanted: Iterable[Attempt], *, server: str, ca: Path, token: str
) -> dict[Attempt, int]:
    """Send them all; the HTTP codes that came back."""
    context = ssl.create_default_context(cafile=str(ca))
    found: dict[Attempt, int] = {}
    turns = asyncio.Semaphore(_AT_ONCE)
    bearer = {"Authorization": f"Bearer {token}"}
    async with (
        aclosing(Sockets()) as sockets,
        aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(
                ssl=context, limit=_AT_ONCE, socket_factory=sockets.make
            ),
            headers=bearer,
        ) as session,
    ):

        async def send(attempt: Attempt) -> None:
            async with turns:
                for _ in range(_PATIENCE):
                    found[attempt] = await _code(session, server, attempt)
                    if found[attempt] != 429:
                        return
                    await asyncio.sleep(0.5)

        async with asyncio.TaskGroup() as tasks:
            for attempt in wanted:
                tasks.create_task(send(attempt))
    return found


async def _code(session: aiohttp.ClientSession, server: str, attempt: Attempt) -> int:
    body = None if attempt.method == "GET" else "{}"
    async with session.request(
        attempt.method,
        f"{server}{attempt.path}",
        params=list(attempt.query),
        data=body,
        headers={"Content-Type": attempt.content_type, **dict(attempt.headers)},
        allow_redirects=False,
    ) as response:
        return response.status
