"""Reading ahead: a DataLoad for each new value of a claim's annotation `vnode.dev/warm-up`.

In: claims whose Dataset is ready. Out: DataLoads, and events on the pods that want the claim.
Open-source Fluid (v1.0.8) cannot load what a ThinRuntime serves, and says Failed at once
(pkg/ddc/thin/operate.go); users are told, and pods run all the same.
"""

from collections.abc import Callable, Iterable

from federation.fluid import build
from federation.fluid.below import Below
from federation.fluid.build import Wish
from federation.fluid.names import WARM_UP
from federation.fluid.objects import DATA_LOADS, FluidObject
from vnode.backend import PodEvent
from vnode.kube.types import UID, NodeName, Pod

_FAILED = "Failed"


class WarmUps:
    """Asks for them, and tells what became of them, once for each phase."""

    def __init__(self, below: Below) -> None:
        self._below = below
        self._told: dict[UID, str] = {}

    async def ask(self, wish: Wish, pods: Iterable[Pod], say: Callable[[PodEvent], None]) -> None:
        """What the claim's annotation wants. Raises KubeError, NameConflict."""
        asked = wish.claim.metadata.annotations.get(WARM_UP)
        if not asked:
            return
        load = await self._below.make(
            DATA_LOADS, build.data_load(wish, asked), FluidObject, self._below.loads
        )
        uid, phase = load.metadata.uid, load.status.phase
        if not phase or self._told.get(uid) == phase:
            return
        self._told[uid] = phase
        for pod in pods:
            say(_event(pod, wish.claim.metadata.name, phase))

    def forget(self, load: UID) -> None:
        """It is gone."""
        self._told.pop(load, None)


def _event(pod: Pod, claim: str, phase: str) -> PodEvent:
    failed = phase == _FAILED
    why = "; Fluid cannot do it for every file system, and the pod runs without" if failed else ""
    return PodEvent(
        key=pod.metadata.key,
        uid=pod.metadata.uid,
        node=NodeName(""),
        type="Warning" if failed else "Normal",
        reason=f"WarmUp{phase}",
        message=f'reading ahead PersistentVolumeClaim "{claim}": {phase}{why}',
    )
