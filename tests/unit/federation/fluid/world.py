"""A tenant, a compute cluster with Fluid, and the one who brings claims from here to there."""

import random
from collections.abc import Collection
from typing import Any

from federation.backends.kubernetes.translate.names import NamespaceMapping
from federation.backends.kubernetes.translate.policy import PvcMode, TranslationPolicy
from federation.claims.objects import PERSISTENT_VOLUMES, Claim
from federation.config import CopiedVolume, FluidConfig
from federation.fluid.datasets import FluidClaims
from federation.fluid.objects import (
    DAEMON_SETS,
    DATASETS,
    ClaimBelow,
    FluidObject,
)
from tests.builders import NODE, OWNER, make_pod
from tests.fakes.client import RecordingClient
from tests.fakes.clock import LoopClock
from tests.unit.federation.compute import Compute
from tests.unit.federation.fluid.builders import (
    ALLOWED,
    BELOW,
    PROFILE,
    make_volume,
)
from vnode.backend import PodEvent, Waiting
from vnode.kube.client import KubeClient
from vnode.kube.decode import decode
from vnode.kube.errors import Unreachable
from vnode.kube.resources import PERSISTENT_VOLUME_CLAIMS, SECRETS
from vnode.kube.types import ObjectKey, PartialObject, Pod, encode
from vnode.runtime.store import Store

KEY = ObjectKey("team-a", "data")
MOUNT: dict[str, Any] = {"name": "v", "persistentVolumeClaim": {"claimName": "data"}}
MAIN = {"name": "main", "image": "x", "volumeMounts": [{"name": "v", "mountPath": "/data"}]}
"""A container that mounts it."""
CONFIG = FluidConfig(
    profiles=(PROFILE,),
    volumes=(
        CopiedVolume(
            driver=ALLOWED.driver,
            volume_handles=ALLOWED.volume_handles,
            attributes=dict(ALLOWED.attributes),
        ),
    ),
    linger="60s",  # type: ignore[arg-type]
)
CUT = Unreachable("cut")
PV = "vnode-4312b39a00a68ce7"
DS = "vnode-756147115e4dcc72"


