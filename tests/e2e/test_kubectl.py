"""kubectl's verbs that reach into containers, through a virtual node: the rows of docs/kubectl.md.

Every test here is tried by all ways of its row (`tests.e2e.kubectl.ways`): with a new and an old
kubectl, over WebSocket and SPDY, through an API server that speaks WebSocket to nodes and one that
does not. `python -m tests.e2e.kubectl` runs them and writes the page.
"""

from __future__ import annotations

import os
import re
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest

from tests.clusters import ProgramError, can_run_containers, programs
from tests.clusters.existing import requested
from tests.e2e.kubectl import site as sites
from tests.e2e.kubectl.client import Kubectl, Terminal
from tests.e2e.kubectl.ways import PLAIN, Server, Way, shows
from tests.e2e.user import until
from tests.e2e.workloads import IMAGE, pod

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.e2e.kubectl.site import Site

pytestmark = [pytest.mark.apart, pytest.mark.containers]

ECHO = 'while read -r line; do echo "got:$line"; stty size; done'


@pytest.fixture(scope="module")
def site(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Site]:
    """The clusters of one way."""
    possible, why = can_run_containers()
    if requested() or not possible:
        pytest.skip(f"tried on real nodes started here only: {why or 'clusters given'}")
    server: Server = request.param
    with sites.site(server, tmp_path_factory.mktemp("kubectl")) as made:
        yield made


@pytest.fixture
def kubectl(request: pytest.FixtureRequest, site: Site) -> Kubectl:
    """kubectl as the way says."""
    way: Way = request.param
    try:
        found = programs.ensure([way.program], print, installed_kubectl=False)
    except ProgramError as error:
        pytest.skip(f"no kubectl {way.version}: {error}")
    return Kubectl(site.federation.tenant, way, found[way.program])


def _unique(kubectl: Kubectl, word: str) -> str:
    """A name for what one test makes by one way."""
    return f"{word}-{re.sub('[^a-z0-9]+', '-', str(kubectl.way).lower())}"


def _start(kubectl: Kubectl, name: str, **spec: Any) -> None:
    kubectl.user.apply(pod(name, cluster=sites.GPU, **spec))
    kubectl.user.wait_phase(name, "Running")


# --- exec and cp ----------------------------------------------------------------------------------


@shows("exec", "output, errors, exit code")
def test_exec_brings_output_errors_and_the_exit_code(kubectl: Kubectl) -> None:
    command = ("sh", "-c", "echo out; echo err >&2; exit 7")
    done = kubectl.run("exec", "web", "-c", "main", "--", *command)
    assert done.returncode == 7
    assert done.stdout == b"out\n"
    assert done.stderr == b"err\ncommand terminated with exit code 7\n"


@shows("exec", "the protocols are those of the column, from kubectl to the compute cluster")
def test_the_protocols_are_those_of_the_way(kubectl: Kubectl, site: Site) -> None:
    word = _unique(kubectl, "protocol")
    kubectl.says("exec", "web", "--", "echo", word)
    way = kubectl.way
    until(lambda: site.protocols(word)[1], "it was written down")
    assert site.protocols(word) == (way.client, way.node)


@shows("exec -c", "another container, a sidecar")
def test_exec_finds_a_sidecar(kubectl: Kubectl) -> None:
    assert kubectl.says("exec", "web", "-c", "beside", "--", "cat", "/proc/1/cmdline") == (
        "sleep\x003600\x00"
    )


@shows("exec -i", "a megabyte of input and its end, unharmed")
def test_exec_takes_input_to_its_end(kubectl: Kubectl) -> None:
    sent = os.urandom(1 << 20)
    done = kubectl.run("exec", "-i", "web", "--", "cat", stdin=sent)
    assert (done.returncode, done.stdout == sent) == (0, True)


