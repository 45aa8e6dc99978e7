"""Put what our code logs in a replica into Serve's log file, at once where it is a warning or worse."""

from __future__ import annotations

import logging
import traceback
from typing import Final

__all__ = ["log_with_serve"]

_SERVE: Final = "ray.serve"
_OURS: Final = ("semrec", "cluster")


class _ServeHandler(logging.Handler):
    """Hands records to Serve's handlers, which keep up to a thousand in memory before they write any but errors."""

    def emit(self, record: logging.LogRecord) -> None:
        if record.exc_info and not record.exc_text:  # logging would print it, and Serve's own `print` writes tuples
            record.exc_text = "".join(traceback.format_exception(*record.exc_info)).rstrip()
        for handler in logging.getLogger(_SERVE).handlers:
            handler.handle(record)
            if record.levelno >= logging.WARNING:
                handler.flush()


def log_with_serve() -> None:
    """Sends warnings and errors of our packages to Serve's log of this replica; once is enough.

    Without that they go to standard error, which Serve takes for remarks and writes with the next thousand.
    """
    for name in _OURS:
        logger = logging.getLogger(name)
        if not any(isinstance(handler, _ServeHandler) for handler in logger.handlers):
            logger.addHandler(_ServeHandler())
            logger.propagate = False
