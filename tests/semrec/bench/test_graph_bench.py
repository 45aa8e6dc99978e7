"""The bench of graph searches compares equal results."""

from __future__ import annotations

import pytest

from semrec.bench.graph import bench_graph


def test_every_peer_gives_our_result() -> None:
    pytest.importorskip("networkx", reason="NOT TESTED: networkx is absent (extra `test`)")
    rows = bench_graph(num_relations=2_000, num_sources=70)
    assert {
        ("steps", "semrec"),
        ("steps", "scipy"),
        ("steps", "networkx"),
        ("costs", "tensors"),
        ("costs", "scipy"),
    } <= {(row.search, row.by) for row in rows}
    assert all(row.equal for row in rows)
    assert [row.ratio for row in rows if row.by == "semrec"] == [1.0, 1.0]