@shows("exec -it", "a terminal, its size and changes of it, Ctrl-C")
def test_exec_gives_a_terminal_that_can_be_resized(kubectl: Kubectl) -> None:
    look = "while :; do stty size; sleep 0.1; done"
    with kubectl.at_terminal("exec", "-it", "web", "--", "sh", "-c", look) as (terminal, process):
        terminal.read_until("24 80")
        terminal.resize(33, 101)
        terminal.read_until("33 101")
        terminal.type("\x03")
        assert process.wait(20) == 130


@shows("exec", "a command that is not there")
def test_a_command_that_is_not_there_is_named(kubectl: Kubectl) -> None:
    done = kubectl.run("exec", "web", "--", "no-such-command")
    assert done.returncode not in (0, 7)
    assert b"no-such-command" in done.stderr


@shows("cp", "3 MB to a container and back, unharmed")
def test_files_are_copied_both_ways(kubectl: Kubectl, tmp_path: Path) -> None:
    there, back = tmp_path / "there", tmp_path / "back"
    there.write_bytes(os.urandom(3_000_000))
    kubectl.says("cp", str(there), "web:/tmp/blob")
    kubectl.says("cp", "web:/tmp/blob", str(back))
    assert back.read_bytes() == there.read_bytes()


# --- attach, run, debug ---------------------------------------------------------------------------


@shows("attach -i", "input to and output of the main process")
def test_attach_talks_to_the_main_process(kubectl: Kubectl) -> None:
    name = _unique(kubectl, "talk")
    command = 'while read -r line; do echo "got:$line"; done; sleep 3600'
    _start(kubectl, name, command=command, container={"stdin": True})
    with kubectl.beside("attach", "-q", "-i", name) as attached:
        assert attached.stdin is not None
        assert attached.stdout is not None
        attached.stdin.write(b"ping\n")
        attached.stdin.flush()
        assert attached.stdout.readline() == b"got:ping\n"


@shows("attach -it", "a terminal, changes of its size")
def test_attach_gives_a_terminal_that_can_be_resized(kubectl: Kubectl) -> None:
    name = _unique(kubectl, "terminal")
    _start(kubectl, name, command=ECHO, container={"stdin": True, "tty": True})
    with kubectl.at_terminal("attach", "-q", "-it", name) as (terminal, _):
        terminal.type("ping\n")
        terminal.read_until("got:ping")
        # kubectl makes the terminal larger for a moment, so that a program draws itself anew.
        until(lambda: _size(terminal) == "24 80", "the process knows the size")
        terminal.resize(33, 101)
        until(lambda: _size(terminal) == "33 101", "the process knows the new size")


def _size(terminal: Terminal) -> str:
    """What the process says of its terminal now."""
    terminal.type("again\n")
    terminal.read_until("got:again\r\n")
    return terminal.read_until("\r\n")


@shows("run -it --rm", "a pod for one command at a terminal: its exit code, and it goes")
def test_run_makes_a_pod_and_removes_it(kubectl: Kubectl) -> None:
    name = _unique(kubectl, "once")
    overrides = '{"spec": {"nodeSelector": {"vnode.dev/cluster": "gpu"}}}'
    command = ("sh", "-c", 'read -r line; echo "got:$line"; exit 4')
    options = ("--rm", "--restart=Never", f"--image={IMAGE}", f"--overrides={overrides}")
    with kubectl.at_terminal("run", "-it", name, *options, "--", *command) as (terminal, process):
        terminal.read_until("try pressing enter")
        terminal.type("ping\n")
        terminal.read_until("got:ping")
        terminal.read_until("deleted")
        assert process.wait(20) == 4
    kubectl.user.wait_gone("pod", name)


@shows("debug -it", "an ephemeral container: its terminal, afterwards its log")
def test_debug_puts_a_container_into_a_running_pod(kubectl: Kubectl) -> None:
    name = _unique(kubectl, "look")
    command = ("sh", "-c", 'read -r line; echo "got:$line:$(hostname)"')
    options = (f"--image={IMAGE}", "--profile=baseline", f"--container={name}")
    with kubectl.at_terminal("debug", "-it", "web", *options, "--", *command) as (terminal, _):
        terminal.read_until("try pressing enter")
        terminal.type("ping\n")
        terminal.read_until("got:ping:web")
    until(lambda: "got:ping:web" in kubectl.says("logs", "web", "-c", name), "it has a log")


