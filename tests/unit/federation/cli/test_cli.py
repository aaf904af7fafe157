"""The `vnode` command: what it prints, and how it ends."""

import asyncio
import json
import os
import signal
import socket
import sys
import types
from collections.abc import Awaitable, Callable
from importlib import metadata
from pathlib import Path

import pytest
from typer.testing import CliRunner

from federation.cli import app
from federation.config import AgentConfig, config_schema
from vnode.backend import BackendError
from vnode.kube.errors import (
    ApiError,
    ConfigError,
    Forbidden,
    ServerError,
    TooManyRequests,
    Unauthorized,
    Unreachable,
    Untrusted,
)

MINIMAL = """
tenant: {name: demo}
clusters:
- {name: gpu-a, kubeconfig: k}
"""

Agent = Callable[[AgentConfig, str], Awaitable[None]]


@pytest.fixture
def config_file(tmp_path: Path) -> Path:
    path = tmp_path / "config.yaml"
    path.write_text(MINIMAL, encoding="utf-8")
    return path


@pytest.fixture
def wrong_file(tmp_path: Path) -> Path:
    path = tmp_path / "wrong.yaml"
    path.write_text(f"{MINIMAL}loging: {{}}\nkubelet: {{basePort: 0}}\n", encoding="utf-8")
    return path


@pytest.fixture
def start(monkeypatch: pytest.MonkeyPatch, config_file: Path) -> Callable[..., "Outcome"]:
    """Runs `vnode run` with the given coroutine function in the place of the agent."""
    monkeypatch.setattr("federation.cli.run.configure_logging", lambda settings: None)

    def start(agent: Agent, *arguments: str) -> Outcome:
        async def run_agent(config: AgentConfig, *, identity: str, health_port: int | None) -> None:
            await agent(config, identity)

        module = types.ModuleType("federation.agent")
        monkeypatch.setattr(module, "run_agent", run_agent, raising=False)
        monkeypatch.setitem(sys.modules, "federation.agent", module)
        return invoke("run", "--config", str(config_file), *arguments)

    return start


class Outcome:
    """Exit code and the lines on stderr."""

    def __init__(self, code: int, stdout: str, stderr: str) -> None:
        self.code = code
        self.stdout = stdout
        self.errors = stderr.splitlines()


def invoke(*arguments: str) -> Outcome:
    result = CliRunner().invoke(app, list(arguments))
    return Outcome(result.exit_code, result.stdout, result.stderr)


def failing_with(error: Exception) -> Agent:
    async def agent(config: AgentConfig, identity: str) -> None:
        raise error

    return agent


class TestConfigCheck:
    def test_a_right_file_is_confirmed_with_its_virtual_nodes(self, config_file: Path) -> None:
        outcome = invoke("config", "check", str(config_file))

        assert (outcome.code, outcome.errors) == (0, [])
        assert outcome.stdout == (
            f"{config_file}: ok: tenant demo, virtual nodes vnode-gpu-a (port 10250)\n"
        )

    def test_every_problem_gets_a_line(self, wrong_file: Path) -> None:
        outcome = invoke("config", "check", str(wrong_file))

        assert outcome.code == 2
        assert outcome.errors == [
            f'error: {wrong_file}:5: loging: unknown key; did you mean "logging"?',
            f"error: {wrong_file}:6: kubelet.basePort: 0 is too small; at least 1",
        ]

    def test_long_paths_stay_on_one_line(self, tmp_path: Path) -> None:
        path = tmp_path / ("a" * 150) / "[bold]config.yaml"

        outcome = invoke("config", "check", str(path))

        assert outcome.code == 2
        assert outcome.errors == [
            f"error: {path}: no such file; check the path, or start from config/example.yaml"
        ]


def test_the_schema_is_printed_as_json() -> None:
    outcome = invoke("config", "schema")

    assert outcome.code == 0
    assert json.loads(outcome.stdout) == config_schema()


def test_the_version_is_that_of_the_installed_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metadata, "version", {"vnode-federation": "1.2.3"}.__getitem__)

    outcome = invoke("version")

    assert (outcome.code, outcome.stdout) == (0, "1.2.3\n")


