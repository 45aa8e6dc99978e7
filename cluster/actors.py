"""The actors and the task that all distributed work runs in: thin skins over ordinary workers and functions."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import ray

__all__ = ["FunctionActor", "PartActor", "make_actor", "make_function_actor", "run_function"]


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


class FunctionActor:
    """Runs ordinary functions while it holds its resources. Killing it is safe at any moment; cancelling a task is not."""

    def run(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """Calls `function` with `arguments`."""
        return function(*arguments)


def make_actor(options: dict[str, Any], worker: Callable[..., Any], arguments: dict[str, Any]) -> Any:
    """A handle of a new PartActor with Ray's `options`."""
    return ray.remote(PartActor).options(**options).remote(worker, arguments)


def make_function_actor(options: dict[str, Any]) -> Any:
    """A handle of a new FunctionActor with Ray's `options`."""
    return ray.remote(FunctionActor).options(**options).remote()


@ray.remote
def run_function(function: Callable[..., Any], *arguments: Any, **keywords: Any) -> Any:
    """Runs an ordinary function as a Ray task."""
    return function(*arguments, **keywords)
