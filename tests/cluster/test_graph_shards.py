"""A graph whose edges lie with several actors is searched as one graph is."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from functools import partial

import numpy as np
import pytest
import ray
from ray import cloudpickle

from cluster.graph_shards import GraphShards, costs_by_shards
from cluster.local_ray import start_ray
from helpers import generated_graph
from helpers.generated_graph import graph_with_hubs
from semrec.bench.graph import bench_graph
from semrec.graph.graph import Graph
from semrec.graph.search import PathSearch, hub_costs


@pytest.fixture(scope="module", autouse=True)
def two_cpus() -> Iterator[None]:
    """A Ray of two CPUs, whose actors get these modules by value."""
    for module in (sys.modules[__name__], generated_graph):
        cloudpickle.register_pickle_by_value(module)
    options = {"num_cpus": 2, "object_store_memory": 80 * 1024**2, "include_dashboard": False, "log_to_driver": False}
    start_ray(lambda: ray.init("local", **options))
    yield
    ray.shutdown()


def opened() -> tuple[Graph, np.ndarray]:
    graph = graph_with_hubs()
    return graph, hub_costs(graph)


def test_costs_are_those_of_one_graph() -> None:
    graph, costs_E = opened()
    sources = list(range(0, graph.num_nodes, 2))
    shards = GraphShards(opened, 2)
    try:
        assert shards.costs(sources).tobytes() == PathSearch(graph, costs_E).costs(sources).tobytes()
    finally:
        shards.close()


def test_the_bench_compares_shards_with_one_graph() -> None:
    rows = bench_graph(num_relations=500, num_sources=2, more_costs={"shards": partial(costs_by_shards, 2)})
    assert [row.equal for row in rows if row.by == "shards"] == [True]
