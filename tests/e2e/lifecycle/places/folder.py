"""Folders with processes: the backend that docs/backends.md builds, as it stands there.

Its processes are real: tests end them by the file that their program waits for, or by signals.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import tempfile
from collections import Counter
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, cast

from tests.clusters.processes import Identity
from tests.e2e.lifecycle.needs import Need
from tests.e2e.lifecycle.place import Copy
from tests.e2e.lifecycle.tenant import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from tests.agents.pods import RunningBackend
    from vnode.backend import Capabilities
    from vnode.kube.config import Connection
    from vnode.kube.types import UID, NodeName
    from vnode.runtime.clock import Clock

_DELETED = " (deleted)"
"""What the kernel puts behind a folder that is gone."""
PAGE = Path(__file__).resolve().parents[4] / "docs" / "backends.md"


@cache
def folder_backend() -> Any:
    """The class of the page."""
    names: dict[str, Any] = {"__name__": "page"}
    for block in re.findall(r"^```python run\n(.*?)^```$", PAGE.read_text(), re.M | re.S):
        exec(compile(block, str(PAGE), "exec"), names)
        if "FolderBackend" in names:
            return names["FolderBackend"]
    raise AssertionError("the page has no FolderBackend")


class FolderPlace:
    """See `tests.e2e.lifecycle.place.Place`."""

    name: ClassVar = "folder"
    capabilities: ClassVar[Capabilities] = folder_backend().capabilities
    lacks: ClassVar = frozenset(
        {
            Need.TOKEN_REFRESH,
            Need.SECRET_OBJECTS,
            Need.CLUSTER_DNS,
            Need.START_GATES,
            Need.UPDATES,
            Need.UNPLACED,
            Need.LINK,
        }
    )
    quota_reason: ClassVar = "NoSlot"
    brings_images: ClassVar = False

    def __init__(self, root: Path, namespace: str, tenant: UID) -> None:
        self._root = root.resolve()
        self._namespace = namespace
        self._tenant = tenant
        self._slots = 100
        self._views: list[Any] = []
        self._made: Counter[str] = Counter()

    @classmethod
    @contextlib.asynccontextmanager
    async def at(
        cls, compute: Connection, namespace: str, *, cluster_uid: UID, node: NodeName
    ) -> AsyncIterator[FolderPlace]:
        """Of one test."""
        with tempfile.TemporaryDirectory(prefix="vnode-folders-") as made:
            place = cls(Path(made), namespace, cluster_uid)
            try:
                yield place
            finally:
                await _end_within(place._root)

    @contextlib.asynccontextmanager
    async def open(self, clock: Clock) -> AsyncIterator[RunningBackend]:
        view = folder_backend()(self._root, tenant=self._tenant, slots=self._slots)
        make = view._make

        def counted(request: Any, folder: Path) -> Any:
            self._made[request.pod.metadata.uid] += 1
            return make(request, folder)

        view._make = counted
        self._views.append(view)
        yield cast("RunningBackend", view)
        self._views.remove(view)

    def _folder(self, name: str) -> Path:
        return self._root / self._namespace / name

    async def copy(self, name: str) -> Copy | None:
        folder = self._folder(name)
        try:
            made = json.loads((folder / "copy.json").read_text())
        except OSError:
            return None
        try:
            grace = json.loads((folder / "deleting").read_text())["grace"]
        except OSError:
            grace = None
        return Copy(made["uid"], made["handle"], grace is not None, grace)

    async def made(self, uid: str) -> int:
        return self._made[uid]

    async def ran(self, uid: str) -> int:
        return self._made[uid]

    async def start(self, name: str) -> None:
        await until(lambda: (self._folder(name) / "ready").exists(), f"{name} runs by itself")

    async def end(self, name: str, *, exit_code: int = 0) -> None:
        folder, ends = self._folder(name), await self.copy(name)
        (folder / ".end").write_text(str(exit_code))
        (folder / ".end").rename(folder / "end")

        async def has_ended() -> bool:
            now = await self.copy(name)  # A successor may be there between two looks.
            other = now is None or ends is None or now.handle != ends.handle
            return other or (folder / "ended").exists()

        await until(has_ended, f"{name} has ended")

    async def finish_deletion(self, name: str) -> None:
        copy = await self.copy(name)
        if copy is None or not copy.deleting:
            return  # Its time was over before.
        with contextlib.suppress(FileNotFoundError):
            await self.end(name, exit_code=143)

    async def remove(self, name: str) -> None:
        going = self._folder(name).rename(tempfile.mkdtemp(dir=self._root))
        await _end_within(going)
        shutil.rmtree(going)

    async def refuse(self) -> None:
        self._set_slots(0)

    async def accept(self) -> None:
        self._set_slots(100)

    def _set_slots(self, slots: int) -> None:
        self._slots = slots
        for view in self._views:
            view.slots = slots

    async def take(self, name: str) -> None:
        self._folder(name).mkdir(parents=True)
        (self._folder(name) / "theirs").write_text("x")

    async def taken_is_untouched(self, name: str) -> bool:
        return [file.name for file in self._folder(name).iterdir()] == ["theirs"]

    async def release(self, name: str) -> None:
        shutil.rmtree(self._folder(name))

    async def config(self, pod: str, config_map: str) -> dict[str, str] | None:
        folder = self._root / self._namespace / ".objects" / "ConfigMap" / config_map
        if not folder.exists():
            return None
        files = (file for file in folder.iterdir() if not file.name.startswith("."))
        return {file.name: file.read_text() for file in files}

    # --- what a folder cannot do ----------------------------------------------------------------

    async def unplaced(self, name: str, message: str) -> None:
        raise NotImplementedError

    async def placed(self, name: str) -> None:
        raise NotImplementedError

    async def lose_answers(self, count: int) -> None:
        raise NotImplementedError

    async def silence(self) -> None:
        raise NotImplementedError

    async def answer(self) -> None:
        raise NotImplementedError

    async def tokens(self, name: str) -> frozenset[str]:
        raise NotImplementedError


async def _end_within(folder: Path) -> None:
    """Kill whatever works in a folder or below, until nothing does.

    What was started just now has noted no `pid` yet, and would make files in a folder that is being
    removed; what was killed goes on until it has left the kernel.
    """

    def nothing() -> bool:
        left = list(_working_in(folder))
        for process in left:
            process.signal(signal.SIGKILL)
        return not left

    await until(nothing, f"nothing works in {folder}")


def _working_in(folder: Path) -> Iterator[Identity]:
    for entry in filter(str.isdigit, os.listdir("/proc")):
        try:
            place = os.readlink(f"/proc/{entry}/cwd").removesuffix(_DELETED)
        except OSError:
            continue  # It has ended, or is somebody else's.
        if Path(place).is_relative_to(folder) and (process := Identity.of(int(entry))):
            yield process
