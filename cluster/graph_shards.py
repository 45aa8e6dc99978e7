"""Searches in a graph whose edges lie with several actors: each relaxes those that start at its range of nodes.

What is known of the nodes lies here, 8 bytes for each source and node; the edges and their costs are read by the actors alone.
A round sends each actor the nodes of its range whose cost has fallen, and gets back what their edges lead to.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
import ray
import torch

from semrec.graph.device import EdgeRows, costs_by_rows
from semrec.graph.graph import Graph

__all__ = ["GraphShards", "costs_by_shards"]

#: Gives a graph, memory-mapped, and what a step over each of its edges costs, float64 [E].
OpenGraph = Callable[[], tuple[Graph, np.ndarray]]


def costs_by_shards(num_shards: int, graph: Graph, costs_E: np.ndarray) -> Callable[[Sequence[int]], np.ndarray]:
    """Puts a graph into Ray's object store, and returns the search of its costs by actors, which end with Ray."""
    return GraphShards(partial(ray.get, ray.put((graph, costs_E))), num_shards).costs


class _ShardActor:
    """Holds the edges of one of `num_shards` ranges of nodes, of about as many edges each."""

    def __init__(self, open_graph: OpenGraph, shard: int, num_shards: int) -> None:
        graph, costs_E = open_graph()
        edges = np.linspace(0, len(graph.targets_E), num_shards + 1).astype(np.int64)
        bounds = np.searchsorted(graph.offsets_N1, edges)
        bounds[0], bounds[-1] = 0, graph.num_nodes
        self._num_nodes = graph.num_nodes
        self._rows = EdgeRows(graph, costs_E, start=int(bounds[shard]), stop=int(bounds[shard + 1]))

    def describe(self) -> tuple[int, int, int]:
        """The nodes start:stop of this range, and how many the graph has."""
        return self._rows.start, self._rows.stop, self._num_nodes

    def relax(self, nodes_F: np.ndarray, costs_FS: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
        """`EdgeRows.relax` of arrays."""
        relaxed = self._rows.relax(torch.tensor(nodes_F), torch.tensor(costs_FS))
        return [(targets.numpy(), costs.numpy()) for targets, costs in relaxed]


class GraphShards:
    """A graph in shards, until `close`. Ray must be connected. Raises what `open_graph` raises on an actor."""

    def __init__(self, open_graph: OpenGraph, num_shards: int) -> None:
        actor = ray.remote(_ShardActor).options(num_cpus=1)
        self._actors: list[Any] = [actor.remote(open_graph, n, num_shards) for n in range(num_shards)]
        described = ray.get([actor.describe.remote() for actor in self._actors])
        self._stops, self._num_nodes = np.array([stop for _, stop, _ in described]), int(described[0][2])

    def costs(self, sources: Sequence[int]) -> np.ndarray:
        """`PathSearch.costs`, equal bit by bit: float64 [S, N]."""
        return costs_by_rows(self._relax, self._num_nodes, sources)

    def close(self) -> None:
        """Ends the actors."""
        for actor in self._actors:
            ray.kill(actor)

    def _relax(self, nodes_F: torch.Tensor, costs_FS: torch.Tensor) -> list[tuple[torch.Tensor, torch.Tensor]]:
        nodes, costs = nodes_F.numpy(), costs_FS.numpy()  # ascending, so each actor's are a range of them
        edges = [0, *np.searchsorted(nodes, self._stops).tolist()]
        ranges = [slice(*edges[n : n + 2]) for n in range(len(self._actors))]
        calls = [
            actor.relax.remote(nodes[nodes_of_shard], costs[nodes_of_shard])
            for actor, nodes_of_shard in zip(self._actors, ranges, strict=True)
            if nodes_of_shard.start < nodes_of_shard.stop
        ]
        answers = ray.get(calls)
        return [(torch.tensor(targets), torch.tensor(costs)) for answer in answers for targets, costs in answer]