class World:
    """A tenant, a compute cluster with Fluid, and the one who brings claims from here to there."""

    def __init__(self, config: FluidConfig = CONFIG) -> None:
        self.tenant = RecordingClient()
        self.claims: Store[Claim] = Store("claims")
        self.secrets: Store[PartialObject] = Store("secrets")
        self.pods: Store[Pod] = Store("pods")
        self.fluid: FluidClaims

        def made(client: KubeClient) -> FluidClaims:
            self.fluid = FluidClaims(
                client,
                self.tenant.client,
                cluster="gpu",
                claims=self.claims,
                secrets=self.secrets,
                pods=self.pods,
                nodes={NODE},
                pods_synced=lambda: True,
                config=config,
                owner=OWNER,
                mapping=NamespaceMapping("red"),
                clock=LoopClock(),
                rng=random.Random(1),
            )
            return self.fluid

        policy = TranslationPolicy(pvc=PvcMode.FLUID)
        self.compute = Compute(policy=policy, prepared_claims=made)
        self.below = self.fluid._below
        self.opened: list[str] = []
        self.told: list[PodEvent] = []
        self.compute.backend.subscribe_events(self.told.append)
        self.compute.backend.subscribe_places(self.opened.append)
        self.compute.client.on_change.append(self._heard)

    def _heard(self, plural: str, body: Any, exists: bool) -> None:
        kinds: dict[str, tuple[Store[Any], Any]] = {
            "persistentvolumeclaims": (self.below.claims, ClaimBelow),
            "datasets": (self.below.datasets, FluidObject),
            "thinruntimes": (self.below.runtimes, PartialObject),
            "dataloads": (self.below.loads, FluidObject),
        }
        if plural in kinds and body["metadata"].get("labels", {}).get("vnode.dev/tenant"):
            store, kind = kinds[plural]
            value = decode(encode(body), kind)
            if exists:
                store.upsert(value, scope=BELOW)
            else:
                store.remove(value.metadata.key, last=value)

    async def open(self) -> None:
        await self.compute.open()
        for store in (
            self.below.claims,
            self.below.datasets,
            self.below.runtimes,
            self.below.loads,
        ):
            store.mark_synced(BELOW)

    def have(self, claim: Claim, volume: Any = None) -> None:
        self.claims.upsert(claim)
        self.tenant.put(PERSISTENT_VOLUMES, volume or make_volume(uid=claim.metadata.uid))

    def have_secret(self, value: str) -> None:
        """The one that the volume of a claim names, in the tenant."""
        body = {"metadata": {"name": "key", "namespace": "team-a"}, "data": {"key": value}}
        made = self.tenant.put(SECRETS, body)
        self.secrets.upsert(decode(encode(made), PartialObject))

    def event(self) -> list[str]:
        """Reasons of what was said of pods since the last call."""
        told = [event.reason for event in self.told]
        self.told.clear()
        return told

    def want(self, pod: Pod | None = None) -> Pod:
        pod = pod or make_pod(volumes=[MOUNT], containers=[MAIN], nodeName=NODE)
        self.pods.upsert(pod)
        return pod

    async def settle(self) -> float | None:
        return (await self.fluid.reconcile(KEY)).requeue_after

    def bind(self, volume: str = "") -> None:
        """What Kubernetes does with the claim and its volume."""

        def bound(body: Any) -> None:
            name = volume or body["spec"]["selector"]["matchLabels"]["vnode.dev/volume"]
            body["spec"]["volumeName"], body["status"] = name, {"phase": "Bound"}

        self.compute.client.edit(PERSISTENT_VOLUME_CLAIMS, ObjectKey(BELOW, "data"), bound)

    def serve(self) -> None:
        """What Fluid does with the Dataset."""
        client = self.compute.client
        client.edit(
            DATASETS, ObjectKey(BELOW, DS), lambda body: body.update(status={"phase": "Bound"})
        )
        client.put(DAEMON_SETS, {"metadata": {"name": f"{DS}-fuse", "namespace": BELOW}})
        client.put(
            PERSISTENT_VOLUME_CLAIMS,
            {"metadata": {"name": DS, "namespace": BELOW}, "status": {"phase": "Bound"}},
        )

    async def ready(self) -> None:
        await self.settle()
        self.bind()
        await self.settle()
        self.serve()
        await self.settle()

    def why(self) -> str:
        try:
            self.fluid.require("team-a", ["data"])
        except Waiting as waiting:
            return waiting.reason if BELOW not in str(waiting) else "tells a name of the cluster"
        return ""

    def there(self) -> set[str]:
        """Kinds of what lies below of ours."""
        return {resource.kind for resource, _ in self.below.of(KEY)} | (
            {"PersistentVolume"}
            if self.compute.client.get_body(PERSISTENT_VOLUMES, ObjectKey("", PV))
            else set()
        )


def inject(body: Any, claims: Collection[str] = ("data",)) -> None:
    """What Fluid's webhook does to a pod that asks for it; `claims`: those that have a Dataset."""
    if body["metadata"]["labels"].get("serverless.fluid.io/inject") != "true":
        return
    body["metadata"]["labels"]["done.sidecar.fluid.io/inject"] = "true"
    spec = body["spec"]
    for index, claim in enumerate(claims):
        for volume in spec["volumes"]:
            if volume.get("persistentVolumeClaim", {}).get("claimName") == claim:
                del volume["persistentVolumeClaim"]
                volume["hostPath"] = {"path": f"/runtime-mnt/{claim}"}
                mounts = [m["name"] for c in spec["containers"] for m in c.get("volumeMounts", ())]
                if volume["name"] in mounts:
                    sidecar = {"name": f"fluid-fuse-{index}", "image": "fuse"}
                    spec["containers"].insert(0, sidecar)
