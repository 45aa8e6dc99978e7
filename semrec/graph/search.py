"""Searches in a graph: distances from many sources at once, cheapest paths, the k cheapest, and what lies around a node.

Axes: S sources, N nodes, E edges.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final

import numpy as np
import pyarrow as pa

from semrec.compiled import compiled
from semrec.errors import InputError
from semrec.graph.graph import Edge, Graph

__all__ = ["Path", "distances", "hub_costs", "k_cheapest_paths", "nearest", "neighbourhood", "path_costs"]

_SOURCES_PER_PASS: Final = 64  # one bit of a word for each
_MOST_PATHS: Final = 100


@dataclass(frozen=True)
class Path:
    """A walk along relations and what it costs; no edges where it starts at its end."""

    edges: tuple[Edge, ...]
    cost: float

    def in_words(self) -> str:
        """The path in one line: "heat -directed_by-> mann <-directed_by- collateral"."""
        steps = [
            f" <-{edge.predicate}- {edge.end}" if edge.is_inverse else f" -{edge.predicate}-> {edge.end}"
            for edge in self.edges
        ]
        return self.edges[0].start + "".join(steps) if steps else ""

    def reversed(self) -> Path:
        """The same relations, walked from the end to the start; the cost stays that of the way it was found."""
        edges = [Edge(edge.end, edge.predicate, edge.start, not edge.is_inverse) for edge in reversed(self.edges)]
        return Path(tuple(edges), self.cost)


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
        _breadth_first(graph.offsets_N1, graph.targets_E, graph.predicates_E, allowed, chosen, rows_SN)

    _in_threads(run, range(0, len(sources), _SOURCES_PER_PASS))
    return steps_SN


def neighbourhood(
    graph: Graph, source: int, num_steps: int, *, predicates: Sequence[str] | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """The nodes within `num_steps` of a node, nearest first and then by name: (nodes, steps), int64 and int32."""
    nodes, steps = _around(
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


def path_costs(graph: Graph, sources: Sequence[int], costs_E: np.ndarray) -> np.ndarray:
    """The cost of the cheapest path from each source to every node, infinite where there is none: float64 [S, N].

    Dijkstra, one source after the other on each thread. Raises InputError for a cost that is negative or not a number.
    """
    _check_costs(costs_E)
    costs_SN = np.full((len(sources), graph.num_nodes), np.inf)

    def run(row: int) -> None:
        _costs_from(graph.offsets_N1, graph.targets_E, costs_E, sources[row], costs_SN[row])

    _in_threads(run, range(len(sources)))
    return costs_SN


def nearest(
    graph: Graph,
    source: int,
    is_wanted_N: np.ndarray,
    k: int,
    costs_E: np.ndarray,
    *,
    predicates: Sequence[str] | None = None,
    most_nodes: int | None = None,
) -> list[Path]:
    """The cheapest paths from a node to the k wanted nodes that are nearest, cheapest first, then by the node's name.

    Fewer than k where there are no more among the `most_nodes` nearest nodes of any kind. The source is not its own
    neighbour. Raises InputError for a cost that is negative or not a number.
    """
    _check_costs(costs_E)
    search = _Search(graph, costs_E, graph.allowed(predicates))
    return [search.in_words(path) for path in search.paths(source, is_wanted_N, k, most_nodes or graph.num_nodes)]


def k_cheapest_paths(
    graph: Graph,
    source: int,
    target: int,
    k: int,
    costs_E: np.ndarray,
    *,
    predicates: Sequence[str] | None = None,
    banned: Collection[int] = (),
) -> list[Path]:
    """The up to k cheapest simple paths between two nodes, cheapest first (Yen 1971); [] when none leads there.

    No path enters a node of `banned`. Raises InputError for k above 100, or a cost that is negative or not a number.
    """
    _check_costs(costs_E)
    if not 1 <= k <= _MOST_PATHS:
        raise InputError(f"{k} paths", expected=f"1 to {_MOST_PATHS}", remedy="Ask for fewer.")
    if source == target:
        return [Path((), 0.0)]
    search = _Search(graph, costs_E, graph.allowed(predicates))
    search.banned_nodes = set(banned)
    is_target_N = np.zeros(graph.num_nodes, bool)
    is_target_N[target] = True
    chosen = search.paths(source, is_target_N, 1, graph.num_nodes)
    candidates: set[tuple[float, _Steps]] = set()
    while chosen and len(chosen) < k:
        last = chosen[-1]
        for place, (spur_node, _) in enumerate(last):
            root = last[:place]
            # The next path may leave `root` by no edge that an earlier one took, and may not come back to its nodes.
            search.banned_edges = {path[place][1] for path in chosen if path[:place] == root}
            search.banned_nodes = {*banned, *(node for node, _ in root)}
            for spur in search.paths(spur_node, is_target_N, 1, graph.num_nodes):
                candidates.add((search.cost((*root, *spur)), (*root, *spur)))
        candidates = {candidate for candidate in candidates if candidate[1] not in chosen}
        if not candidates:
            break
        cheapest = min(candidates)
        candidates.remove(cheapest)
        chosen.append(cheapest[1])
    return [search.in_words(path) for path in chosen]


_Steps = tuple[tuple[int, int], ...]  # (node, number of the edge that leaves it) along a path


class _Search:
    """Cheapest paths in one graph under one set of costs, without some edges and nodes."""

    def __init__(self, graph: Graph, costs_E: np.ndarray, allowed: np.ndarray) -> None:
        self._graph, self._costs_E, self._allowed = graph, np.ascontiguousarray(costs_E, np.float64), allowed
        self.banned_edges: set[int] = set()
        self.banned_nodes: set[int] = set()

    def paths(self, source: int, is_wanted_N: np.ndarray, k: int, most_nodes: int) -> list[_Steps]:
        """The cheapest paths from a node to the k nearest wanted ones."""
        graph = self._graph
        is_banned_N = np.zeros(graph.num_nodes, bool)
        is_banned_N[list(self.banned_nodes)] = True
        banned_edges = np.array(sorted(self.banned_edges), np.int64)
        arrived, edge_to_N, node_before_N = _nearest(
            graph.offsets_N1, graph.targets_E, graph.predicates_E, self._allowed, self._costs_E,
            source, is_wanted_N, k, is_banned_N, banned_edges, most_nodes,
        )  # fmt: skip
        paths = []
        for node in arrived.tolist():
            steps: list[tuple[int, int]] = []
            while node != source:
                steps.append((int(node_before_N[node]), int(edge_to_N[node])))
                node = int(node_before_N[node])
            paths.append(tuple(reversed(steps)))
        return paths

    def cost(self, path: _Steps) -> float:
        return float(sum(self._costs_E[edge] for _, edge in path))

    def in_words(self, path: _Steps) -> Path:
        return Path(tuple(self._graph.edge(node, edge) for node, edge in path), self.cost(path))


def _check_costs(costs_E: np.ndarray) -> None:
    if not (costs_E >= 0).all():
        raise InputError(
            "a cost that is negative or not a number",
            expected="costs of 0 or more",
            remedy="Paths are searched by Dijkstra's way, which needs that.",
        )


def _in_threads(function: Callable[[int], None], numbers: range) -> None:
    """Runs compiled work, which holds no interpreter lock, for each number."""
    if len(numbers) < 2:
        for number in numbers:
            function(number)
        return
    with ThreadPoolExecutor(pa.cpu_count()) as pool:
        list(pool.map(function, numbers))


@compiled
def _breadth_first(offsets_N1, targets_E, predicates_E, allowed, sources, steps_SN):  # type: ignore[no-untyped-def]
    """Fills steps_SN for up to 64 sources. Bit s of a word stands for source s."""
    num_nodes = len(offsets_N1) - 1
    seen_N = np.zeros(num_nodes, np.uint64)
    front_N = np.zeros(num_nodes, np.uint64)
    next_N = np.zeros(num_nodes, np.uint64)
    for s in range(len(sources)):
        bit = np.uint64(1) << np.uint64(s)
        seen_N[sources[s]] |= bit
        front_N[sources[s]] |= bit
        steps_SN[s, sources[s]] = 0
    steps, moved = 0, True
    while moved:
        steps += 1
        moved = False
        for node in range(num_nodes):
            word = front_N[node]
            if word == 0:
                continue
            for edge in range(offsets_N1[node], offsets_N1[node + 1]):
                if allowed[predicates_E[edge]]:
                    next_N[targets_E[edge]] |= word
        for node in range(num_nodes):
            new = next_N[node] & ~seen_N[node]
            next_N[node] = 0
            front_N[node] = new
            if new == 0:
                continue
            moved = True
            seen_N[node] |= new
            while new != 0:  # one store per source that arrives: the result's own size
                lowest = new & (~new + np.uint64(1))
                s = _bit_number(lowest)
                steps_SN[s, node] = steps
                new ^= lowest


@compiled
def _bit_number(word):  # type: ignore[no-untyped-def]
    """The number of the one bit that is set in a word."""
    number = 0
    for half in (32, 16, 8, 4, 2, 1):
        if word >> np.uint64(half) != 0:
            word >>= np.uint64(half)
            number += half
    return number


@compiled
def _around(offsets_N1, targets_E, predicates_E, allowed, source, num_steps):  # type: ignore[no-untyped-def]
    """(nodes, steps) of all nodes within num_steps of one, in the order they are come to."""
    num_nodes = len(offsets_N1) - 1
    steps_N = np.full(num_nodes, -1, np.int32)
    nodes = np.empty(num_nodes, np.int64)
    nodes[0], steps_N[source] = source, 0
    count, place = 1, 0
    while place < count:
        node = nodes[place]
        place += 1
        if steps_N[node] == num_steps:
            break
        for edge in range(offsets_N1[node], offsets_N1[node + 1]):
            target = targets_E[edge]
            if steps_N[target] < 0 and allowed[predicates_E[edge]]:
                steps_N[target] = steps_N[node] + 1
                nodes[count] = target
                count += 1
    return nodes[:count].copy(), steps_N[nodes[:count]]


@compiled
def _push(keys, nodes, size, key, node):  # type: ignore[no-untyped-def]
    """Adds (key, node) to the binary heap in keys[:size] and nodes[:size]; the least, by both, is first."""
    place = size
    while place > 0:
        above = (place - 1) >> 1
        if keys[above] < key or (keys[above] == key and nodes[above] <= node):
            break
        keys[place], nodes[place] = keys[above], nodes[above]
        place = above
    keys[place], nodes[place] = key, node


@compiled
def _pop(keys, nodes, size):  # type: ignore[no-untyped-def]
    """Takes the first of a heap of `size` away."""
    key, node = keys[size - 1], nodes[size - 1]
    last, place = size - 1, 0
    while True:
        below = 2 * place + 1
        if below >= last:
            break
        right = below + 1
        if right < last and (keys[right] < keys[below] or (keys[right] == keys[below] and nodes[right] < nodes[below])):
            below = right
        if key < keys[below] or (key == keys[below] and node <= nodes[below]):
            break
        keys[place], nodes[place] = keys[below], nodes[below]
        place = below
    keys[place], nodes[place] = key, node


@compiled
def _costs_from(offsets_N1, targets_E, costs_E, source, costs_N):  # type: ignore[no-untyped-def]
    """Fills costs_N, infinite before, with the cost of the cheapest path from `source`."""
    capacity = 1024
    keys, nodes = np.empty(capacity), np.empty(capacity, np.int64)
    costs_N[source] = 0.0
    _push(keys, nodes, 0, 0.0, source)
    size = 1
    while size:
        key, node = keys[0], nodes[0]
        _pop(keys, nodes, size)
        size -= 1
        if key > costs_N[node]:  # an older entry: a cheaper way was found since
            continue
        for edge in range(offsets_N1[node], offsets_N1[node + 1]):
            target = targets_E[edge]
            cost = key + costs_E[edge]
            if cost < costs_N[target]:
                costs_N[target] = cost
                if size == capacity:
                    keys = np.concatenate((keys, np.empty(capacity)))
                    nodes = np.concatenate((nodes, np.empty(capacity, np.int64)))
                    capacity *= 2
                _push(keys, nodes, size, cost, target)
                size += 1


@compiled
def _nearest(  # type: ignore[no-untyped-def]
    offsets_N1, targets_E, predicates_E, allowed, costs_E, source, is_wanted_N, k, is_banned_N, banned_edges, most_nodes
):
    """Dijkstra from `source` until k wanted nodes are settled: (those nodes, the edge to each node, the node before it).

    Nodes of equal cost are settled in the order of their numbers, so the paths are the same ones always.
    """
    num_nodes = len(offsets_N1) - 1
    costs_N = np.full(num_nodes, np.inf)
    edge_to_N, node_before_N = np.full(num_nodes, -1, np.int64), np.full(num_nodes, -1, np.int64)
    capacity = 1024
    keys, nodes = np.empty(capacity), np.empty(capacity, np.int64)
    arrived, num_arrived, num_settled = np.empty(k, np.int64), 0, 0
    costs_N[source] = 0.0
    _push(keys, nodes, 0, 0.0, source)
    size = 1
    while size and num_arrived < k and num_settled < most_nodes:
        key, node = keys[0], nodes[0]
        _pop(keys, nodes, size)
        size -= 1
        if key > costs_N[node]:
            continue
        num_settled += 1
        if is_wanted_N[node] and node != source:
            arrived[num_arrived] = node
            num_arrived += 1
        for edge in range(offsets_N1[node], offsets_N1[node + 1]):
            target = targets_E[edge]
            cost = key + costs_E[edge]
            if cost >= costs_N[target] or is_banned_N[target] or not allowed[predicates_E[edge]]:
                continue
            if len(banned_edges):
                place = np.searchsorted(banned_edges, edge)
                if place < len(banned_edges) and banned_edges[place] == edge:
                    continue
            costs_N[target], edge_to_N[target], node_before_N[target] = cost, edge, node
            if size == capacity:
                keys = np.concatenate((keys, np.empty(capacity)))
                nodes = np.concatenate((nodes, np.empty(capacity, np.int64)))
                capacity *= 2
            _push(keys, nodes, size, cost, target)
            size += 1
    return arrived[:num_arrived], edge_to_N, node_before_N
