"""What aiohttp says about requests that never become requests.

In: records of aiohttp's server. Out: those about ourselves. Anybody who reaches the port can send
what is no HTTP, as often as they like, and is answered 400; the log is not theirs to fill.
"""

import logging

from aiohttp.http import HttpProcessingError

__all__ = ["http_logger"]


def http_logger() -> logging.Logger:
    """The logger to give to aiohttp's server."""
    logger = logging.getLogger(__name__)
    logger.addFilter(_is_about_us)
    return logger


def _is_about_us(record: logging.LogRecord) -> bool:
    error = record.exc_info[1] if record.exc_info else None
    return not isinstance(error, HttpProcessingError)
