"""Where kubectl is tried: a tenant with the API server in question and one real node below.

In: a `Server`. Out: a `Site` with a pod `web` that runs through a virtual node. Owned by whoever
enters `site`; leaving it takes everything down.
"""

from __future__ import annotations

import json
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tests.agents import AgentProcess, Federation, MetricsServer, join
from tests.agents.join import join_compute, uid_of
from tests.clusters import ClusterSpec, Harness, ProgramError, programs
from tests.e2e import twins
from tests.e2e.kubectl.ways import Protocol, Server
from tests.e2e.user import User, until
from tests.e2e.workloads import IMAGE, pod

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.clusters import Cluster

GPU = "gpu"
NODE = f"vnode-{GPU}"
_ARGUMENTS = {
    Server.NEW: (),
    Server.OLD: ("--feature-gates=ExtendWebSocketsToKubelet=false",),
}
_ONCE_MORE = """\
if ! test -e /work/again; then touch /work/again; echo before; exit 3; fi
mkdir /work/www; echo served >/work/www/x
echo one; echo two; echo three
exec httpd -f -p 8080 -h /work/www
"""


@dataclass(frozen=True)
class Site:
    """A tenant with a virtual node and its agent."""

    federation: Federation
    user: User
    measured: bool
    """Whether a metrics-server runs in the tenant."""

    def protocols(self, word: str) -> tuple[Protocol | None, Protocol | None]:
        """In what a request with this word was asked of the tenant, and of the compute cluster.

        WebSocket starts with a GET; whoever speaks SPDY to Kubernetes sends a POST.
        """
        return (
            _protocol(self.federation.tenant, word),
            _protocol(self.federation.computes[GPU], word),
        )


@contextmanager
def site(server: Server, directory: Path) -> Iterator[Site]:
    """Start everything; metrics-server only beside the new API server, and only if there is Go."""
    with ExitStack() as stack:
        harness = stack.enter_context(Harness(state=directory / "state"))
        tenant_spec = ClusterSpec("tenant", apiserver_args=_ARGUMENTS[server])
        clusters = twins.up(harness, [tenant_spec, ClusterSpec(GPU, real_nodes=1)])
        tenant = clusters.pop("tenant")
        federation = join(harness, tenant, clusters, directory=directory / "agent")
        stack.enter_context(twins.beside(harness, federation, directory))
        measured = server is Server.NEW and _measure(stack, harness, federation)
        stack.enter_context(AgentProcess(federation)).wait_ready()
        user = User(tenant)
        until(lambda: user.get("serviceaccount", "default"), "the namespace is usable")
        user.apply(_web())
        user.kubectl("wait", "--for=condition=Ready", "pod/web", "--timeout=50s")
        yield Site(federation, user, measured)


def _measure(stack: ExitStack, harness: Harness, federation: Federation) -> bool:
    try:
        program = programs.ensure([programs.METRICS_SERVER], print)[programs.METRICS_SERVER]
    except ProgramError as error:
        print(f"no metrics-server: {error}")
        return False
    join_compute(
        federation.computes[GPU],
        GPU,
        uid=uid_of(federation.tenant),
        config=federation.config,
        directory=federation.directory,
        options=["--usage-kubelet"],
    )
    server = stack.enter_context(
        MetricsServer(
            federation.tenant,
            program,
            address=harness.listen_address,
            port=harness.free_port(),
            directory=federation.directory / "metrics",
        )
    )
    server.serve()
    return True


def _web() -> object:
    """A pod with an init container that ended, a main one that ran twice, and a sidecar."""
    work = {"name": "work", "mountPath": "/work"}
    probe = {"httpGet": {"path": "/x", "port": 8080}, "periodSeconds": 1}
    beside = {"name": "beside", "image": IMAGE, "command": ["sleep", "3600"]}
    return pod(
        "web",
        cluster=GPU,
        command=_ONCE_MORE,
        container={"volumeMounts": [work], "readinessProbe": probe},
        initContainers=[
            {"name": "first", "image": IMAGE, "command": ["echo", "prepared"]},
            {**beside, "restartPolicy": "Always"},
        ],
        volumes=[{"name": "work", "emptyDir": {}}],
    )


def _protocol(cluster: Cluster, word: str) -> Protocol | None:
    assert cluster.audit_log is not None
    with cluster.audit_log.open() as log:
        for line in log:
            if word in line and "requestURI" in line:
                entry = json.loads(line)
                if word in entry["requestURI"]:
                    verb = entry["verb"]
                    return Protocol.WEBSOCKET if verb == "get" else Protocol.SPDY
    return None
