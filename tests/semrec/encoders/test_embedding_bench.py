"""The benchmark's numbers are consistent; their size is the machine's."""

from __future__ import annotations

import pytest

from semrec.bench.embedding import bench_embedding
from semrec.errors import InputError


def test_bench_compares_with_the_plain_way(encoder):
    import torch

    texts = [f"A film about the year {year} and those who lived through it." for year in range(1900, 1964)]
    rows = bench_embedding([*texts, ""], num_threads=torch.get_num_threads(), rounds=1, device="cpu")
    assert rows[0].name == "SentenceTransformer.encode, batch 32, float32"
    assert rows[1].name == f"semrec, {encoder.identity.dtype}"
    assert (rows[0].ratio, rows[0].cosine_min) == (1.0, pytest.approx(1.0, abs=1e-6))
    for row in rows:
        assert row.ratio == pytest.approx(row.texts_per_s / rows[0].texts_per_s)
        assert row.cosine_mean >= 0.9995
        assert row.cosine_min >= 0.995


def test_bench_needs_texts():
    with pytest.raises(InputError, match="0 texts"):
        bench_embedding(["", " "], num_threads=1)
