"""Keeps a pool of groups of Ray actors. They outlive their plans, because a plan may be done sooner than they start.

A group is one actor, or S actors that hold the shards of one replica. Groups of one shape are kept at a time: those of
another would hold the resources that the next ones wait for.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

import ray
from ray.exceptions import GetTimeoutError, RayActorError
from ray.util.placement_group import PlacementGroup, placement_group, remove_placement_group
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

from cluster.actors import Assignment, make_actor
from semrec.workspace.ledger import PartRecord

__all__ = ["GroupShape", "PartWorker", "WorkerGroup", "WorkerPool", "WorkerSpec"]

_MAX_LOST_CALLS = 3  # times that a function is called again because its actor was lost


class PartWorker(Protocol):
    """Does one numbered part: reads its inputs from the workspace, writes its file, then commits its record.

    Calling it twice for a part is harmless: the same inputs give the same bytes at the same name.
    """

    def run_part(self, part: int) -> PartRecord: ...


@dataclass(frozen=True)
class GroupShape:
    """Resources of each actor of a group, and how many actors it has."""

    num_cpus: float = 1
    num_gpus: float = 0
    num_actors: int = 1


@dataclass(frozen=True, eq=False)
class WorkerSpec:
    """The workers of a plan: `worker(**arguments)`, in an actor with these resources.

    With `shards`, a group has one actor per entry, which adds that entry to the arguments; its workers answer `score_shard`
    and the first one merges with `commit_part`. Two plans with the same spec (the object, not an equal one) share workers.
    """

    worker: Callable[..., PartWorker]
    arguments: dict[str, Any]
    num_cpus: float = 1
    num_gpus: float = 0
    shards: tuple[dict[str, Any], ...] = ()

    @property
    def shape(self) -> GroupShape:
        return GroupShape(self.num_cpus, self.num_gpus, max(1, len(self.shards)))

    @property
    def arguments_by_actor(self) -> list[dict[str, Any]]:
        """The arguments of each actor of a group."""
        return [{**self.arguments, **shard} for shard in self.shards or ({},)]


@dataclass(eq=False)
class WorkerGroup:
    """The actors of one group, and what they do for the present plan."""

    shape: GroupShape
    actors: list[Any]
    placement: PlacementGroup | None = None
    is_up: bool = False  # an actor answered a call, and none was lost since
    assignments: list[Assignment] = field(default_factory=list)  # of each actor
    starting: list[Any] = field(default_factory=list)  # references of `load`, empty once the group works
    at_hand: dict[Any, int] = field(default_factory=dict)  # reference -> part
    retry_at: float = 0.0
    is_unfit: bool = False  # its node met an error that stays there, and did no part of this plan since
    num_failures: int = 0  # of its start or its parts, since one of its parts was last committed

    @property
    def is_ready(self) -> bool:
        return not self.starting and not self.retry_at

    def begin(self, assignments: list[Assignment]) -> None:
        """Takes up a plan; what is left of an earlier one, such as a start that nobody waited for, is forgotten."""
        self.assignments = assignments
        self.at_hand.clear()
        self.num_failures, self.is_unfit = 0, False
        self.start()

    def start(self) -> None:
        """Has each actor make its worker."""
        self.retry_at = 0.0
        pairs = zip(self.actors, self.assignments, strict=True)
        self.starting = [actor.load.remote(assignment) for actor, assignment in pairs]

    def submit(self, part: int) -> None:
        """Has the group do `part`."""
        pairs = list(zip(self.actors, self.assignments, strict=True))
        if len(pairs) == 1:
            ref = self.actors[0].run_part.remote(self.assignments[0], part)
        else:
            scored = [actor.score_shard.remote(assignment, part) for actor, assignment in pairs]
            ref = self.actors[0].commit_part.remote(self.assignments[0], part, *scored)
        self.at_hand[ref] = part


@dataclass
class WorkerPool:
    """Lends groups to one plan or function at a time. `num_actors_started` counts since the pool was made."""

    num_actors_started: int = 0
    _groups: list[WorkerGroup] = field(default_factory=list)
    _assigned: tuple[WorkerSpec, list[Assignment]] | None = None

    def groups(self, shape: GroupShape, count: int) -> list[WorkerGroup]:
        """Returns `count` groups of a shape, started ones first, and ends all groups of another shape."""
        for group in [group for group in self._groups if group.shape != shape]:
            self.end(group)
        while len(self._groups) < count:
            self._groups.append(_make_group(shape))
            self.num_actors_started += shape.num_actors
        return sorted(self._groups, key=lambda group: not group.is_up)[:count]

    def assign(self, spec: WorkerSpec) -> list[Assignment]:
        """Sends a spec to the object store, unless it is the one sent last; returns the assignment of each actor."""
        if self._assigned is None or self._assigned[0] is not spec:
            assignments = [
                Assignment(uuid.uuid4().hex, (ray.put((spec.worker, arguments)),))
                for arguments in spec.arguments_by_actor
            ]
            self._assigned = (spec, assignments)
        return self._assigned[1]

    def run(
        self,
        function: Callable[..., Any],
        arguments: tuple[Any, ...],
        keywords: dict[str, Any],
        *,
        shape: GroupShape,
        is_exact: bool = False,
        timeout_s: float | None = None,
    ) -> Any:
        """Calls `function(*arguments, **keywords)` on an actor of `shape`, or, unless `is_exact`, on any that has started.

        Waits until an actor has started; one that is lost with the function is replaced, three times. Raises GetTimeoutError
        after `timeout_s`, and what the function raises as RayTaskError.
        """
        for attempt in range(_MAX_LOST_CALLS + 1):
            started = [] if is_exact else [group for group in self._groups if group.is_up]
            group = started[0] if started else self.groups(shape, 1)[0]
            try:
                result = ray.get(group.actors[0].run_function.remote(function, arguments, keywords), timeout=timeout_s)
            except (GetTimeoutError, RayActorError) as error:
                self.end(group)  # and with it a request for a node, and a function that may still be at work
                if isinstance(error, GetTimeoutError) or attempt == _MAX_LOST_CALLS:
                    raise
            else:
                group.is_up = True
                return result
        raise AssertionError("unreachable")

    def end(self, group: WorkerGroup) -> None:
        """Ends the actors of a group, whatever they are doing."""
        self._groups.remove(group)
        for actor in group.actors:
            ray.kill(actor, no_restart=True)
        if group.placement:
            remove_placement_group(group.placement)

    def close(self) -> None:
        """Ends all groups; the pool can be used again."""
        for group in list(self._groups):
            self.end(group)
        self._assigned = None


def _make_group(shape: GroupShape) -> WorkerGroup:
    # Restarted for ever: the executor counts what is lost, and a node that comes back is used again.
    resources = {"num_cpus": shape.num_cpus, "num_gpus": shape.num_gpus, "max_restarts": -1}
    if shape.num_actors == 1:
        return WorkerGroup(shape, [make_actor({**resources, "scheduling_strategy": "SPREAD"})])
    bundle = {"CPU": shape.num_cpus, **({"GPU": shape.num_gpus} if shape.num_gpus else {})}
    placement = placement_group([bundle] * shape.num_actors, strategy="PACK")
    strategies = [
        PlacementGroupSchedulingStrategy(placement, placement_group_bundle_index=index)
        for index in range(shape.num_actors)
    ]
    actors = [make_actor({**resources, "scheduling_strategy": strategy}) for strategy in strategies]
    return WorkerGroup(shape, actors, placement)
