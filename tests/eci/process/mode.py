"""The mode in which groups run on this machine."""

import asyncio
import contextlib
import fcntl
import os
import shutil
import tempfile
from collections.abc import Coroutine, Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.eci.engine import Timing
from tests.eci.process.engine import ProcessEngine
from tests.eci.process.images import Images
from tests.eci.process.spec import Places

_PREFIX = "vnode-eci-"


class Processes:
    """Owns a folder below the system's folder for temporary files, and all tasks of its groups."""

    live = True

    def __init__(
        self,
        archives: Sequence[Path],
        *,
        timing: Timing | None = None,
        network: bool = True,
        network_volumes: Mapping[str, Path] | None = None,
    ) -> None:
        """`archives` are docker-archives. `network` gives groups a network of their own, with the
        loopback only; without it they use this machine's. `network_volumes` are local folders that
        stand in for `SERVER:PATH` of NFS volumes and `Options` of FlexVolumes.
        """
        self._archives = archives
        self._timing = timing or Timing(scheduling=0.1, pulling=0.1, terminating=0.1)
        self._network = network
        self._network_volumes = network_volumes or {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._engines: list[ProcessEngine] = []
        self._folder: Path | None = None
        self._lock = -1
        self._images: Images | None = None

    async def open(self) -> None:
        """Remove what killed emulators have left, and read the archives."""
        await asyncio.to_thread(_sweep, Path(tempfile.gettempdir()))
        self._folder = Path(tempfile.mkdtemp(prefix=_PREFIX))
        self._lock = os.open(self._folder / "lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC)
        fcntl.flock(self._lock, fcntl.LOCK_EX)
        self._images = await asyncio.to_thread(Images, self._archives, self._folder / "images")

    def engine(self, asked: dict[str, Any], group: str) -> tuple[ProcessEngine, Timing]:
        assert self._folder is not None
        assert self._images is not None
        number = int(group.removeprefix("eci-"), 16)
        places = Places(
            folder=self._folder / group,
            address=f"10.0.{number // 250 % 250}.{number % 250 + 1}",
            hostname=asked.get("HostName") or asked["ContainerGroupName"][:63],
            network_volumes=self._network_volumes,
        )
        engine = ProcessEngine(
            asked,
            places,
            images=self._images,
            network=self._network,
            background=self._do,
        )
        self._engines.append(engine)
        return engine, self._timing

    async def close(self) -> None:
        for engine in self._engines:
            engine.end()
        while self._tasks:
            await asyncio.wait(self._tasks, timeout=10)
        if self._folder is not None:
            await asyncio.to_thread(shutil.rmtree, self._folder, ignore_errors=True)
            os.close(self._lock)

    def _do(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _sweep(parent: Path) -> None:
    """Remove folders of emulators that are no more; their processes died with them."""
    for folder in parent.glob(f"{_PREFIX}*"):
        with contextlib.suppress(OSError):
            lock = os.open(folder / "lock", os.O_RDWR | os.O_CLOEXEC)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(folder, ignore_errors=True)
            finally:
                os.close(lock)
