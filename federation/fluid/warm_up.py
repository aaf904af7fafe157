"""Reading ahead: a DataLoad for the value of a claim's annotation `vnode.dev/warm-up`.

In: claims whose Dataset is ready. Out: one DataLoad for each, which says that it was read ahead and
so stays; those of older values go, whether or not they have ended; events on the pods that want the
claim.
Open-source Fluid (v1.0.8) cannot load what a ThinRuntime serves, and says Failed at once
(pkg/ddc/thin/operate.go), and a cluster may refuse one; users are told, and pods run all the same.
"""

from collections.abc import Callable, Iterable

from cachetools import LRUCache

from federation.fluid import build
from federation.fluid.below import Below
from federation.fluid.build import Wish
from federation.fluid.names import WARM_UP, load_name
from federation.fluid.objects import DATA_LOADS, FluidObject
from vnode.backend import NameConflict, PodEvent
from vnode.kube.errors import KubeError
from vnode.kube.types import UID, NodeName, Pod

_REMEMBERED = 4096
_FAILED = "Failed"


class WarmUps:
    """Asks for them, and tells what became of them, once for each phase."""

    def __init__(self, below: Below) -> None:
        self._below = below
        self._told: dict[UID, str] = {}
        self._refused: LRUCache[UID, str] = LRUCache(_REMEMBERED)
        """By claim, what was asked for when the cluster refused it last."""

    async def ask(self, wish: Wish, pods: Iterable[Pod], say: Callable[[PodEvent], None]) -> bool:
        """What the claim's annotation wants; False: the cluster did not take it, ask again."""
        asked = wish.claim.metadata.annotations.get(WARM_UP)
        try:
            await self._remove_others(wish, load_name(wish.uid, asked) if asked else "")
            if not asked:
                return True
            load = await self._below.make(
                DATA_LOADS, build.data_load(wish, asked), FluidObject, self._below.loads
            )
        except (KubeError, NameConflict):
            if asked and self._refused.get(wish.uid) != asked:
                self._refused[wish.uid] = asked
                _tell(wish, pods, say, _FAILED)
            return False
        self._refused.pop(wish.uid, None)
        uid, phase = load.metadata.uid, load.status.phase
        if phase and self._told.get(uid) != phase:
            self._told[uid] = phase
            _tell(wish, pods, say, phase)
        return True

    async def _remove_others(self, wish: Wish, name: str) -> None:
        """Loads of other values go first: a quota may have room for one. Raises KubeError."""
        for load in self._below.loads_of(wish.claim.metadata.key):
            if load.metadata.name != name:
                await self._below.remove(DATA_LOADS, load)
                self.forget(load.metadata.uid)

    def forget(self, load: UID) -> None:
        """It is gone."""
        self._told.pop(load, None)


def _tell(wish: Wish, pods: Iterable[Pod], say: Callable[[PodEvent], None], phase: str) -> None:
    for pod in pods:
        say(_event(pod, wish.claim.metadata.name, phase))


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
