"""Catalogues and queries of known difficulty, for the tests of every engine."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st

from semrec.scoring.eligibility import Clause, Layout
from semrec.scoring.types import ItemShard, Queries, TopK

PLATFORMS = ("Atlas", "Lumina", "Marquee")
KINDS = (
    "plain", "ties", "duplicates", "zeros", "factors", "near ties", "tiny", "huge", "some huge", "one large coordinate",
)  # fmt: skip


def catalogue(seed: int, num_items: int, dimension: int, kind: str) -> np.ndarray:
    """Item vectors with a known difficulty."""
    rng = np.random.default_rng(seed)
    vectors = rng.standard_normal((num_items, dimension)).astype(np.float32)
    if kind == "ties":
        vectors = rng.integers(-1, 2, (num_items, dimension)).astype(np.float32)
    elif kind == "duplicates":
        vectors = vectors[rng.integers(0, max(1, num_items // 4), num_items)]
    elif kind == "zeros":
        vectors[rng.random(num_items) < 0.7] = 0
    elif kind == "factors":
        vectors *= np.exp(rng.normal(0, 3, (num_items, 1))).astype(np.float32)
    elif kind == "near ties":
        vectors = vectors[:1] + (rng.integers(-2, 3, (num_items, dimension)) * 2.0**-22).astype(np.float32)
    elif kind == "tiny":
        vectors *= np.float32(1e-22)
    elif kind == "huge":
        vectors *= np.float32(1e19)
    elif kind == "some huge":
        vectors[rng.random(num_items) < 0.1] *= np.float32(1e36)
    elif kind == "one large coordinate":
        vectors[:, 0] = 4096 + rng.integers(0, 2, num_items)
    return np.ascontiguousarray(vectors)


@st.composite
def problems(draw: st.DrawFn) -> tuple[ItemShard, Queries, int]:
    num_items, num_queries = draw(st.integers(1, 60)), draw(st.integers(1, 8))
    dimension, kind = draw(st.sampled_from([1, 3, 8, 13, 32])), draw(st.sampled_from(KINDS))
    seed = draw(st.integers(0, 2**16))
    rng = np.random.default_rng(seed + 1)
    vectors = catalogue(seed, num_items + num_queries, dimension, kind)
    layout = Layout((Clause("platform", PLATFORMS),) if draw(st.booleans()) else ())
    choose = lambda: {"platform": [p for p in PLATFORMS if rng.random() < 0.4]}  # noqa: E731
    items = layout.item_words([choose() for _ in range(num_items)])
    users = layout.user_words([choose() for _ in range(num_queries)])
    seen = [np.flatnonzero(rng.random(num_items) < rng.choice([0.0, 0.3, 1.0])) for _ in range(num_queries)]
    offsets = np.concatenate([[0], np.cumsum([len(s) for s in seen])]).astype(np.int64)
    shard = ItemShard.from_vectors(vectors[:num_items], items, layout.clause_starts)
    queries = Queries(vectors[num_items:], users, offsets, np.concatenate(seen).astype(np.int64))
    return shard, queries, draw(st.sampled_from([1, 2, 5, 20, 100]))


def assert_same(got: TopK, expected: TopK) -> None:
    assert got.offsets.tolist() == expected.offsets.tolist()
    assert got.rows.tolist() == expected.rows.tolist()
    assert got.scores.tobytes() == expected.scores.tobytes()


def filtered_problem(kind: str, *, num_items: int, num_queries: int) -> tuple[ItemShard, Queries]:
    """Users with seen items and platforms; of several the last has seen nearly everything."""
    rng, dimension = np.random.default_rng(0), 24
    vectors = catalogue(0, num_items, dimension, kind)
    layout = Layout((Clause("platform", PLATFORMS),))
    choose = lambda: {"platform": [p for p in PLATFORMS if rng.random() < 0.5]}  # noqa: E731
    items = layout.item_words([choose() for _ in vectors])
    users = layout.user_words([choose() for _ in range(num_queries)])
    seen = [rng.choice(num_items, -(-num_items // 80), replace=False) for _ in range(num_queries)]
    if num_queries > 1:
        seen[-1] = rng.permutation(num_items)[num_items // 80 + 1 :]
    offsets = np.concatenate([[0], np.cumsum([len(s) for s in seen])])
    queries = Queries(catalogue(1, num_queries, dimension, kind), users, offsets, np.concatenate(seen))
    return ItemShard.from_vectors(vectors, items, layout.clause_starts), queries
