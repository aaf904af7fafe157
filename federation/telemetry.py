"""Logs and metrics of the agent process.

In: events of structlog and of the standard library's loggers, and metrics that packages declare.
Out: one line per event on a stream (text on a terminal, JSON otherwise), and a registry that the
kubelet server renders. Owned by the process: `configure_logging` is called once, by the CLI, before
the agent starts. Values whose key looks like a credential never get out.
"""

import logging
import re
import sys
from collections.abc import Iterable, Mapping, MutableMapping
from typing import TextIO, TypeAlias

import orjson
import structlog
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from federation.backends.eci.metrics import EciMetrics
from federation.config import LogFormat, LoggingConfig
from vnode.kube.types import JSON

_EventDict: TypeAlias = MutableMapping[str, object]

_FIRST_KEYS = (
    "timestamp", "level", "logger", "event", "tenant", "cluster", "node", "namespace", "pod", "uid",
)  # fmt: skip
_LAST_KEYS = ("exception", "stack")
_CREDENTIAL = re.compile(
    r"token|secret|passw(or)?d|authorization|credential|api_?key|private_?key|cookie",
    re.IGNORECASE,
)
_REDACTED = "[redacted]"
# Its debug level writes whole answers, Secrets included.
_TALKATIVE = ("kubernetes_asyncio", "asyncio", "aiohttp.access")
_PEER_LEFT = ("SSL connection is closed", "socket.send() raised exception.")
"""What asyncio says of every write behind a peer that left, without saying which: anybody who
reaches the kubelet port could fill the log with it."""

_LATENESS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""Seconds. From 0.1 s on streams stutter; a node's Lease is lost at 40 s."""


def metrics_registry() -> CollectorRegistry:
    """The registry of one agent; built once in `agent.py`, passed to whoever declares metrics."""
    return CollectorRegistry(auto_describe=True)


class FederationMetrics:
    """What the agent counts beside the kubelet API; one for all compute clusters."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.eci = EciMetrics(registry)
        """Of clusters of kind eci."""
        self._kept = Gauge(
            "federation_namespaces_kept",
            "Compute namespaces that the agent made and kept after their tenant namespace.",
            ("cluster", "reason"),
            registry=registry,
        )

        self._held = Gauge(
            "federation_copies_held",
            "Copies whose tenant pod is gone and that are not deleted; vnode gc lists them.",
            ("cluster", "reason"),
            registry=registry,
        )
        self._reachable = Gauge(
            "federation_compute_reachable",
            "1: the link to the compute cluster holds; 0: it is lost.",
            ("cluster",),
            registry=registry,
        )
        self._links: dict[str, bool] = {}
        self._since = Gauge(
            "federation_compute_link_changed_timestamp_seconds",
            "Unix time at which federation_compute_reachable took its value in this process.",
            ("cluster",),
            registry=registry,
        )

        self._ends = Gauge(
            "federation_compute_token_expires_timestamp_seconds",
            "Unix time at which the token that the agent renews in a compute cluster ends.",
            ("cluster",),
            registry=registry,
        )
        self._with_end: set[str] = set()
        self._fenced_nodes: set[str] = set()
        self._fenced = Gauge(
            "federation_fenced_pods",
            "Pods that were given up during an outage and whose copies are not confirmed gone.",
            ("node",),
            registry=registry,
        )

        self._tolerations = Counter(
            "federation_toleration_patches",
            "Tenant pods whose default 300 s tolerations of unreachable nodes were to be changed.",
            ("result",),
            registry=registry,
        )
        for result in ("patched", "refused", "failed"):
            self._tolerations.labels(result)
        self._late = Histogram(
            "vnode_event_loop_lag_seconds",
            "By how much the agent's event loop was late, looked at ten times a second.",
            buckets=_LATENESS,
            registry=registry,
        )

    def loop_late(self, seconds: float) -> None:
        """A wake-up of the event loop came so much too late."""
        self._late.observe(seconds)

    def tolerations_changed(self, result: str) -> None:
        """A pod's default tolerations were `patched`, or that was `refused` or `failed`."""
        self._tolerations.labels(result).inc()

    def fenced(self, node: str, count: int) -> None:
        """Show how long a virtual node's fence list is."""
        self._fenced_nodes.add(node)
        self._fenced.labels(node).set(count)

    def fences_left(self, node: str) -> None:
        """Another replica looks after that virtual node."""
        if node in self._fenced_nodes:
            self._fenced_nodes.discard(node)
            self._fenced.remove(node)

    def link(self, cluster: str, *, reachable: bool, since: float) -> None:
        """Show whether a compute cluster answers; at Unix second `since` if that is news."""
        if self._links.get(cluster) is not reachable:
            self._links[cluster] = reachable
            self._reachable.labels(cluster).set(int(reachable))
            self._since.labels(cluster).set(since)

    def link_left(self, cluster: str) -> None:
        """Another replica looks after that cluster."""
        if self._links.pop(cluster, None) is not None:
            self._reachable.remove(cluster)
            self._since.remove(cluster)

    def token_ends(self, cluster: str, at: float) -> None:
        """The token of a compute cluster ends at that Unix second."""
        self._with_end.add(cluster)
        self._ends.labels(cluster).set(at)

    def token_left(self, cluster: str) -> None:
        """Another replica looks after that cluster."""
        if cluster in self._with_end:
            self._with_end.discard(cluster)
            self._ends.remove(cluster)

    def copies_held(self, cluster: str, counts: Mapping[str, int]) -> None:
        """Show how many copies without tenant pod are held for each reason."""
        for reason, count in counts.items():
            self._held.labels(cluster, reason).set(count)

    def copies_left(self, cluster: str, reasons: Iterable[str]) -> None:
        """Another replica looks after that cluster."""
        for reason in reasons:
            self._held.labels(cluster, reason).set(0)

    def namespaces_kept(self, cluster: str, counts: Mapping[str, int]) -> None:
        """Show how many compute namespaces are kept for each reason."""
        for reason, count in counts.items():
            self._kept.labels(cluster, reason).set(count)


