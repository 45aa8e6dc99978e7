"""Searches in a generated graph beside scipy, rustworkx and networkx, on the same relations in the same process."""

from __future__ import annotations

import importlib.util
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
import pyarrow as pa
import scipy.sparse
from scipy.sparse import csgraph

from semrec.contracts import RELATIONS_SCHEMA
from semrec.encoders.devices import resolve_device
from semrec.graph.device import costs_on_device, distances_on_device
from semrec.graph.graph import Graph, build_graph
from semrec.graph.search import PathSearch, distances, hub_costs

__all__ = ["GraphBenchRow", "bench_graph"]

#: Opens a graph, with what a step over each of its edges costs, for a search from sources: float64 [sources, nodes].
OpenSearch = Callable[[Graph, np.ndarray], Callable[[list[int]], np.ndarray]]

_FEW_SOURCES: Final = {"networkx": 2, "tensors": 64, "shards": 64}  # of what takes seconds for each


@dataclass(frozen=True)
class GraphBenchRow:
    """One way of one search. `ratio` is ours to it in sources per second: above 1 where ours is faster."""

    search: str
    by: str
    sources: int
    sources_per_s: float
    ratio: float
    equal: bool  # the result is ours, to 12 digits of a cost


def bench_graph(
    *, num_relations: int, num_sources: int, seed: int = 0, more_costs: Mapping[str, OpenSearch] | None = None
) -> list[GraphBenchRow]:
    """Steps and costs from some sources to all nodes. Ours runs on all cores, as scipy's and networkx' cannot; "tensors" is
    ours by torch, on a GPU where there is one. `more_costs` are further searches for costs, by name.

    Entities have as many relations as Zipf's law gives them (exponent 1), items ten on average.
    """
    graph = build_graph(_relations(num_relations, seed))
    sources = np.random.default_rng(seed).choice(graph.num_nodes, num_sources, replace=False).tolist()
    costs_E = hub_costs(graph)
    shape = (graph.num_nodes, graph.num_nodes)
    weighted = scipy.sparse.csr_matrix((costs_E, graph.targets_E, graph.offsets_N1), shape)

    def steps_by_scipy(chosen: list[int]) -> np.ndarray:
        steps = csgraph.dijkstra(weighted, unweighted=True, indices=chosen)
        return np.where(np.isfinite(steps), steps, -1)

    device = resolve_device("auto")
    searches: list[tuple[str, dict[str, Callable[[list[int]], np.ndarray]]]] = [
        (
            "steps",
            {
                "semrec": lambda chosen: distances(graph, chosen),
                "tensors": lambda chosen: distances_on_device(graph, chosen, device=device),
                "scipy": steps_by_scipy,
            },
        ),
        (
            "costs",
            {
                "semrec": PathSearch(graph, costs_E).costs,
                "tensors": lambda chosen: costs_on_device(graph, costs_E, chosen, device=device),
                "scipy": lambda chosen: csgraph.dijkstra(weighted, indices=chosen),
                **{by: open_search(graph, costs_E) for by, open_search in (more_costs or {}).items()},
            },
        ),
    ]
    if importlib.util.find_spec("rustworkx"):
        searches[1][1]["rustworkx"] = _costs_by_rustworkx(graph, costs_E)
    if importlib.util.find_spec("networkx"):
        searches[0][1]["networkx"] = _steps_by_networkx(graph)
    rows = []
    for name, ways in searches:
        ours: np.ndarray = np.empty(0)
        ours_per_s = 0.0
        for by, way in ways.items():
            chosen = sources[: _FEW_SOURCES.get(by, num_sources)]
            way(chosen[:1])
            started_s = time.perf_counter()
            result = way(chosen)
            per_s = len(chosen) / (time.perf_counter() - started_s)
            if by == "semrec":
                ours, ours_per_s = result, per_s
            equal = bool(np.allclose(result, ours[: len(chosen)], rtol=1e-12, atol=0))
            rows.append(GraphBenchRow(name, by, len(chosen), per_s, ours_per_s / per_s, equal))
    return rows


def _relations(num_relations: int, seed: int) -> pa.Table:
    """Items i0, i1, ... and the entities that they are related to."""
    numbers = np.random.default_rng(seed)
    num_items, num_entities = max(1, num_relations // 10), max(1, num_relations // 20)
    items = numbers.integers(0, num_items, num_relations)
    # The inverse of the distribution function of 1 / rank.
    entities = (num_entities ** numbers.random(num_relations)).astype(np.int64) - 1
    columns = [
        pa.array(np.char.add("i", items.astype(str))),
        pa.array(["related_to"]).take(pa.array(np.zeros(num_relations, np.int64))),
        pa.array(np.char.add("e", entities.astype(str))),
        pa.array(np.zeros(num_relations, bool)),
        pa.array(np.ones(num_relations, np.float32)),
    ]
    return pa.table(columns, schema=RELATIONS_SCHEMA)


def _costs_by_rustworkx(graph: Graph, costs_E: np.ndarray) -> Callable[[list[int]], np.ndarray]:
    import rustworkx

    plain = rustworkx.PyDiGraph()
    plain.add_nodes_from(range(graph.num_nodes))
    starts_E = np.repeat(np.arange(graph.num_nodes), graph.degrees())
    plain.add_edges_from(list(zip(starts_E.tolist(), graph.targets_E.tolist(), costs_E.tolist(), strict=True)))

    def costs(chosen: list[int]) -> np.ndarray:
        rows_SN = np.full((len(chosen), graph.num_nodes), np.inf)
        for row, source in zip(rows_SN, chosen, strict=True):
            lengths = rustworkx.dijkstra_shortest_path_lengths(plain, source, edge_cost_fn=float)
            row[source] = 0
            row[list(lengths.keys())] = list(lengths.values())
        return rows_SN

    return costs


def _steps_by_networkx(graph: Graph) -> Callable[[list[int]], np.ndarray]:
    import networkx

    plain = networkx.DiGraph()
    plain.add_nodes_from(range(graph.num_nodes))
    starts_E = np.repeat(np.arange(graph.num_nodes), graph.degrees())
    plain.add_edges_from(zip(starts_E.tolist(), graph.targets_E.tolist(), strict=True))

    def steps(chosen: list[int]) -> np.ndarray:
        rows_SN = np.full((len(chosen), graph.num_nodes), -1)
        for row, source in zip(rows_SN, chosen, strict=True):
            lengths = networkx.single_source_shortest_path_length(plain, source)
            row[list(lengths)] = list(lengths.values())
        return rows_SN

    return steps
