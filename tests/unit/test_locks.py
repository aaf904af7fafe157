"""The lock files of the image: versions and hashes as everywhere, and nothing for tests."""

import re
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
_PIN = re.compile(r"^(?P<name>[a-z0-9-]+)==(?P<version>\S+)(?P<marker> ; [^\\]*)?")


def pins(name: str) -> dict[str, tuple[str, frozenset[str], bool]]:
    """By project: version, hashes, and whether it is for some platforms only."""
    found: dict[str, tuple[str, frozenset[str], bool]] = {}
    for block in re.split(r"^(?=[a-z])", (ROOT / name).read_text(), flags=re.MULTILINE):
        if pin := _PIN.match(block):
            hashes = frozenset(re.findall(r"--hash=(\S+)", block))
            found[pin["name"]] = (pin["version"], hashes, pin["marker"] is not None)
    return found


ALL = pins("requirements.lock")


def needed(project: str) -> set[str]:
    """The project and all that it needs in this environment, without extras."""
    found: set[str] = set()
    waiting = [project]
    while waiting:
        name = canonicalize_name(waiting.pop())
        if name not in found:
            found.add(name)
            requirements = map(Requirement, metadata.requires(name) or ())
            waiting += [r.name for r in requirements if not r.marker or r.marker.evaluate()]
    return found


@pytest.mark.parametrize("name", ["requirements-runtime.lock", "requirements-build.lock"])
def test_what_the_image_takes_is_what_is_tested(name: str) -> None:
    part = pins(name)
    assert part
    assert part == {project: ALL[project] for project in part}


def test_the_image_has_what_the_agent_needs_and_nothing_else() -> None:
    runtime = pins("requirements-runtime.lock")
    wanted = needed("vnode-federation") - {"vnode-federation"}
    assert wanted <= runtime.keys()
    assert all(runtime[name][2] for name in runtime.keys() - wanted)


def test_the_image_is_built_with_what_builds_the_package() -> None:
    assert needed("hatchling") == pins("requirements-build.lock").keys()
