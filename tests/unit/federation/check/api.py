"""An API server that answers what a test says, for checks."""

from typing import TYPE_CHECKING, Any, TypeVar, cast

import msgspec

from vnode.kube.client import KubeClient
from vnode.kube.decode import decode
from vnode.kube.resources import Resource

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

T = TypeVar("T")
Answer = Any
"""JSON, or an error to raise."""


class Api:
    """Reads by path, reviews by what is asked; everything that is asked is noted."""

    server = "https://gpu.example:6443"
    clock_offset = 0.0

    def __init__(self) -> None:
        self.answers: dict[str, Answer] = {}
        """Of GETs."""
        self.rules: dict[str, list[dict[str, list[str]]]] = {}
        """What SelfSubjectRulesReview says, by namespace."""
        self.allows: Callable[[Mapping[str, str]], bool] = lambda attributes: False
        """What SelfSubjectAccessReview says."""
        self.user: Answer = {"username": "system:serviceaccount:vnode-system:vnode"}
        self.denies: Exception | None = None
        """What creates of objects say."""
        self.asked: list[str] = []

    @property
    def client(self) -> KubeClient:
        return cast("KubeClient", self)

    async def get(
        self, resource: Resource, kind: type[T], *, name: str, namespace: str | None = None
    ) -> T:
        path = resource.path(namespace=namespace, name=name)
        return decode(await self.request("GET", path), kind)

    async def request(self, method: str, path: str, **options: object) -> bytes:
        self.asked.append(path)
        return msgspec.json.encode(_given(self.answers[path]))

    async def create(self, resource: Resource, body: Any, kind: type[T], **options: object) -> T:
        spec = body.get("spec", {})
        match resource.plural:
            case "selfsubjectreviews":
                status: Answer = {"userInfo": _given(self.user)}
            case "selfsubjectrulesreviews":
                self.asked.append(f"rules in {spec['namespace']}")
                status = {"resourceRules": self.rules.get(spec["namespace"], [])}
            case "pods" | "thinruntimes" | "persistentvolumes":
                place = f" in {options['namespace']}" if options["namespace"] else ""
                self.asked.append(f"create {resource.plural}{place}")
                made = _given(self.denies) or {"metadata": body["metadata"]}
                return decode(msgspec.json.encode(made), kind)
            case _:
                about = spec["resourceAttributes"]
                self.asked.append(f"{about['verb']} {about['resource']}")
                status = {"allowed": self.allows(about)}
        return decode(msgspec.json.encode({"status": status}), kind)


def _given(answer: Answer) -> Answer:
    if isinstance(answer, Exception):
        raise answer
    return answer
