"""Metrics of the kubelet API itself, and the text of `/metrics`.

One `KubeletMetrics` for all virtual nodes of an agent; what it shows is whatever the agent put
into the registry. No labels per pod, user or namespace.
"""

from prometheus_client import CollectorRegistry, Counter, Gauge
from prometheus_client.exposition import choose_encoder

from vnode.kubelet.sessions import Sessions

__all__ = ["KubeletMetrics"]


class KubeletMetrics:
    """Counts requests by route and code and exposes the agent's registry."""

    def __init__(self, registry: CollectorRegistry, *, sessions: Sessions) -> None:
        self._registry = registry
        self._requests = Counter(
            "vnode_kubelet_requests",
            "Requests to the kubelet API of virtual nodes.",
            ("route", "code"),
            registry=registry,
        )
        Gauge(
            "vnode_kubelet_sessions",
            "Log and stream sessions that are open.",
            registry=registry,
        ).set_function(lambda: sessions.statistics().open)

    def answered(self, *, route: str, code: int) -> None:
        """Count a request that was answered with `code`."""
        self._requests.labels(route, str(code)).inc()

    def text(self, accept: str) -> tuple[bytes, str]:
        """The registry's metrics and their content type, in a form that `accept` allows."""
        encoder, content_type = choose_encoder(accept)
        return encoder(self._registry), content_type
