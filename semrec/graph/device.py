"""Searches in a graph by whole tensors: on any device of torch, and by ranges of nodes that several machines hold.

All edges that leave a node whose cost has fallen are relaxed at once, for all sources, until no cost falls (Bellman-Ford by
frontiers). The cost of a path is the same float64 sum as in `search`, from its start on, and adding is monotone: so both find
the same least sums, bit by bit. Steps are paths on which every edge costs 1.

Axes as in `search.py`; F nodes of the frontier, T nodes that edges of these lead to.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final

import numpy as np

from semrec.graph.graph import Graph

if TYPE_CHECKING:  # whoever only opens a release needs no torch
    import torch

__all__ = ["EdgeRows", "Relax", "costs_by_rows", "costs_on_device", "distances_on_device"]

_SOURCES_PER_PASS: Final = 64
_MOST_VALUES: Final = 1 << 24  # costs of edges that are held at once

#: Takes frontier nodes, int64 [F], and their costs, float64 [F, S]; gives the nodes after them, int64 [T], each once, and the
#: least cost by which each is come to, float64 [T, S]. Several may be given, of which none has all edges.
Relax = Callable[["torch.Tensor", "torch.Tensor"], "list[tuple[torch.Tensor, torch.Tensor]]"]


class EdgeRows:
    """The edges that start at nodes start:stop, on a device; the whole graph by default.

    `costs_E` as `PathSearch` takes them; edges of other predicates than `predicates` are left out.
    """

    def __init__(
        self,
        graph: Graph,
        costs_E: np.ndarray,
        *,
        start: int = 0,
        stop: int | None = None,
        device: str = "cpu",
        predicates: Sequence[str] | None = None,
    ) -> None:
        import torch

        self.start, self.stop, self._num_nodes = start, graph.num_nodes if stop is None else stop, graph.num_nodes
        offsets_R1 = np.asarray(graph.offsets_N1[start : self.stop + 1], np.int64)
        edges = slice(int(offsets_R1[0]), int(offsets_R1[-1]))
        is_followed_E = graph.allowed(predicates)[graph.predicates_E[edges]]
        num_before = np.concatenate([[0], np.cumsum(is_followed_E)])
        rows = num_before[offsets_R1 - offsets_R1[0]], graph.targets_E[edges][is_followed_E].astype(np.int64)
        self._offsets, self._targets = (torch.from_numpy(column).to(device) for column in rows)
        self._costs = torch.from_numpy(np.asarray(costs_E[edges], np.float64)[is_followed_E]).to(device)

    def relax(self, nodes_F: torch.Tensor, costs_FS: torch.Tensor) -> list[tuple[torch.Tensor, torch.Tensor]]:
        """See `Relax`. Nodes that are not held here are passed over."""
        import torch

        is_here = (nodes_F >= self.start) & (nodes_F < self.stop)
        rows, costs = nodes_F[is_here] - self.start, costs_FS[is_here]
        firsts = self._offsets[rows]
        lengths = self._offsets[rows + 1] - firsts
        ends = lengths.cumsum(0)
        frontier = torch.arange(len(rows), device=rows.device).repeat_interleave(lengths)
        edges = torch.arange(len(frontier), device=rows.device) + (firsts - ends + lengths)[frontier]
        targets = self._targets[edges]
        is_reached_N = torch.zeros(self._num_nodes, dtype=torch.bool, device=rows.device)
        is_reached_N[targets] = True
        targets_T, place_N = is_reached_N.nonzero()[:, 0], is_reached_N.cumsum(0) - 1
        num_sources = costs.shape[1]
        costs_TS = torch.full((len(targets_T), num_sources), torch.inf, dtype=torch.float64, device=rows.device)
        step = max(1, _MOST_VALUES // max(1, num_sources))
        for first in range(0, len(edges), step):
            block = slice(first, first + step)
            through = costs[frontier[block]] + self._costs[edges[block], None]
            costs_TS.scatter_reduce_(0, place_N[targets[block], None].expand(-1, num_sources), through, "amin")
        return [(targets_T, costs_TS)]


def costs_by_rows(relax: Relax, num_nodes: int, sources: Sequence[int], *, device: str = "cpu") -> np.ndarray:
    """The cost of the cheapest path from each source to every node, infinite where there is none: float64 [S, N]."""
    import torch

    passes = []
    for first in range(0, len(sources), _SOURCES_PER_PASS):
        chosen = torch.tensor(sources[first : first + _SOURCES_PER_PASS], dtype=torch.int64, device=device)
        # The costs of one node lie side by side: all of them are read where an edge leaves it.
        costs_NS = torch.full((num_nodes, len(chosen)), torch.inf, dtype=torch.float64, device=device)
        costs_NS[chosen, torch.arange(len(chosen), device=device)] = 0
        nodes_F = torch.unique(chosen)
        while len(nodes_F):
            has_fallen_N = torch.zeros(num_nodes, dtype=torch.bool, device=device)
            for targets_T, costs_TS in relax(nodes_F, costs_NS[nodes_F]):
                before_TS = costs_NS[targets_T]
                has_fallen_N[targets_T] |= (costs_TS < before_TS).any(1)
                costs_NS[targets_T] = torch.minimum(costs_TS, before_TS)
            nodes_F = has_fallen_N.nonzero()[:, 0]
        passes.append(costs_NS.T.cpu().numpy())
    return np.concatenate([np.empty((0, num_nodes)), *passes])


def costs_on_device(
    graph: Graph, costs_E: np.ndarray, sources: Sequence[int], *, device: str, predicates: Sequence[str] | None = None
) -> np.ndarray:
    """`PathSearch.costs` on a device, equal bit by bit: float64 [S, N]."""
    rows = EdgeRows(graph, costs_E, device=device, predicates=predicates)
    return costs_by_rows(rows.relax, graph.num_nodes, sources, device=device)


def distances_on_device(
    graph: Graph, sources: Sequence[int], *, device: str, predicates: Sequence[str] | None = None
) -> np.ndarray:
    """`search.distances` on a device, equal: int32 [S, N]."""
    ones_E = np.ones(len(graph.targets_E))
    steps_SN = costs_on_device(graph, ones_E, sources, device=device, predicates=predicates)
    return np.where(np.isfinite(steps_SN), steps_SN, -1).astype(np.int32)
