"""Defines the actor that all distributed work runs in: a thin skin over ordinary workers and functions."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import ray

__all__ = ["Assignment", "PartActor", "make_actor"]


@dataclass(frozen=True)
class Assignment:
    """A worker that an actor shall be: a key that tells it from others, and how to make it.

    `made_by` holds one reference to (worker, arguments). It stays a reference on the way, so that a call for one more part
    of a large plan does not carry the plan, and a restarted actor can fetch it again.
    """

    key: str
    made_by: tuple[Any]


class PartActor:
    """Does parts with the worker that it was assigned last, and runs functions.

    Each call names its worker. The actor makes it on first use, so that the worker's errors arrive typed and an actor that
    Ray restarted goes on by itself; it lets go of the one before, so that two never share a device's memory.
    """

    def __init__(self) -> None:
        self._key: str | None = None
        self._worker: Any = None

    def load(self, assignment: Assignment) -> dict[str, Any]:
        """Makes the worker unless it is there; says where it lives."""
        self._get(assignment)
        return {"pid": os.getpid(), "node": ray.get_runtime_context().get_node_id()}

    def run_part(self, assignment: Assignment, part: int) -> Any:
        """Has the worker do and commit a part."""
        return self._get(assignment).run_part(part)

    def score_shard(self, assignment: Assignment, part: int) -> Any:
        """Has the worker of a sharded group score a part against its own shard."""
        return self._get(assignment).score_shard(part)

    def commit_part(self, assignment: Assignment, part: int, *results: Any) -> Any:
        """Has the first worker of a sharded group merge the shards' results and commit the part."""
        return self._get(assignment).commit_part(part, *results)

    def run_function(self, function: Callable[..., Any], arguments: tuple[Any, ...], keywords: dict[str, Any]) -> Any:
        """Calls `function`, which gets the memory of the process for itself."""
        self._key = self._worker = None
        return function(*arguments, **keywords)

    def _get(self, assignment: Assignment) -> Any:
        if self._key != assignment.key:
            self._key = self._worker = None  # before the next one is made: both together may not fit
            worker, arguments = ray.get(assignment.made_by[0])
            self._worker = worker(**arguments)
            self._key = assignment.key
        return self._worker


def make_actor(options: dict[str, Any]) -> Any:
    """Starts a PartActor with Ray's `options` and returns its handle."""
    return ray.remote(PartActor).options(**options).remote()
