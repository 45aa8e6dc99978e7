"""The actor that all distributed work runs in: a thin skin over an ordinary worker."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import ray

__all__ = ["PartActor", "make_actor", "run_function"]


class PartActor:
    """Makes `worker(**arguments)` on first use, so that its errors arrive typed, and calls its methods."""

    def __init__(self, worker: Callable[..., Any], arguments: dict[str, Any]) -> None:
        self._make, self._arguments, self._worker = worker, arguments, None

    def ready(self) -> dict[str, Any]:
        """Makes the worker; says where it lives."""
        self._get()
        return {"pid": os.getpid(), "node": ray.get_runtime_context().get_node_id()}

    def call(self, method: str, *arguments: Any) -> Any:
        """Calls a method of the worker."""
        return getattr(self._get(), method)(*arguments)

    def _get(self) -> Any:
        if self._worker is None:
            self._worker = self._make(**self._arguments)
        return self._worker


def make_actor(options: dict[str, Any], worker: Callable[..., Any], arguments: dict[str, Any]) -> Any:
    """A handle of a new PartActor with Ray's `options`."""
    return ray.remote(PartActor).options(**options).remote(worker, arguments)


@ray.remote
def run_function(function: Callable[..., Any], *arguments: Any, **keywords: Any) -> Any:
    """Runs an ordinary function as a Ray task."""
    return function(*arguments, **keywords)
