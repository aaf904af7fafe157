"""Errors as the user of the command line sees them, and the exit codes that go with them.

In: whatever a command raises. Out: one line `error: what (where): what to do` on stderr for errors
that can be expected, a traceback with a hint for those that cannot, and an exit code. Task groups
wrap errors in groups: these are taken apart, and the first expected error is shown.
"""

import enum
import errno
import os
import re
import traceback
from collections.abc import Iterator
from contextlib import contextmanager

import typer

from federation.config import ConfigFileError
from vnode.backend import BackendError
from vnode.kube.errors import (
    ApiError,
    ConfigError,
    Forbidden,
    KubeError,
    ServerError,
    TooManyRequests,
    Unauthorized,
    Unreachable,
    Untrusted,
)

_BUG_HINT = "error: this is a bug in vnode, not in your set-up: report it with the lines above"
_ADVICE: tuple[tuple[type[KubeError], str], ...] = (
    (ConfigError, ""),  # says itself what to do
    (Untrusted, ""),
    (Unreachable, "check the server address in the kubeconfig and the network on the way to it"),
    (Unauthorized, "renew the credential in the kubeconfig"),
    (Forbidden, "grant the right: {side} there, and use the account that it makes"),
    (TooManyRequests, "the API server is overloaded; try again later"),
    (ServerError, "look into the API server's log, or try again later"),
    (KubeError, "the message is the API server's"),
)
_APPLY, _JOIN = "apply deploy/tenant", "run vnode join"
_PORT_ADVICE = {
    errno.EADDRINUSE: "end the program that has this port, or set another kubelet.basePort",
    errno.EADDRNOTAVAIL: "set kubelet.listen to an address of this machine",
    errno.EACCES: "set kubelet.basePort to 1024 or more",
}
_BOUND_ADDRESS = re.compile(r"bind on address \('([^']*)', (\d+)")


class ExitCode(enum.IntEnum):
    """Exit codes of every command."""

    CLEAN = 0
    FAILURE = 1
    CONFIGURATION = 2


@contextmanager
def reported(*, all_problems: bool = False) -> Iterator[None]:
    """Turn errors into lines on stderr and `typer.Exit`.

    Args:
        all_problems: show every problem of a configuration file, not only the first one.
    """
    try:
        yield
    except typer.Exit:
        raise
    except Exception as error:
        raise typer.Exit(_report(error, all_problems=all_problems)) from None


def _report(error: Exception, *, all_problems: bool) -> ExitCode:
    leaves = list(_leaves(error))
    expected = [leaf for leaf in leaves if _line_of(leaf) is not None]
    if len(expected) < len(leaves):
        typer.echo("".join(traceback.format_exception(error)).rstrip(), err=True)
        typer.echo(_BUG_HINT, err=True)
    if not expected:
        return ExitCode.FAILURE
    first = expected[0]
    if isinstance(first, ConfigFileError) and all_problems:
        for problem in first.problems:
            typer.echo(f"error: {problem}", err=True)
    else:
        typer.echo(f"error: {_line_of(first)}", err=True)
    wrong_settings = isinstance(first, ConfigFileError | ConfigError)
    return ExitCode.CONFIGURATION if wrong_settings else ExitCode.FAILURE


def _leaves(error: BaseException) -> Iterator[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        for inner in error.exceptions:
            yield from _leaves(inner)
    else:
        yield error


def _line_of(error: BaseException) -> str | None:
    """The line that describes an expected error; None: it is not one."""
    line: str | None = None
    match error:
        case ConfigFileError():
            line = _first_problem(error)
        case KubeError():
            advice = next(text for kind, text in _ADVICE if isinstance(error, kind))
            line = _joined(_with_peer(error), advice.format(side=_side(error)))
        case BackendError():
            line = str(error)
        case OSError():
            line = _os_error_line(error)
    return line and " ".join(line.split())


def _with_peer(error: KubeError) -> str:
    """The message, with the cluster that said so where the message does not name it."""
    peer = error.peer if isinstance(error, ApiError) else ""
    return f"{peer}: {error}" if peer else str(error)


def _side(error: KubeError) -> str:
    """What grants the rights in the cluster that answered."""
    peer = error.peer if isinstance(error, ApiError) else ""
    return {"tenant": _APPLY, "": f"{_APPLY} or {_JOIN}"}.get(peer, _JOIN)


def _first_problem(error: ConfigFileError) -> str:
    first, *others = error.problems
    if not others:
        return str(first)
    return f"{first} (and {len(others)} more; see: vnode config check {first.file})"


def _os_error_line(error: OSError) -> str | None:
    """Only what somebody can mend: ports and files. Anything else is shown with its traceback."""
    advice = _PORT_ADVICE.get(error.errno or 0)
    if advice and (bound := _BOUND_ADDRESS.search(str(error))):
        address, port = bound.groups()
        reason = _reason(error)
        return f"cannot listen on {address}:{port} ({reason}): {advice}"
    if error.filename is not None:
        return f"{error.filename}: {_reason(error)}; check the path and its permissions"
    return None


def _reason(error: OSError) -> str:
    return os.strerror(error.errno or 0).lower()


def _joined(message: str, advice: str) -> str:
    return f"{message.rstrip('.')}; {advice}" if advice else message
