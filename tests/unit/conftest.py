"""What all unit tests need."""

import inspect
from collections.abc import Iterator

import pytest
from blockbuster import blockbuster_ctx


@pytest.fixture(autouse=True)
def no_blocking_calls(request: pytest.FixtureRequest) -> Iterator[None]:
    """Async tests fail where code of ours blocks the event loop: files, sockets, `time.sleep`."""
    if not inspect.iscoroutinefunction(getattr(request, "function", None)):
        yield
        return
    with blockbuster_ctx(["vnode", "federation"]) as blockbuster:
        functions = blockbuster.functions
        # A file that exists in memory only.
        functions["io.BufferedWriter.write"].can_block_in("vnode/node/serving/tls.py", "_context")
        # kubernetes_asyncio puts a certificate that a plugin gave into a temporary file.
        # structlog's console, which the agent does not have, shows source code in tracebacks.
        for function in functions.values():
            function.can_block_in(
                "kubernetes_asyncio/config/kube_config.py", "load_from_exec_plugin"
            )
            function.can_block_in("rich/traceback.py", "__rich_console__")
        yield
