"""What all tests need."""

import asyncio
import inspect

import pytest


@pytest.fixture(autouse=True)
def no_stray_event_loop(request: pytest.FixtureRequest) -> None:
    """No event loop that nobody closes.

    looptime asks the policy for a loop even around plain functions. Python 3.11 would make one, and
    the warning that it was never closed would fail whichever test happens to run then.
    """
    if not inspect.iscoroutinefunction(getattr(request, "function", None)):
        asyncio.set_event_loop(None)
