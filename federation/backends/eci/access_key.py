"""The access key of the ECI API, from files that change.

In: a folder with files `accessKeyId` and `accessKeySecret`, and `securityToken` where the key is
one of STS; usually a Secret, mounted. Out: the newest `AccessKey`. A kubelet exchanges such a
folder in one step, by the link `..data`: the files are read behind it, so that a pair is never half
new. What cannot be read later is logged, and the old key kept: the service is the judge of whether
it works.
"""

import asyncio
from pathlib import Path
from typing import Never

import structlog

from federation.backends.eci.signature import AccessKey
from vnode.kube.errors import ConfigError
from vnode.runtime.clock import Clock

__all__ = ["AccessKeyFiles"]

_LOG = structlog.get_logger(__name__)

_ID, _SECRET, _TOKEN = "accessKeyId", "accessKeySecret", "securityToken"
_EVERY = 10.0
"""Seconds between two looks. Keys of STS live for a quarter of an hour or longer."""


class AccessKeyFiles:
    """The key in a folder; `run` keeps it fresh."""

    def __init__(self, folder: Path, key: AccessKey, *, clock: Clock) -> None:
        self._folder = folder
        self._key = key
        self._clock = clock
        self._problem = ""

    @classmethod
    async def load(cls, folder: Path, *, name: str, clock: Clock) -> "AccessKeyFiles":
        """Read the key for the first time; `name` is what the configuration calls the cluster.

        Raises:
            ConfigError: there is none.
        """
        try:
            return cls(folder, await asyncio.to_thread(_read, folder), clock=clock)
        except (OSError, ValueError) as error:
            raise ConfigError(
                f"{name}: no access key in {folder} ({_why(error)}); put files {_ID} and {_SECRET} "
                "there, or correct credentials"
            ) from None

    def current(self) -> AccessKey:
        """The newest key."""
        return self._key

    async def run(self) -> Never:
        """Look for a new key until cancelled."""
        while True:
            await self.renew()  # First of all: nobody looked while another replica led.
            await self._clock.sleep(_EVERY)

    async def renew(self) -> None:
        """Look once."""
        try:
            key = await asyncio.to_thread(_read, self._folder)
        except (OSError, ValueError) as error:
            problem = _why(error)
            if problem != self._problem:
                _LOG.warning("the old access key is kept", folder=str(self._folder), why=problem)
            self._problem = problem
            return
        self._problem = ""
        if key != self._key:
            self._key = key
            _LOG.info("new access key", folder=str(self._folder), id=key.id)


def _read(folder: Path) -> AccessKey:
    link = folder / "..data"
    here = link.resolve(strict=True) if link.exists() else folder
    token = here / _TOKEN
    return AccessKey(
        id=_text(here / _ID),
        secret=_text(here / _SECRET),
        token=_text(token) if token.exists() else "",
    )


def _text(path: Path) -> str:
    text = path.read_text(encoding="utf-8").strip()
    if not text:
        raise ValueError(f"{path.name} is empty")
    return text


def _why(error: OSError | ValueError) -> str:
    """Without what is in the files."""
    if isinstance(error, OSError):
        name = Path(error.filename).name if error.filename else "?"
        return f"{name}: {(error.strerror or 'cannot be read').lower()}"
    return "a file is no UTF-8 text" if isinstance(error, UnicodeError) else str(error)
