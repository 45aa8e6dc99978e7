"""A small graph with hubs, for searches by other ways than the compiled loops."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from semrec.contracts import RELATIONS_SCHEMA
from semrec.graph.graph import Graph, build_graph

__all__ = ["graph_with_hubs"]


def graph_with_hubs() -> Graph:
    """Two components, hubs among them, and several relations of the same two."""
    rng = np.random.default_rng(2)
    numbers, sides = (120 ** rng.random((2, 900))).astype(int) - 1, rng.integers(0, 2, 900)
    names = [[f"{side}-{number}" for side, number in zip(sides, row, strict=True)] for row in numbers]
    columns = [names[0], rng.choice(["p", "q", "r"], 900).tolist(), names[1], [False] * 900, [1.0] * 900]
    arrays = [pa.array(column, kind.type) for column, kind in zip(columns, RELATIONS_SCHEMA, strict=True)]
    return build_graph(pa.table(arrays, schema=RELATIONS_SCHEMA))
