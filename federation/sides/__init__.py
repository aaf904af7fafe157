"""Compute clusters by kind: what the agent needs of each beside the seam (`vnode.backend`).

* `side`        the Protocols `Compute` (as long as the agent lives) and `Side` (while it leads)
* `kubernetes`  a Kubernetes cluster, by its API server
* `eci`         an account of Alibaba Cloud ECI in one region, by its OpenAPI
* `connecting`  from the configuration to one of them

`federation.agent` makes a `Compute` of each entry of the configuration; `federation.cluster` has
the task group that is the same for all kinds, and asks a `Side` for what differs.
"""
