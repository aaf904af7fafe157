"""Agents as their users run them, against clusters of `tests.clusters`.

`join` applies the manifests of deploy/ (nothing else gives rights), makes the agent's two kinds of
credentials, and writes a configuration; `AgentProcess` runs `vnode run` with it. `MetricsServer` is
what users put beside it to see what their pods use.
"""

from tests.agents.join import Federation, join
from tests.agents.metrics_server import MetricsServer
from tests.agents.process import AgentError, AgentProcess

__all__ = ["AgentError", "AgentProcess", "Federation", "MetricsServer", "join"]
