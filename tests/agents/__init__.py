"""Agents as their users run them, against clusters of `tests.clusters`.

`join` applies the manifests of deploy/ (nothing else gives rights), makes the agent's two kinds of
credentials, and writes a configuration; `AgentProcess` runs `vnode run` with it.
"""

from tests.agents.join import Federation, join
from tests.agents.process import AgentError, AgentProcess

__all__ = ["AgentError", "AgentProcess", "Federation", "join"]
