"""Probes that connect: made inside the group's network.

A thread of its own enters the network and ends after it, since namespaces belong to threads.
"""

import asyncio
import ctypes
import http.client
import os
import ssl
import threading
from collections.abc import Mapping
from typing import Any

_NEWNET = 0x40000000


async def ask(init: int, probe: Mapping[str, Any], *, timeout: float) -> tuple[bool, str]:
    """Outcome and reason of an HttpGet or TcpSocket probe."""
    loop = asyncio.get_running_loop()
    answer: asyncio.Future[tuple[bool, str]] = loop.create_future()

    def work() -> None:
        try:
            _enter(init)
            said = _connect(probe, timeout)
        except (OSError, http.client.HTTPException) as error:
            said = (False, str(error))
        loop.call_soon_threadsafe(_set, answer, said)

    threading.Thread(target=work, daemon=True).start()
    return await answer


def _set(answer: "asyncio.Future[tuple[bool, str]]", said: tuple[bool, str]) -> None:
    if not answer.done():
        answer.set_result(said)


def _enter(init: int) -> None:
    handle = os.open(f"/proc/{init}/ns/net", os.O_RDONLY)
    try:
        if ctypes.CDLL(None, use_errno=True).setns(handle, _NEWNET) != 0:
            raise OSError(ctypes.get_errno(), "setns")
    finally:
        os.close(handle)


def _connect(probe: Mapping[str, Any], timeout: float) -> tuple[bool, str]:
    wanted = probe.get("HttpGet") or probe["TcpSocket"]
    port = int(wanted["Port"])
    if wanted.get("Scheme", "HTTP") == "HTTPS":
        trusting = ssl._create_unverified_context()  # as kubelets do
        connection: http.client.HTTPConnection = http.client.HTTPSConnection(
            "127.0.0.1", port, timeout=timeout, context=trusting
        )
    else:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout)
    try:
        if not probe.get("HttpGet"):
            connection.connect()
            return True, ""
        connection.request("GET", wanted.get("Path", "/"))
        status = connection.getresponse().status
        return 200 <= status < 400, f"HTTP {status}"
    finally:
        connection.close()
