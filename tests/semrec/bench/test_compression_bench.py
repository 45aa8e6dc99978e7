"""The bench of compressed formats: equal lists, and codes that are as small as they say."""

from __future__ import annotations

from semrec.bench.compression import bench_compression
from semrec.bench.workloads import generated_problem


def test_compressed_items_give_the_same_lists() -> None:
    rows = {row.coarse: row for row in bench_compression(generated_problem("clusters", 2_000, 20), num_threads=1)}
    assert all(row.equal for row in rows.values())
    assert rows["pq"].share_of_float32 == 0.125
    assert rows["pq"].recall_100 < rows["int8"].recall_100 <= 1
    assert rows["pq"].recall_100 < rows["pq"].overfetched_recall_100
    assert rows["int8"].scored_share < rows["pq"].scored_share <= 1
    assert rows["int8"].approximate_recall is rows["int8"].approximate_users_per_cpu_s is None
    assert 0.9 < rows["pq"].approximate_recall <= 1