def test_a_missing_option_is_a_wrong_usage() -> None:
    outcome = invoke("run")

    assert outcome.code == 2
    assert outcome.errors[-1] == "Error: Missing option '--config'."


def _refused_by(peer: str) -> Forbidden:
    refused = Forbidden("no", code=403)
    refused.peer = peer
    return refused


class TestRun:
    def test_the_agent_gets_configuration_and_identity(self, start: Callable[..., Outcome]) -> None:
        seen: list[tuple[str, str]] = []

        async def agent(config: AgentConfig, identity: str) -> None:
            seen.append((config.tenant.name, identity))

        outcome = start(agent, "--identity", "replica-0")

        assert (outcome.code, outcome.errors) == (0, [])
        assert seen == [("demo", "replica-0")]

    def test_the_identity_is_the_name_of_the_pod(
        self, start: Callable[..., Outcome], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("POD_NAME", "vnode-5d4b-x7")
        seen: list[str] = []

        async def agent(config: AgentConfig, identity: str) -> None:
            seen.append(identity)

        start(agent)

        assert seen == ["vnode-5d4b-x7"]

    def test_two_processes_of_a_host_differ_in_identity(
        self, start: Callable[..., Outcome], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.delenv("POD_NAME", raising=False)
        seen: list[str] = []

        async def agent(config: AgentConfig, identity: str) -> None:
            seen.append(identity)

        start(agent)
        start(agent)

        assert len(set(seen)) == 2
        assert all(identity.startswith(f"{socket.gethostname()}-") for identity in seen)

    @pytest.mark.parametrize("stop", [signal.SIGTERM, signal.SIGINT])
    def test_a_signal_lets_the_agent_clean_up_and_ends_with_0(
        self, start: Callable[..., Outcome], stop: signal.Signals
    ) -> None:
        steps: list[str] = []

        async def agent(config: AgentConfig, identity: str) -> None:
            os.kill(os.getpid(), stop)
            try:
                await asyncio.Event().wait()
            finally:
                await asyncio.sleep(0)
                steps.append("cleaned up")

        outcome = start(agent)

        assert (outcome.code, outcome.errors) == (0, [])
        assert steps == ["cleaned up"]

    def test_sigterm_before_anything_has_begun_ends_with_0(
        self, start: Callable[..., Outcome], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        began: list[str] = []
        before = signal.getsignal(signal.SIGTERM)
        monkeypatch.setattr(
            "federation.cli.run.configure_logging", lambda _: os.kill(os.getpid(), signal.SIGTERM)
        )

        async def agent(config: AgentConfig, identity: str) -> None:
            began.append(identity)

        outcome = start(agent)

        assert outcome.code == 0
        assert began == []
        assert signal.getsignal(signal.SIGTERM) is before

    def test_a_second_signal_is_not_held_back(self, start: Callable[..., Outcome]) -> None:
        handlers: list[object] = []

        async def agent(config: AgentConfig, identity: str) -> None:
            os.kill(os.getpid(), signal.SIGTERM)
            try:
                await asyncio.Event().wait()
            finally:
                handlers.append(signal.getsignal(signal.SIGTERM))

        start(agent)

        assert handlers == [signal.SIG_DFL]

    def test_a_failure_while_stopping_is_a_failure(self, start: Callable[..., Outcome]) -> None:
        async def agent(config: AgentConfig, identity: str) -> None:
            os.kill(os.getpid(), signal.SIGTERM)
            try:
                await asyncio.Event().wait()
            finally:
                raise BackendError("cannot give the lease back")

        outcome = start(agent)

        assert outcome.code == 1
        assert outcome.errors == ["error: cannot give the lease back"]

    def test_a_wrong_configuration_ends_with_2_and_one_line(self, wrong_file: Path) -> None:
        outcome = invoke("run", "--config", str(wrong_file))

        assert outcome.code == 2
        assert outcome.errors == [
            f'error: {wrong_file}:5: loging: unknown key; did you mean "logging"? '
            f"(and 1 more; see: vnode config check {wrong_file})"
        ]

    @pytest.mark.parametrize(
        ("error", "code", "line"),
        [
            (
                ConfigError("tenant: kubeconfig k: no such file; set it"),
                2,
                "error: tenant: kubeconfig k: no such file; set it",
            ),
            (
                Unreachable("tenant: GET /version: cannot connect: Connection refused"),
                1,
                "error: tenant: GET /version: cannot connect: Connection refused; "
                "check the server address in the kubeconfig and the network on the way to it",
            ),
            (
                Untrusted("tenant: the certificate is for another name; use that one"),
                1,
                "error: tenant: the certificate is for another name; use that one",
            ),
            (
                Unauthorized("Unauthorized", code=401),
                1,
                "error: Unauthorized; renew the credential in the kubeconfig",
            ),
            (
                Forbidden('nodes is forbidden: User "x"\ncannot list', code=403),
                1,
                'error: nodes is forbidden: User "x" cannot list; '
                "grant the right: apply deploy/tenant or run vnode join there, and use the account "
                "that it makes",
            ),
            (
                _refused_by("clusters[0] home"),
                1,
                "error: clusters[0] home: no; grant the right: run vnode join there, and use the "
                "account that it makes",
            ),
            (
                _refused_by("tenant"),
                1,
                "error: tenant: no; grant the right: apply deploy/tenant there, and use the "
                "account that it makes",
            ),
            (
                TooManyRequests("slow down", code=429),
                1,
                "error: slow down; the API server is overloaded; try again later",
            ),
            (
                ServerError("HTTP 503 without a Kubernetes status", code=503),
                1,
                "error: HTTP 503 without a Kubernetes status; "
                "look into the API server's log, or try again later",
            ),
            (
                ApiError("unsupported", code=415),
                1,
                "error: unsupported; the message is the API server's",
            ),
            (
                BackendError("namespace demo--x belongs to somebody else"),
                1,
                "error: namespace demo--x belongs to somebody else",
            ),
            (
                FileNotFoundError(2, "No such file or directory", "/etc/vnode/tls.crt"),
                1,
                "error: /etc/vnode/tls.crt: no such file or directory; "
                "check the path and its permissions",
            ),
        ],
        ids=lambda value: type(value).__name__ if isinstance(value, Exception) else "",
    )
    def test_an_expected_error_is_one_line(
        self, start: Callable[..., Outcome], error: Exception, code: int, line: str
    ) -> None:
        outcome = start(failing_with(error))

        assert outcome.code == code
        assert outcome.errors == [line]

    def test_a_port_in_use_is_named(self, start: Callable[..., Outcome]) -> None:
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]

            async def agent(config: AgentConfig, identity: str) -> None:
                await asyncio.start_server(lambda reader, writer: None, "127.0.0.1", port)

            outcome = start(agent)

        assert outcome.code == 1
        assert outcome.errors == [
            f"error: cannot listen on 127.0.0.1:{port} (address already in use): "
            "end the program that has this port, or set another kubelet.basePort"
        ]

    def test_groups_are_taken_apart(self, start: Callable[..., Outcome]) -> None:
        error = ExceptionGroup(
            "unhandled errors in a TaskGroup",
            [ExceptionGroup("inner", [Unauthorized("Unauthorized", code=401)])],
        )

        outcome = start(failing_with(error))

        assert outcome.code == 1
        assert outcome.errors == ["error: Unauthorized; renew the credential in the kubeconfig"]

    def test_an_unexpected_error_shows_its_traceback_and_a_hint(
        self, start: Callable[..., Outcome]
    ) -> None:
        outcome = start(failing_with(RuntimeError("cannot happen")))

        assert outcome.code == 1
        assert any("Traceback" in line for line in outcome.errors)
        assert any("RuntimeError: cannot happen" in line for line in outcome.errors)
        assert outcome.errors[-1] == (
            "error: this is a bug in vnode, not in your set-up: report it with the lines above"
        )

    def test_an_unexpected_error_beside_an_expected_one_is_not_hidden(
        self, start: Callable[..., Outcome]
    ) -> None:
        error = ExceptionGroup("", [RuntimeError("cannot happen"), BackendError("no namespace")])

        outcome = start(failing_with(error))

        assert outcome.code == 1
        assert any("RuntimeError: cannot happen" in line for line in outcome.errors)
        assert outcome.errors[-1] == "error: no namespace"
