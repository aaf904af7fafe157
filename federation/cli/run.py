"""`vnode run`: the agent process. SIGTERM and SIGINT end it in order, a second one at once.

In: the configuration file. Out: exit code 0 after an orderly end, 1 when the agent failed, 2 when
the configuration is wrong. Owns the event loop and the signal handlers; the agent owns the rest.
"""

import asyncio
import importlib
import importlib.util
import os
import secrets
import signal
import socket
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Annotated

import structlog
import typer

from federation.cli.failures import ExitCode, reported
from federation.cli.process import (
    leave_out_of_collections,
    limit_tls_buffers,
    raise_descriptor_limit,
)
from federation.config import load_config
from federation.telemetry import configure_logging

_STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)
_log = structlog.get_logger(__name__)


def run(
    config: Annotated[
        Path, typer.Option("--config", help="The configuration file.", show_default=False)
    ],
    identity: Annotated[
        str | None,
        typer.Option(
            "--identity",
            help="Name of this replica in leader election; must be unique. "
            "[default: $POD_NAME, or the host name and a random suffix]",
            show_default=False,
        ),
    ] = None,
    health_port: Annotated[
        int | None,
        typer.Option(
            "--health-port",
            help="Serve /livez and /readyz there, over plain HTTP, for a container's probes. "
            "[default: not served]",
            show_default=False,
            min=1,
            max=65535,
        ),
    ] = None,
) -> None:
    """Run the agent until SIGTERM or SIGINT."""
    with reported(), _ended_by_sigterm():
        settings = load_config(config)
        configure_logging(settings.logging)
        raise_descriptor_limit()
        limit_tls_buffers()
        # Imported here: the other commands start faster without it.
        from federation.agent import run_agent

        leave_out_of_collections()
        agent = run_agent(
            settings, identity=identity or _default_identity(), health_port=health_port
        )
        with asyncio.Runner(loop_factory=_loop_factory()) as runner:
            runner.run(_until_signal(agent))


@contextmanager
def _ended_by_sigterm() -> Iterator[None]:
    """End at once by SIGTERM as long as nothing has begun.

    The first process of a container is not ended by signals that it did not ask for: one that came
    too early would be lost, and the agent go on until it is killed.
    """

    def end(_number: int, _frame: FrameType | None) -> None:
        raise typer.Exit(ExitCode.CLEAN)

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


async def _until_signal(agent: Coroutine[None, None, None]) -> None:
    loop = asyncio.get_running_loop()
    async with asyncio.TaskGroup() as group:
        task = group.create_task(agent, name="agent")

        def stop(received: signal.Signals) -> None:
            _log.info("Stopping", signal=received.name)
            for each in _STOP_SIGNALS:  # who asks twice does not want to wait
                loop.remove_signal_handler(each)
            task.cancel()

        for each in _STOP_SIGNALS:
            loop.add_signal_handler(each, stop, each)


def _default_identity() -> str:
    """A pod's name is its own; two processes of one host need a suffix to tell them apart."""
    return os.environ.get("POD_NAME") or f"{socket.gethostname()}-{secrets.token_hex(4)}"


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop]:
    """uvloop's where it is installed (extra `uvloop`)."""
    if importlib.util.find_spec("uvloop") is None:
        return asyncio.new_event_loop
    uvloop = importlib.import_module("uvloop")
    factory: Callable[[], asyncio.AbstractEventLoop] = uvloop.new_event_loop
    return factory
