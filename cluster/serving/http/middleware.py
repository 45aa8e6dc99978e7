"""Puts the fast path of this process's replica in front of what Ray Serve's servers run.

Serve lets a callback put ASGI middleware around its servers (RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH). Its proxies call it,
too, and have no replica: so nothing of the service is imported here.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Protocol

from starlette.middleware import Middleware

__all__ = ["install_fast_path", "middlewares", "remove_fast_path"]

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Asgi = Callable[[Scope, Receive, Send], Awaitable[None]]


class _FastPath(Protocol):
    async def answer(self, scope: Scope, send: Send) -> bool: ...


class FastPathMiddleware:
    """ASGI middleware: asks the fast path of this process's replica, and does the rest as before."""

    def __init__(self, app: Asgi) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if _installed and scope["type"] == "http" and await _installed[-1].answer(scope, send):
            return
        await self._app(scope, receive, send)


_installed: list[_FastPath] = []  # of the replica that lives in this process; elsewhere (proxies) there is none


def middlewares() -> list[Any]:
    """Called by Serve when it starts a server."""
    return [Middleware(FastPathMiddleware)]


def install_fast_path(fast_path: _FastPath) -> None:
    """Has the middleware of this process ask it."""
    _installed.append(fast_path)


def remove_fast_path(fast_path: _FastPath) -> None:
    """Undoes `install_fast_path`."""
    if fast_path in _installed:
        _installed.remove(fast_path)
