"""Compute exact ranks of given items by counting the items that stand before them; no list of scores is ever made."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from semrec.errors import InputError
from semrec.scoring.canonical import canonical_scores
from semrec.scoring.eligibility import eligible_items
from semrec.scoring.engine import Engine
from semrec.scoring.types import Queries, Targets

__all__ = ["exact_ranks"]


def exact_ranks(engines: Sequence[Engine], queries: Queries, offsets: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """The rank of each item among all that its query may be shown, best = 1; 0 where it may not be shown: int64 [N].

    `engines` hold disjoint shards that together are the item matrix. The items of query q are the matrix
    rows `rows[offsets[q] : offsets[q + 1]]`. Raises InputError for a row that no shard holds.
    """
    owner = np.repeat(np.arange(queries.num_queries), np.diff(offsets))
    scores, is_visible = np.zeros(len(rows), np.float32), np.zeros(len(rows), bool)
    is_in_a_shard = np.zeros(len(rows), bool)
    for engine in engines:
        first, shard = engine.shard.first_row, engine.shard
        inside = np.flatnonzero((rows >= first) & (rows < first + shard.num_items))
        local = rows[inside] - first
        is_in_a_shard[inside] = True
        scores[inside] = canonical_scores(queries.vectors_QD[owner[inside]], shard.vectors(local))
        is_visible[inside] = eligible_items(shard.words_IW[local], queries.words_QW[owner[inside]], shard.clause_ranges)
    if not is_in_a_shard.all():
        raise InputError(
            f"row {rows[~is_in_a_shard][0]}",
            expected="a row of the item matrix",
            remedy="Ask for items of this release.",
        )
    is_visible &= ~_are_seen(queries, owner, rows)
    targets = Targets(offsets, rows, scores)
    before = sum((engine.count_before(queries, targets) for engine in engines), np.zeros(len(rows), np.int64))
    return np.where(is_visible, before + 1, 0)


def _are_seen(queries: Queries, owner: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Which of the matrix rows `rows` the queries `owner` have seen: bool [N]."""
    seen_by = np.repeat(np.arange(queries.num_queries), np.diff(queries.seen_offsets))
    span = 1 + max(rows.max(initial=0), queries.seen_rows.max(initial=0))
    return np.isin(owner * span + rows, seen_by * span + queries.seen_rows)
