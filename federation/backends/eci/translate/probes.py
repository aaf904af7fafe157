"""Probes and hooks of containers as parameters of ECI.

In: what travels of a container. Out: ReadinessProbe and LivenessProbe, and the flat Lifecycle…
parameters. Ports may be named; a name that no port has is `Refused`.
"""

from federation.backends.eci.parameters import Parameter, Parameters
from federation.backends.eci.translate import limits
from federation.backends.eci.translate.spec import Container, Exec, Handler, HttpGet, Probe
from federation.backends.translation.rules import Refused, inside

__all__ = ["hooks", "probes"]


def probes(container: Container) -> dict[str, Parameter]:
    """The container's probes."""
    found: dict[str, Parameter] = {}
    for name, field, probe in (
        ("ReadinessProbe", "readinessProbe", container.readiness_probe),
        ("LivenessProbe", "livenessProbe", container.liveness_probe),
    ):
        if probe is not None:
            with inside(f".{field}"):
                found[name] = _probe(probe, container)
    return found


def hooks(container: Container) -> dict[str, Parameter]:
    """The container's postStart and preStop hooks."""
    found: dict[str, Parameter] = {}
    for name, field, hook in (
        ("LifecyclePostStartHandler", "postStart", container.lifecycle.post_start),
        ("LifecyclePreStopHandler", "preStop", container.lifecycle.pre_stop),
    ):
        if hook is not None:
            with inside(f".lifecycle.{field}"):
                found |= {f"{name}{key}": value for key, value in _hook(hook, container).items()}
    return found


def _probe(probe: Probe, container: Container) -> Parameters:
    what: dict[str, Parameter] = {}
    if probe.exec is not None:
        what["Exec"] = {"Command": _command(probe.exec)}
    if probe.http_get is not None:
        what["HttpGet"] = _http(probe.http_get, container)
    if probe.tcp_socket is not None:
        what["TcpSocket"] = {"Port": _port(probe.tcp_socket.port, container)}
    if probe.success_threshold not in (None, 1):
        raise Refused("ECI takes no successThreshold but 1: remove it")
    return {
        **what,
        "FailureThreshold": probe.failure_threshold,
        "InitialDelaySeconds": probe.initial_delay_seconds,
        "PeriodSeconds": probe.period_seconds,
        "SuccessThreshold": probe.success_threshold,
        "TimeoutSeconds": probe.timeout_seconds,
    }


def _hook(hook: Handler, container: Container) -> dict[str, Parameter]:
    found: dict[str, Parameter] = {}
    if hook.exec is not None:
        found["Exec"] = _command(hook.exec)
    if hook.http_get is not None:
        for name, value in _http(hook.http_get, container).items():
            found[f"HttpGet{name}"] = value
        headers = [{"Name": one.name, "Value": one.value} for one in hook.http_get.http_headers]
        found["HttpGetHttpHeader"] = headers
    if hook.tcp_socket is not None:
        found["TcpSocketPort"] = _port(hook.tcp_socket.port, container)
    return found


def _http(get: HttpGet, container: Container) -> dict[str, Parameter]:
    return {"Path": get.path or "/", "Port": _port(get.port, container), "Scheme": get.scheme}


def _port(port: int | str, container: Container) -> int:
    if isinstance(port, int):
        return port
    if port.isdecimal():
        return int(port)
    for one in container.ports:
        if one.name == port:
            return one.container_port
    raise Refused(f"the container has no port named {port!r}")


def _command(run: Exec) -> list[str]:
    if len(run.command) > limits.WORDS or any(len(word) > limits.WORD for word in run.command):
        raise Refused(
            f"ECI takes commands of at most {limits.WORDS} words with {limits.WORD} characters "
            "each: put it into a script"
        )
    return list(run.command)
