"""What `/configz` shows: the settings of the kubelet API, as KubeletConfiguration. Pure.

In: how the server was set up. Out: `{"kubeletconfig": {...}}` with the fields of
kubelet.config.k8s.io/v1beta1 that mean something here, and no others: what a kubelet would say of
cgroups, images and eviction is the affair of nodes that tenants do not see.
Source: kubernetes:cmd/kubelet/app/server.go (initConfigz).
"""

from vnode.kube.types import JSON
from vnode.kubelet.access.reviews import ReviewLifetimes

__all__ = ["configz"]


def configz(*, host: str, port: int, secure: bool, idle_seconds: float) -> JSON:
    """The body of an answer.

    `secure`: requests are authenticated and authorised by the API server. `idle_seconds`: after
    which a stream ends.
    """
    lifetimes = ReviewLifetimes()
    return {
        "kubeletconfig": {
            "enableServer": True,
            "address": host,
            "port": port,
            "tlsMinVersion": "VersionTLS12",
            "registerNode": True,
            "authentication": {
                "webhook": {"enabled": secure, "cacheTTL": _duration(lifetimes.authenticated)},
                "anonymous": {"enabled": not secure},
            },
            "authorization": {
                "mode": "Webhook" if secure else "AlwaysAllow",
                "webhook": {
                    "cacheAuthorizedTTL": _duration(lifetimes.allowed),
                    "cacheUnauthorizedTTL": _duration(lifetimes.denied),
                },
            },
            "streamingConnectionIdleTimeout": _duration(idle_seconds),
            "enableDebuggingHandlers": True,
            "enableSystemLogHandler": False,
            "enableProfilingHandler": False,
            "enableDebugFlagsHandler": False,
        }
    }


def _duration(seconds: float) -> str:
    """As metav1.Duration writes it: `4h0m0s`, `2m0s`, `30s`."""
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours}h{minutes}m{rest}s"
    return f"{minutes}m{rest}s" if minutes else f"{rest}s"
