import dataclasses

import pytest

from tests.unit.kubelet.conftest import Kubelet
from vnode.kubelet.streams import run

RUN = "/run/team/web/main?cmd="


@pytest.fixture
def kubelet(kubelet: Kubelet) -> Kubelet:
    """Of a backend with sessions."""
    kubelet.backend.capabilities = dataclasses.replace(
        kubelet.backend.capabilities, upgrade_streams=False, session_streams=True
    )
    return kubelet


async def test_a_command_is_run_and_its_output_returned(kubelet: Kubelet) -> None:
    assert await kubelet.ask(f"{RUN}say+out+err+0", method="POST") == (200, "outerr")
    (session,) = kubelet.backend.sessions
    assert session.closed.is_set()
    (asked,) = kubelet.backend.streams
    assert list(asked.command) == ["say", "out", "err", "0"]


async def test_a_command_that_fails_is_an_error_with_what_it_said(kubelet: Kubelet) -> None:
    status, text = await kubelet.ask(f"{RUN}say+out+err+3", method="POST")
    assert (status, text) == (500, "command 'say out err 3' exited with 3: err")


async def test_more_output_than_an_answer_should_hold_is_an_error(
    kubelet: Kubelet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run, "_LARGEST_OUTPUT", 1000)
    status, text = await kubelet.ask(f"{RUN}flood+1", method="POST")
    assert (status, text) == (500, "the output is larger than 16 MiB; use exec")
    assert kubelet.backend.sessions[0].closed.is_set()


@pytest.mark.parametrize(
    ("path", "code", "text"),
    [
        ("/run/team/gone/main?cmd=x", 404, 'pod "gone" does not exist'),
        ("/run/team/web/uid-2/main?cmd=x", 404, 'pod "web" does not exist'),
        ("/run/team/web/main?cmd=none", 500, 'executable "none" not found'),
    ],
)
async def test_what_cannot_be_run_says_why(
    kubelet: Kubelet, path: str, code: int, text: str
) -> None:
    assert await kubelet.ask(path, method="POST") == (code, text)


async def test_a_client_that_leaves_ends_the_command(kubelet: Kubelet) -> None:
    client = await kubelet.dial("apiserver")
    client.writer.write(f"POST {RUN}sleep HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    await kubelet.backend.asked.wait()
    assert kubelet.sessions.statistics().open == 1
    await client.close()
    await kubelet.sessions.wait_ended(kubelet.server._node)
    assert kubelet.backend.sessions[0].closed.is_set()


async def test_a_backend_that_hands_on_connections_does_not_run_commands(kubelet: Kubelet) -> None:
    kubelet.backend.capabilities = dataclasses.replace(
        kubelet.backend.capabilities, upgrade_streams=True
    )
    status, text = await kubelet.ask(f"{RUN}say+a+b+0", method="POST")
    assert (status, text) == (501, "this virtual node does not serve /run; use exec")
