"""Stand-ins for what surrounds the kubelet API, and builders for its objects."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import TypeVar, cast

import msgspec
from msgspec import Raw

from tests.fakes.sessions import MemorySession, open_session
from vnode.backend import (
    Capabilities,
    ExecSession,
    LogOptions,
    ObservedPod,
    PodBackend,
    SplicedConnection,
    StreamRequest,
    UpgradedConnection,
)
from vnode.kube.resources import Resource
from vnode.kube.types import UID, NodeName, ObjectKey, ObjectMeta, Pod
from vnode.kubelet.pods import LocatedPod, PodNotFound, PodNotStarted
from vnode.usage import UsageReport

T = TypeVar("T")

NODE = NodeName("virtual-1")


def make_pod(
    name: str = "web",
    *,
    namespace: str = "team",
    uid: str = "uid-1",
    containers: Sequence[str] = ("main",),
    init: Sequence[str] = (),
    ephemeral: Sequence[str] = (),
) -> Pod:
    spec = {
        "nodeName": NODE,
        "containers": [{"name": container, "image": "x"} for container in containers],
        "initContainers": [{"name": container} for container in init],
        "ephemeralContainers": [{"name": container} for container in ephemeral],
    }
    return Pod(
        metadata=ObjectMeta(name=name, namespace=namespace, uid=UID(uid)),
        spec=Raw(json.dumps(spec).encode()),
        status=Raw(b'{"phase":"Running","newField":1}'),
    )


def make_observed(pod: Pod) -> ObservedPod:
    return ObservedPod(
        key=pod.metadata.key,
        uid=pod.metadata.uid,
        handle="below-1",
        node=NODE,
        digest="",
        generation=1,
        status=b"{}",
    )


class ManualClock:
    """A clock that stands still until a test moves it."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.sleeps: list[float] = []

    def monotonic(self) -> float:
        return self.now

    def time(self) -> float:
        return 1_800_000_000.0 + self.now

    async def sleep(self, seconds: float) -> None:
        self.sleeps.append(seconds)
        self.now += seconds
        await asyncio.sleep(0)


@dataclass
class ScriptedReviews:
    """A tenant API server that knows some tokens and grants some rights."""

    tokens: dict[str, str] = field(default_factory=dict)
    rights: set[tuple[str, str, str]] = field(default_factory=set)
    """(user, verb, subresource of nodes)."""
    error: Exception | None = None
    gate: asyncio.Event | None = None
    bodies: list[dict[str, object]] = field(default_factory=list)

    async def create(self, resource: Resource, body: object, kind: type[T], /) -> T:
        request = msgspec.json.decode(msgspec.json.encode(body))
        self.bodies.append(request)
        if self.gate is not None:
            await self.gate.wait()
        if self.error is not None:
            raise self.error
        answer = self._answer(resource, request["spec"])
        return msgspec.json.decode(msgspec.json.encode({"status": answer}), type=kind)

    def _answer(self, resource: Resource, spec: dict[str, object]) -> dict[str, object]:
        if resource.kind == "TokenReview":
            user = self.tokens.get(str(spec["token"]))
            if user is None:
                return {"error": "invalid bearer token"}
            return {
                "authenticated": True,
                "user": {
                    "username": user,
                    "uid": "u1",
                    "groups": ["system:authenticated"],
                    "extra": {"b": ["2"], "a": ["1"]},
                },
            }
        asked = cast("dict[str, str]", spec["resourceAttributes"])
        return {"allowed": (spec["user"], asked["verb"], asked["subresource"]) in self.rights}

    def count(self, kind: str) -> int:
        return sum(body["kind"] == kind for body in self.bodies)


