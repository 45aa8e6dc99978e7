"""Searches in a graph: distances from many sources at once, cheapest paths, the k cheapest, and what lies around a node.

Axes: S sources, N nodes, E edges.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import pyarrow as pa

from semrec.errors import InputError
from semrec.graph.graph import Edge, Graph
from semrec.graph.kernels import around, breadth_first, costs_from, nearest_wanted

__all__ = ["Path", "PathSearch", "distances", "hub_costs", "neighbourhood"]

_SOURCES_PER_PASS: Final = 64  # one bit of a word for each
_MOST_PATHS: Final = 100


@dataclass(frozen=True)
class Path:
    """A walk along relations and what it costs; no edges where it starts at its end."""

    edges: tuple[Edge, ...]
    cost: float

    def in_words(self) -> str:
        """The path in one line: "heat -directed_by-> mann <-directed_by- collateral". Of an IRI the end names a predicate."""
        named = [(re.split("[/#]", edge.predicate)[-1] or edge.predicate, edge) for edge in self.edges]
        steps = [f" <-{name}- {edge.end}" if edge.is_inverse else f" -{name}-> {edge.end}" for name, edge in named]
        return self.edges[0].start + "".join(steps) if steps else ""

    def reversed(self) -> Path:
        """The same relations, walked from the end to the start; the cost stays that of the way it was found."""
        edges = (replace(edge, start=edge.end, end=edge.start, is_inverse=not edge.is_inverse) for edge in self.edges)
        return Path(tuple(edges)[::-1], self.cost)


def distances(graph: Graph, sources: Sequence[int], *, predicates: Sequence[str] | None = None) -> np.ndarray:
    """The number of steps from each source to every node, -1 where there is no way: int32 [S, N].

    Breadth first for 64 sources in one pass: a node's word has a bit for each source that has come to it (The More the
    Merrier: Then et al., VLDB 2014).
    """
    allowed = graph.allowed(predicates)
    steps_SN = np.full((len(sources), graph.num_nodes), -1, np.int32)

    def run(start: int) -> None:
        chosen = np.asarray(sources[start : start + _SOURCES_PER_PASS], np.int64)
        rows_SN = steps_SN[start : start + len(chosen)]
        breadth_first(graph.offsets_N1, graph.targets_E, graph.predicates_E, allowed, chosen, rows_SN)

    _in_threads(run, range(0, len(sources), _SOURCES_PER_PASS))
    return steps_SN


def neighbourhood(
    graph: Graph, source: int, num_steps: int, *, predicates: Sequence[str] | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """The nodes within `num_steps` of a node, nearest first and then by name: (nodes, steps), int64 and int32."""
    nodes, steps = around(
        graph.offsets_N1, graph.targets_E, graph.predicates_E, graph.allowed(predicates), source, num_steps
    )
    order = np.lexsort([nodes, steps])
    return nodes[order], steps[order]


def hub_costs(graph: Graph) -> np.ndarray:
    """What a step over each edge costs, so that rare things are near: 1 + log2 of the degree of the node it leaves.

    Everything has some genre; a path over a director of four films says more. The node at the end of a path costs nothing.
    float64 [E].
    """
    degrees_N = graph.degrees()
    return np.repeat(1 + np.log2(np.maximum(degrees_N, 1)), degrees_N)


_Steps = tuple[tuple[int, int], ...]  # (node, number of the edge that leaves it) along a path


class PathSearch:
    """Finds cheapest paths in one graph, where a step over each edge costs `costs_E` (float64 [E]).

    Raises InputError for a cost that is negative or not a number.
    """

    def __init__(self, graph: Graph, costs_E: np.ndarray) -> None:
        if not (costs_E >= 0).all():
            raise InputError(
                "a cost that is negative or not a number",
                expected="costs of 0 or more",
                remedy="Paths are searched by Dijkstra's way, which needs that.",
            )
        self.graph, self._costs_E = graph, np.ascontiguousarray(costs_E, np.float64)

    def costs(self, sources: Sequence[int]) -> np.ndarray:
        """The cost of the cheapest path from each source to every node, infinite where there is none: float64 [S, N].

        Dijkstra, one source after the other on each thread.
        """
        graph, costs_SN = self.graph, np.full((len(sources), self.graph.num_nodes), np.inf)

        def run(row: int) -> None:
            costs_from(graph.offsets_N1, graph.targets_E, self._costs_E, sources[row], costs_SN[row])

        _in_threads(run, range(len(sources)))
        return costs_SN

    def nearest(
        self,
        source: int,
        is_wanted_N: np.ndarray,
        k: int,
        *,
        predicates: Sequence[str] | None = None,
        most_nodes: int | None = None,
    ) -> list[Path]:
        """The cheapest paths from a node to the k wanted nodes that are nearest, cheapest first, then by the node's name.

        Fewer than k where there are no more among the `most_nodes` nearest nodes of any kind. The source is not its own
        neighbour.
        """
        allowed = self.graph.allowed(predicates)
        return [self._in_words(path) for path in self._paths(source, is_wanted_N, k, allowed, most_nodes=most_nodes)]

    def k_cheapest(
        self,
        source: int,
        target: int,
        k: int,
        *,
        predicates: Sequence[str] | None = None,
        banned: Collection[int] = (),
    ) -> list[Path]:
        """The up to k cheapest simple paths between two nodes, cheapest first (Yen 1971); [] when none leads there.

        No path enters a node of `banned`. Raises InputError for k above 100.
        """
        if not 1 <= k <= _MOST_PATHS:
            raise InputError(f"{k} paths", expected=f"1 to {_MOST_PATHS}", remedy="Ask for fewer.")
        if source == target:
            return [Path((), 0.0)]
        allowed = self.graph.allowed(predicates)
        is_target_N = np.zeros(self.graph.num_nodes, bool)
        is_target_N[target] = True
        chosen = self._paths(source, is_target_N, 1, allowed, banned_nodes=banned)
        candidates: set[tuple[float, _Steps]] = set()
        while chosen and len(chosen) < k:
            last = chosen[-1]
            for place, (spur_node, _) in enumerate(last):
                root = last[:place]
                # The next path may leave `root` by no edge that an earlier one took, and may not come back to its nodes.
                edges = {path[place][1] for path in chosen if path[:place] == root}
                nodes = {*banned, *(node for node, _ in root)}
                for spur in self._paths(spur_node, is_target_N, 1, allowed, banned_nodes=nodes, banned_edges=edges):
                    candidates.add((self._cost((*root, *spur)), (*root, *spur)))
            candidates = {candidate for candidate in candidates if candidate[1] not in chosen}
            if not candidates:
                break
            cheapest = min(candidates)
            candidates.remove(cheapest)
            chosen.append(cheapest[1])
        return [self._in_words(path) for path in chosen]

    def _paths(
        self,
        source: int,
        is_wanted_N: np.ndarray,
        k: int,
        allowed: np.ndarray,
        *,
        most_nodes: int | None = None,
        banned_nodes: Collection[int] = (),
        banned_edges: Collection[int] = (),
    ) -> list[_Steps]:
        """The cheapest paths from a node to the k nearest wanted ones, by way of no banned node or edge."""
        graph = self.graph
        is_banned_N = np.zeros(graph.num_nodes, bool)
        is_banned_N[list(banned_nodes)] = True
        arrived, edge_to_N, node_before_N = nearest_wanted(
            graph.offsets_N1, graph.targets_E, graph.predicates_E, allowed, self._costs_E, source, is_wanted_N, k,
            is_banned_N, np.array(sorted(banned_edges), np.int64), most_nodes or graph.num_nodes,
        )  # fmt: skip
        paths = []
        for node in arrived.tolist():
            steps: list[tuple[int, int]] = []
            while node != source:
                steps.append((int(node_before_N[node]), int(edge_to_N[node])))
                node = int(node_before_N[node])
            paths.append(tuple(reversed(steps)))
        return paths

    def _cost(self, path: _Steps) -> float:
        return float(sum(self._costs_E[edge] for _, edge in path))

    def _in_words(self, path: _Steps) -> Path:
        return Path(tuple(self.graph.edge(node, edge) for node, edge in path), self._cost(path))


def _in_threads(function: Callable[[int], None], numbers: range) -> None:
    """Runs compiled work, which holds no interpreter lock, for each number."""
    if len(numbers) < 2:
        for number in numbers:
            function(number)
        return
    with ThreadPoolExecutor(pa.cpu_count()) as pool:
        list(pool.map(function, numbers))