def configure_logging(settings: LoggingConfig, *, stream: TextIO | None = None) -> None:
    """Send structlog's and the standard library's events to `stream` (default: stderr).

    To be called once per process: loggers keep what they found at their first event.
    """
    out = sys.stderr if stream is None else stream
    render = _renderer(settings, out)
    level = logging.getLevelNamesMapping()[settings.level.upper()]
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.StackInfoRenderer(),
        redact,
        order_keys,
    ]
    structlog.configure(
        processors=[*shared, *render],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=_LineLoggers(out),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(out)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *render],
        )
    )
    logging.basicConfig(handlers=[handler], level=level, force=True)
    for name in _TALKATIVE:
        logging.getLogger(name).setLevel(max(level, logging.INFO))
    logging.getLogger("asyncio").addFilter(_is_news)


def _is_news(record: logging.LogRecord) -> bool:
    return record.msg not in _PEER_LEFT


def redact(_logger: object, _method: str, event: _EventDict) -> _EventDict:
    """Processor: replace text whose key looks like a credential, at any depth."""
    for key, value in event.items():
        if key != "exc_info":  # a tuple that only renderers understand, as it is
            event[key] = _redacted(key, value)
    return event


def order_keys(_logger: object, _method: str, event: _EventDict) -> _EventDict:
    """Processor: what and where first, exceptions last, the rest as the caller gave it."""
    ordered = {key: event.pop(key) for key in _FIRST_KEYS if key in event}
    last = {key: event.pop(key) for key in _LAST_KEYS if key in event}
    return {**ordered, **event, **last}


def _redacted(key: str, value: object) -> object:
    """Numbers and flags stay: `tokens=3` says nothing that anybody could use."""
    if value is None or isinstance(value, bool | int | float):
        return value
    if _CREDENTIAL.search(key):
        return _REDACTED
    if isinstance(value, Mapping):
        return {name: _redacted(str(name), inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_redacted("", inner) for inner in value]
    return value


def _renderer(settings: LoggingConfig, out: TextIO) -> list[structlog.typing.Processor]:
    is_terminal = out.isatty()
    form = settings.format or (LogFormat.TEXT if is_terminal else LogFormat.JSON)
    if form is LogFormat.JSON:
        return [
            structlog.processors.format_exc_info,
            order_keys,
            structlog.processors.JSONRenderer(serializer=_to_json),
        ]
    # Plain tracebacks: the rich ones show local variables, which may hold Secrets.
    return [
        structlog.dev.ConsoleRenderer(
            colors=is_terminal,
            sort_keys=False,
            exception_formatter=structlog.dev.plain_traceback,
        )
    ]


def _to_json(event: JSON, **_: object) -> str:
    return orjson.dumps(event, default=str, option=orjson.OPT_NON_STR_KEYS).decode()


class _LineLogger(structlog.WriteLogger):
    """Writes lines to a stream; knows its name, which standard loggers do too."""

    def __init__(self, stream: TextIO, *, name: str) -> None:
        super().__init__(stream)
        self.name = name


class _LineLoggers:
    """Makes the logger behind `structlog.get_logger(__name__)`."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def __call__(self, name: str = "") -> _LineLogger:
        return _LineLogger(self._stream, name=name)
