"""What the agent's process may use and takes: descriptors, memory for TLS, pauses for garbage.

In: the limits that whoever started the process has set, what asyncio takes by itself, and what is
imported. All are of the whole process, so `vnode run` sets them, before anything is connected.
"""

import asyncio.sslproto
import contextlib
import gc
import resource

__all__ = [
    "TLS_BUFFER",
    "leave_out_of_collections",
    "limit_tls_buffers",
    "raise_descriptor_limit",
]

TLS_BUFFER = 64 << 10
"""Bytes; a TLS record has at most 16 KiB, and some at once save calls."""


def raise_descriptor_limit() -> int:
    """Allow this process as many descriptors as it may have, as Go programs do; returns how many.

    The usual soft limit of 1024 is for programs that use select(); a stream takes two.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        with contextlib.suppress(OSError, ValueError):  # some systems have a lower one of their own
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]


def limit_tls_buffers() -> None:
    """Let a TLS connection of asyncio take `TLS_BUFFER` bytes for reading instead of 256 KiB.

    They are taken as soon as somebody connects, whoever it is, and a stream has two connections.
    The attribute is asyncio's own affair; a test pins it. uvloop does not look at it.
    """
    asyncio.sslproto.SSLProtocol.max_size = TLS_BUFFER


def leave_out_of_collections() -> None:
    """Never look for garbage in what there is now: what was imported stays for ever.

    The event loop stands still while Python looks, a quarter of that time for the sake of modules.
    """
    gc.collect()
    gc.freeze()
