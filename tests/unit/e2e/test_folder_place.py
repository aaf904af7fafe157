"""Folders with processes leave nothing, whatever has just begun in them."""

import subprocess
from collections.abc import Iterator
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import pytest

from tests.clusters.processes import Identity
from tests.e2e.lifecycle.places.folder import FolderPlace
from vnode.kube.config import Connection
from vnode.kube.types import UID, NodeName

Started = list[subprocess.Popen[bytes]]
BUSY = ["sh", "-c", "trap '' TERM; while :; do : > new; rm -f new; done"]
"""Has noted no `pid`, and makes files all the time."""


@pytest.fixture
def started() -> Iterator[Started]:
    """Processes that are to be ended."""
    all_of_them: Started = []
    yield all_of_them
    for each in all_of_them:
        each.kill()
        each.wait()


def _start(folder: Path, started: Started) -> Identity:
    folder.mkdir(parents=True)
    process = subprocess.Popen(BUSY, cwd=folder, start_new_session=True)
    identity = Identity.of(process.pid)
    assert identity is not None
    started.append(process)
    return identity


def _place() -> AbstractAsyncContextManager[FolderPlace]:
    nobody = Connection(name="nobody", kubeconfig=Path("none"))
    return FolderPlace.at(nobody, "team-a", cluster_uid=UID("tenant"), node=NodeName("virtual"))


async def test_a_place_ends_whatever_works_in_it_before_it_goes(started: Started) -> None:
    async with _place() as place:
        process = _start(place._folder("young"), started)
    assert not process.alive()
    assert not place._root.exists()


async def test_a_copy_that_is_removed_has_nothing_left_that_works_there(
    started: Started,
) -> None:
    async with _place() as place:
        gone, stays = (_start(place._folder(name), started) for name in ("gone", "stays"))
        await place.remove("gone")
        assert not place._folder("gone").exists()
        assert (gone.alive(), stays.alive()) == (False, True)
