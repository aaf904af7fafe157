"""A double of Fluid in one compute cluster: CRDs, webhook, controllers, and the switches of all.

In: a cluster of the harness. Out: Datasets that become Bound and pods that get sidecars, until
`stop`. What each part does is in `webhook` and `controllers`.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from tests.clusters.errors import UnsupportedError
from tests.standin.controllers import Controllers
from tests.standin.crds import crds
from tests.standin.webhook import Webhook

if TYPE_CHECKING:
    from pathlib import Path
    from types import TracebackType

    from tests.clusters import Cluster, Harness


class FluidDouble:
    """Runs from `start` to `stop`, or as a context manager."""

    def __init__(self, harness: Harness, cluster: Cluster, *, mount_root: Path) -> None:
        """`mount_root`: MOUNT_ROOT of Fluid, such as `Store.mount_root`."""
        plane = cluster.control_plane
        if plane is None:
            raise UnsupportedError(f"{cluster.name} was not started here")
        self._cluster = cluster
        self.webhook = Webhook(
            plane.client, address=harness.listen_address, port=harness.free_port()
        )
        self.controllers = Controllers(cluster, plane.client, mount_root=mount_root)

    def __enter__(self) -> FluidDouble:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Install the CRDs, then begin."""
        definitions = crds()
        self.apply(*definitions)
        names = [f"crd/{definition['metadata']['name']}" for definition in definitions]
        self._cluster.kubectl("wait", "--for=condition=Established", "--timeout=30s", *names)
        self.webhook.start()
        self.controllers.start()

    def stop(self) -> None:
        """The API server asks nobody any more; objects stay."""
        self.controllers.stop()
        self.webhook.stop()

    def apply(self, *objects: Any) -> None:
        """Create or change objects of the compute cluster."""
        manifest = {"apiVersion": "v1", "kind": "List", "items": list(objects)}
        self._cluster.kubectl("apply", "--server-side", "-f", "-", input=json.dumps(manifest))
