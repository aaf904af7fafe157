"""What a rule asks of a place beyond the contract of every backend, and who is exempt.

In: marks on tests. Out: for each place the tests that it cannot be asked to pass. docs/backends.md
has the same as a table with reasons, and a unit test compares the two.
"""

from __future__ import annotations

import enum
import importlib
import inspect
import pkgutil
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator


class Need(enum.StrEnum):
    """The first are fields of `vnode.backend.Capabilities`; the others show in what happens."""

    TOKEN_REFRESH = "token_refresh"
    SECRET_OBJECTS = "secret_objects"
    CLUSTER_DNS = "cluster_dns"
    START_GATES = "start_gates"
    LIVE_CONFIG = "live_config"
    UPDATES = "updates"
    """Labels of a copy can be changed."""
    TAKEN_NAMES = "taken names"
    """A copy's name can be taken by somebody else's object."""
    UNPLACED = "unplaced copies"
    """A copy can be there and wait for a place to run."""
    SLOW_END = "slow end"
    """A copy that is being deleted is there until its containers have ended."""
    GRACE = "grace"
    """A deletion says how long a copy has to end."""
    LAST_STATE = "last state"
    """How a copy ended because of its deletion can be seen."""
    LINK = "a link"
    """The place may not answer."""


CAPABILITIES = frozenset(
    {
        Need.TOKEN_REFRESH,
        Need.SECRET_OBJECTS,
        Need.CLUSTER_DNS,
        Need.START_GATES,
        Need.LIVE_CONFIG,
    }
)


def needs(*what: Need) -> pytest.MarkDecorator:
    """A test that says nothing about a place without these."""
    return pytest.mark.needs(*what)


def without(what: Need) -> pytest.MarkDecorator:
    """A test of what happens in a place without that."""
    return pytest.mark.without(what)


def exempt(marks: Collection[pytest.Mark], lacks: frozenset[Need]) -> Need | None:
    """Why a test with these marks is not for a place that lacks these things; None: it is."""
    for mark in marks:
        if mark.name not in {"needs", "without"}:
            continue
        for need in mark.args:
            if (mark.name == "needs") is (need in lacks):
                return Need(need)
    return None


def exemptions(lacks: frozenset[Need]) -> Iterator[tuple[Need, str]]:
    """What a place lacks, and the name of a test that it is exempt from, for all of these."""
    package = importlib.import_module("tests.e2e.lifecycle")
    for module in pkgutil.iter_modules(package.__path__, f"{package.__name__}."):
        if not module.name.rpartition(".")[2].startswith("test_"):
            continue
        found = inspect.getmembers(importlib.import_module(module.name), inspect.isfunction)
        for name, function in found:
            marks = [m for m in getattr(function, "pytestmark", ()) if m.name == "needs"]
            if name.startswith("test_") and (need := exempt(marks, lacks)) is not None:
                yield need, name
