"""A Containerfile as values: its stages, and what each instruction asks for.

In: the text. Out: frozen `Stage`s for `image_build`, which carries them out. Only what our own
Containerfile uses is understood, in the meaning of
https://docs.docker.com/reference/dockerfile/; anything else raises ProgramError, so that nothing is
left out in silence.
"""

from __future__ import annotations

import json
import shlex
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tests.clusters.errors import ProgramError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


@dataclass(frozen=True)
class Run:
    """A command for `/bin/sh -c`."""

    command: str
    folder: str
    environment: Mapping[str, str]


@dataclass(frozen=True)
class Copy:
    """Files of the context, or of an earlier stage, to a place in this one.

    As COPY has it: a folder's content goes, files keep their names if `target` ends with a slash.
    """

    sources: Sequence[str]
    target: str
    stage: str | None = None


@dataclass(frozen=True)
class Stage:
    """What one FROM begins."""

    base: str
    """An image, or the name of an earlier stage."""
    name: str = ""
    steps: Sequence[Run | Copy] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    user: str = ""
    entrypoint: Sequence[str] = ()
    command: Sequence[str] = ()


def parse(text: str) -> list[Stage]:
    """All stages; the last one is the image. Raises ProgramError."""
    stages: list[_Reader] = []
    for word, rest in _instructions(text):
        if word == "FROM":
            base, _, name = (part.strip() for part in rest.partition(" AS "))
            earlier = next((s for s in stages if s.name == base), None)
            stages.append(_Reader(base, name, earlier))
        elif not stages:
            raise ProgramError(f"Containerfile: {word} before the first FROM")
        else:
            stages[-1].take(word, rest)
    return [stage.finished() for stage in stages]


def _instructions(text: str) -> Iterator[tuple[str, str]]:
    """Instruction and arguments, continued lines joined, comments left out."""
    parts: list[str] = []
    for line in text.splitlines():
        if line.lstrip().startswith("#") or not line.strip():
            continue
        parts.append(line.rstrip().removesuffix("\\").strip())
        if not line.rstrip().endswith("\\"):
            word, _, rest = " ".join(parts).partition(" ")
            yield word, rest.strip()
            parts = []
    if parts:
        raise ProgramError("Containerfile: the last line is continued")


class _Reader:
    """One stage while it is read."""

    def __init__(self, base: str, name: str, earlier: _Reader | None) -> None:
        """`earlier`: the stage that it builds on, whose settings it starts with."""
        self.name = name
        self._base = base
        self._folder: str = earlier._folder if earlier else "/"
        self._environment: dict[str, str] = (
            dict(earlier._environment) if earlier else {"PATH": DEFAULT_PATH}
        )
        self._user: str = earlier._user if earlier else ""
        self._entrypoint: list[str] = []
        self._command: list[str] = []
        self._steps: list[Run | Copy] = []

    def take(self, word: str, rest: str) -> None:
        """One instruction."""
        match word:
            case "RUN" if not rest.startswith(("[", "--")):
                self._steps.append(Run(rest, self._folder, dict(self._environment)))
            case "COPY":
                self._steps.append(self._copy(rest))
            case "WORKDIR" if rest.startswith("/"):
                self._folder = rest
            case "ENV":
                self._environment.update(_assignments(rest))
            case "USER":
                self._user = rest
            case "ENTRYPOINT":
                self._entrypoint = _words(rest)
            case "CMD":
                self._command = _words(rest)
            case _:
                raise ProgramError(f"Containerfile: {word} {rest}: the tests cannot carry this out")

    def finished(self) -> Stage:
        """The stage."""
        return Stage(
            base=self._base,
            name=self.name,
            steps=tuple(self._steps),
            environment=self._environment,
            user=self._user,
            entrypoint=self._entrypoint,
            command=self._command,
        )

    def _copy(self, rest: str) -> Copy:
        options, words = [], shlex.split(rest)
        while words and words[0].startswith("--"):
            options.append(words.pop(0))
        stage = None
        for option in options:
            if not option.startswith("--from="):
                raise ProgramError(f"Containerfile: COPY {option}: the tests cannot carry this out")
            stage = option.removeprefix("--from=")
        *sources, target = words
        place = target if target.startswith("/") else f"{self._folder.rstrip('/')}/{target}"
        return Copy(tuple(sources), place, stage)


def _assignments(text: str) -> dict[str, str]:
    pairs = [word.partition("=") for word in shlex.split(text)]
    if not all(equals for _, equals, _ in pairs) or "$" in text:
        raise ProgramError(f"Containerfile: ENV {text}: the tests cannot carry this out")
    return {key: value for key, _, value in pairs}


def _words(text: str) -> list[str]:
    try:
        words: list[str] = json.loads(text)
    except json.JSONDecodeError:
        raise ProgramError(f"Containerfile: {text}: not a JSON list of words") from None
    return words
