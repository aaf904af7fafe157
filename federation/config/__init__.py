"""Typed configuration of the agent: one YAML file in, one frozen `AgentConfig` out.

* `values`    scalars: durations, quantities, names, paths
* `compute`   what compute clusters of every kind have
* `clusters`  what stands under `clusters:` for Kubernetes (pools, policy, capacity)
* `eci_nodes` what stands under `pools[].eciNodes` of a Kubernetes cluster
* `fluid`     what stands under `policy.fluid`
* `eci`       the same as `clusters` for Alibaba Cloud ECI
* `agent`     the whole document, checks across sections, the virtual nodes that follow from it
* `file`      reading, and errors that name file, line, key and the way out

Keys are camelCase in YAML and snake_case in Python. Nothing here opens a connection or reads a file
other than the configuration; `config/schema.json` is generated from the models.
"""

from federation.config.agent import (
    AgentConfig,
    AnyClusterConfig,
    ApiServerConfig,
    CertificateConfig,
    CertificateSource,
    KubeletConfig,
    LeaderElectionConfig,
    LimitsConfig,
    LogFormat,
    LoggingConfig,
    LogLevel,
    TenantConfig,
    VirtualNode,
    config_schema,
)
from federation.config.clusters import (
    CapacityConfig,
    CapacitySourceKind,
    ClusterConfig,
    NamespaceCreation,
    NamespaceReclaim,
    NamespacesConfig,
    OverlayConfig,
    PodPolicyConfig,
    PoolConfig,
    Toleration,
)
from federation.config.compute import ComputeKind, NetworkMode, Taint, TaintEffect
from federation.config.eci import (
    EciClusterConfig,
    EciPodPolicyConfig,
    EciPoolConfig,
    InstanceTypeConfig,
    SpotConfig,
)
from federation.config.eci_nodes import EciNodesConfig, FailStrategy
from federation.config.file import ConfigFileError, ConfigProblem, load_config
from federation.config.fluid import CopiedVolume, FluidConfig, GroupFluidConfig

__all__ = [
    "AgentConfig",
    "AnyClusterConfig",
    "ApiServerConfig",
    "CapacityConfig",
    "CapacitySourceKind",
    "CertificateConfig",
    "CertificateSource",
    "ClusterConfig",
    "ComputeKind",
    "ConfigFileError",
    "ConfigProblem",
    "CopiedVolume",
    "EciClusterConfig",
    "EciNodesConfig",
    "EciPodPolicyConfig",
    "EciPoolConfig",
    "FailStrategy",
    "FluidConfig",
    "GroupFluidConfig",
    "InstanceTypeConfig",
    "KubeletConfig",
    "LeaderElectionConfig",
    "LimitsConfig",
    "LogFormat",
    "LogLevel",
    "LoggingConfig",
    "NamespaceCreation",
    "NamespaceReclaim",
    "NamespacesConfig",
    "NetworkMode",
    "OverlayConfig",
    "PodPolicyConfig",
    "PoolConfig",
    "SpotConfig",
    "Taint",
    "TaintEffect",
    "TenantConfig",
    "Toleration",
    "VirtualNode",
    "config_schema",
    "load_config",
]
