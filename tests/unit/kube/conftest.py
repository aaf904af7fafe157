"""What all tests of this folder need."""

import asyncio

import pytest


@pytest.fixture(scope="session", autouse=True)
def _no_default_event_loop() -> None:
    # looptime asks the policy for a loop even around plain functions; Python 3.11 would then make
    # one that nobody closes, and the warning about it fails whichever test happens to run then.
    asyncio.set_event_loop(None)
