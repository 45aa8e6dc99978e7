"""Searches by tensors give what the compiled loops give, bit by bit, also from ranges of nodes that several hold."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch

from helpers.generated_graph import graph_with_hubs
from semrec.graph import device as by_tensors
from semrec.graph.device import EdgeRows, costs_by_rows, costs_on_device, distances_on_device
from semrec.graph.graph import Graph
from semrec.graph.search import PathSearch, distances, hub_costs

SOURCES = [0, 3, 3, *range(5, 75)]  # more than one pass, and one of them twice


@pytest.fixture(scope="module")
def graph() -> Graph:
    return graph_with_hubs()


@pytest.mark.parametrize("predicates", [None, ["q"]])
def test_steps_and_costs_are_those_of_the_compiled_loops(
    graph: Graph, predicates: list[str] | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(by_tensors, "_MOST_VALUES", 3_000)  # edges of a frontier in several pieces
    steps_SN = distances_on_device(graph, SOURCES, device="cpu", predicates=predicates)
    assert steps_SN.tobytes() == distances(graph, SOURCES, predicates=predicates).tobytes()
    assert (steps_SN < 0).any() and steps_SN.max() > 2
    costs_E = hub_costs(graph) + np.random.default_rng(3).random(len(graph.targets_E))
    if predicates is None:
        expected = PathSearch(graph, costs_E).costs(SOURCES)
        assert costs_on_device(graph, costs_E, SOURCES, device="cpu").tobytes() == expected.tobytes()


def test_ranges_of_nodes_give_what_one_gives(graph: Graph) -> None:
    costs_E, edges = hub_costs(graph), [0, 1, 60, graph.num_nodes]
    parts = [EdgeRows(graph, costs_E, start=start, stop=stop) for start, stop in pairwise(edges)]

    def relax(*front: torch.Tensor) -> list[tuple[torch.Tensor, torch.Tensor]]:
        return [found for part in parts for found in part.relax(*front)]

    of_parts = costs_by_rows(relax, graph.num_nodes, SOURCES)
    assert of_parts.tobytes() == PathSearch(graph, costs_E).costs(SOURCES).tobytes()
    assert costs_on_device(graph, costs_E, [], device="cpu").shape == (0, graph.num_nodes)
