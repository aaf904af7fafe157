"""A compute cluster that plays ACK: nodes that play ECI, and a double of Fluid.

For tests of what runs on paid serverless nodes, where neither Alibaba Cloud nor ack-fluid can be
had. It is made of a cluster of `tests.clusters` with real nodes, and of these:

    FluidDouble   Fluid's CRDs, its webhook (a real MutatingWebhookConfiguration and HTTPS server),
                  and what its dataset, thinruntime and fluidapp controllers do
    Store         "the company's file system": a folder whose files reach containers only through
                  the FUSE program (bindfs) of the sidecar that the webhook injects
    EciNodes      what ECI writes on pods: conditions, annotations, and on command: no stock, spot

How to use it:

    with Store(cluster, folder) as store:
        with FluidDouble(harness, cluster, mount_root=store.mount_root) as fluid:
            store.write("team-a/hello", "hi")
            fluid.apply(store.profile("starfs-profile"))    # the ThinRuntimeProfile
            ...                                             # then volume (CSI, volumeAttributes
                                                            # {path: team-a}), claim, Dataset with
                                                            # pvc://CLAIM, ThinRuntime
            fluid.controllers.binds = False         # from now on no Dataset becomes Bound
            fluid.controllers.ends_sidecars = True  # fluidapp-controller runs; by default nobody
                                                    # ends the sidecars of finished pods
            fluid.webhook.fails_open = True         # pods are admitted as they are, as Fluid's own
                                                    # webhook does when an injection fails
            fluid.webhook.native = True             # sidecars are restartable init containers

Both label dialects are understood: `serverless.fluid.io/inject: "true"` and
`alibabacloud.com/fluid-sidecar-target: eci`. The sidecar is privileged, as open-source Fluid's is:
namespaces of the compute cluster have to allow that (`join(..., privileged=True)`), and pods that
share a Dataset on one node need the annotation
`default.fuse-sidecar.fluid.io/host-mount-path-mode: random-suffix`.

What Fluid does is read from its source at v1.0.8; what ECI does, from its documentation. Neither
was seen here, so a test with them shows what this agent makes of it, not that the service does it.
"""

from tests.standin.eci_nodes import EciNodes
from tests.standin.fluid import FluidDouble
from tests.standin.store import Store

__all__ = ["EciNodes", "FluidDouble", "Store"]