# --- port-forward ---------------------------------------------------------------------------------


@shows("port-forward", "eight HTTP connections, four at a time")
def test_port_forward_carries_connections_beside_each_other(kubectl: Kubectl) -> None:
    with kubectl.beside("port-forward", "pod/web", ":8080") as forward:
        assert forward.stdout is not None
        port = forward.stdout.readline().decode().split(":")[1].split()[0]

        def fetch(_: int) -> bytes:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/x", timeout=20) as answer:
                body: bytes = answer.read()
                return body

        with ThreadPoolExecutor(4) as pool:
            assert list(pool.map(fetch, range(8))) == [b"served\n"] * 8


# --- logs and usage -------------------------------------------------------------------------------


@shows("logs", "of the only, of a named, of an init container", ways=PLAIN)
def test_logs_are_those_of_the_container(kubectl: Kubectl) -> None:
    assert kubectl.says("logs", "web") == "one\ntwo\nthree\n"
    assert kubectl.says("logs", "web", "-c", "main") == "one\ntwo\nthree\n"
    assert kubectl.says("logs", "web", "-c", "first") == "prepared\n"


@shows("logs --all-containers --prefix", "each line with its container", ways=PLAIN)
def test_logs_of_all_containers_have_their_names(kubectl: Kubectl) -> None:
    lines = kubectl.says("logs", "web", "--all-containers", "--prefix").splitlines()
    assert "[pod/web/first] prepared" in lines
    assert "[pod/web/main] three" in lines


@shows("logs -f", "line by line, to the container's end", ways=PLAIN)
def test_logs_are_followed_to_the_end(kubectl: Kubectl) -> None:
    name = _unique(kubectl, "talker")
    command = "for i in 1 2 3 4; do echo line $i; sleep 0.5; done"
    _start(kubectl, name, command=command, restartPolicy="Never")
    assert kubectl.says("logs", "-f", name) == "line 1\nline 2\nline 3\nline 4\n"


@shows("logs --previous", "of the container before its restart", ways=PLAIN)
def test_logs_of_the_container_before_are_kept(kubectl: Kubectl) -> None:
    assert kubectl.says("logs", "web", "--previous") == "before\n"


@shows("logs --tail --limit-bytes", "a part", ways=PLAIN)
def test_logs_can_be_limited(kubectl: Kubectl) -> None:
    assert kubectl.says("logs", "web", "--tail=2") == "two\nthree\n"
    assert kubectl.says("logs", "web", "--limit-bytes=5") == "one\nt"


@shows("logs --timestamps --since-time", "the time of each line", ways=PLAIN)
def test_logs_have_times(kubectl: Kubectl) -> None:
    lines = kubectl.says("logs", "web", "--timestamps").splitlines()
    times = [line.split(" ")[0] for line in lines]
    assert times == sorted(times)
    assert all(re.fullmatch(r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+Z", time) for time in times)
    assert kubectl.says("logs", "web", "--since-time=2099-01-01T00:00:00Z") == ""


@shows("top", "CPU and memory of pod and virtual node, with metrics-server", ways=PLAIN)
def test_top_shows_pod_and_node(kubectl: Kubectl, site: Site) -> None:
    if not site.measured:
        pytest.skip("no metrics-server")

    def shown(*what: str) -> object:
        done = kubectl.run("top", *what, "--no-headers")
        return re.search(rb"\d+m\b.* \d+Mi\b", done.stdout)

    until(lambda: shown("pod", "web"), "the pod has figures", timeout=60, every=1)
    until(lambda: shown("node", sites.NODE), "the node has figures", timeout=60, every=1)