class FakePods:
    """A PodLocator over a few pods."""

    def __init__(self, backend: PodBackend, pods: Iterable[Pod] = ()) -> None:
        self.backend = backend
        self.pods = {pod.metadata.key: pod for pod in pods}
        self.not_started: set[ObjectKey] = set()

    def tenant_pods(self, node: NodeName) -> Iterable[Pod]:
        assert node == NODE
        return self.pods.values()

    def running(self, node: NodeName) -> Iterable[Pod]:
        assert node == NODE
        return (pod for key, pod in self.pods.items() if key not in self.not_started)

    def find(self, node: NodeName, key: ObjectKey, *, uid: UID | None) -> LocatedPod:
        assert node == NODE
        pod = self.pods.get(key)
        if pod is None or (uid is not None and pod.metadata.uid != uid):
            raise PodNotFound(key)
        if key in self.not_started:
            raise PodNotStarted(key)
        return LocatedPod(self.backend, make_observed(pod), pod)


class EchoTunnel(asyncio.Protocol):
    """Sends everything back; `quit` ends it."""

    def __init__(self, transport: asyncio.Transport, early: bytes) -> None:
        self.transport = transport
        self.closed = asyncio.Event()
        self.received = bytearray()
        transport.set_protocol(self)
        if early:
            self.data_received(early)

    def data_received(self, data: bytes) -> None:
        self.received += data
        self.transport.write(b"echo:" + data)
        if data.endswith(b"quit"):
            self.transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        self.closed.set()

    async def wait_closed(self) -> None:
        await self.closed.wait()

    def close(self) -> None:
        self.transport.close()


class EchoUpgrade:
    """A connection below that has switched protocols."""

    def __init__(self, headers: Sequence[tuple[str, str]]) -> None:
        self.status = 101
        self.headers = headers
        self.aborted = False
        self.tunnel: EchoTunnel | None = None

    def splice(self, transport: object, *, early: bytes) -> SplicedConnection:
        assert isinstance(transport, asyncio.Transport)
        self.tunnel = EchoTunnel(transport, early)
        return self.tunnel

    def abort(self) -> None:
        self.aborted = True


class FakeBackend:
    """The streaming half of a PodBackend."""

    def __init__(self) -> None:
        self.capabilities = Capabilities(
            token_refresh=True,
            secret_objects=True,
            cluster_dns=True,
            upgrade_streams=True,
            session_streams=False,
            start_gates=False,
        )
        self.log: Callable[[LogOptions], AsyncIterator[bytes]] = lambda _options: chunks(b"hello\n")
        self.log_options: list[LogOptions] = []
        self.copies: dict[ObjectKey, ObservedPod] = {}
        self.streams: list[StreamRequest] = []
        self.asked = asyncio.Event()
        self.stream_error: Exception | None = None
        self.stream_gate: asyncio.Event | None = None
        self.upgraded: list[EchoUpgrade] = []
        self.sessions: list[MemorySession] = []
        self.report: Callable[[], UsageReport] = UsageReport
        self.answer_headers: Sequence[tuple[str, str]] = (
            ("Connection", "Upgrade"),
            ("Upgrade", "SPDY/3.1"),
            ("X-Stream-Protocol-Version", "v4.channel.k8s.io"),
            ("Audit-Id", "below"),
        )

    def as_backend(self) -> PodBackend:
        return cast("PodBackend", self)

    def observed(self, key: ObjectKey) -> ObservedPod | None:
        return self.copies.get(key)

    def logs(self, pod: ObservedPod, options: LogOptions) -> AsyncIterator[bytes]:
        self.log_options.append(options)
        return self.log(options)

    async def usage(self, node: NodeName) -> UsageReport:
        assert node == NODE
        return self.report()

    async def upgrade(self, pod: ObservedPod, request: StreamRequest) -> UpgradedConnection:
        self.streams.append(request)
        self.asked.set()
        if self.stream_gate is not None:
            await self.stream_gate.wait()
        if self.stream_error is not None:
            raise self.stream_error
        connection = EchoUpgrade(self.answer_headers)
        self.upgraded.append(connection)
        return connection

    async def session(self, pod: ObservedPod, request: StreamRequest) -> ExecSession:
        self.streams.append(request)
        self.asked.set()
        if self.stream_gate is not None:
            await self.stream_gate.wait()
        self.sessions.append(open_session(request))
        return self.sessions[-1]


async def chunks(*parts: bytes, error: Exception | None = None) -> AsyncIterator[bytes]:
    for part in parts:
        yield part
    if error is not None:
        raise error
