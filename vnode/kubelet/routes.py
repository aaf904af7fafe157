"""The routes of the kubelet API. Pure.

In: nothing. Out: `ROUTES`, for which `vnode.kubelet.server` has one handler each. What no route
matches goes to `OTHER`, so that nobody learns without credentials which paths there are.

Source: kubernetes:pkg/kubelet/server/server.go (getHandlers, InstallDebuggingHandlers).
"""

from dataclasses import dataclass

__all__ = ["OTHER", "ROUTES", "Route"]


@dataclass(frozen=True, slots=True)
class Route:
    """Paths that are served alike, as patterns with `{variables}`."""

    name: str
    """Label in metrics, and key of the handler."""
    paths: tuple[str, ...]
    methods: tuple[str, ...] = ("GET",)
    runs_code: bool = False
    """Runs code in a container, or opens a connection into it."""


_BOTH = ("GET", "POST")
_POD = "/{namespace}/{pod}"
_IN_POD = (_POD, f"{_POD}/{{uid}}")
_IN_CONTAINER = tuple(f"{path}/{{container}}" for path in _IN_POD)

ROUTES = (
    Route("healthz", ("/healthz",)),
    Route("configz", ("/configz",)),
    Route("pods", ("/pods", "/pods/")),
    Route("runningpods", ("/runningpods", "/runningpods/")),
    Route("metrics", ("/metrics",)),
    Route("metrics/resource", ("/metrics/resource",)),
    Route("stats/summary", ("/stats/summary",)),
    Route("containerLogs", (f"/containerLogs{_POD}/{{container}}",)),
    Route("exec", tuple(f"/exec{path}" for path in _IN_CONTAINER), _BOTH, runs_code=True),
    Route("attach", tuple(f"/attach{path}" for path in _IN_CONTAINER), _BOTH, runs_code=True),
    Route("portForward", tuple(f"/portForward{path}" for path in _IN_POD), _BOTH, runs_code=True),
    Route("run", tuple(f"/run{path}" for path in _IN_CONTAINER), ("POST",), runs_code=True),
)
OTHER = Route("other", ("/{path:.*}",), ("*",))
