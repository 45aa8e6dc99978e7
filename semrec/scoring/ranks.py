"""Exact ranks of given items, by counting what stands before them; no list of scores is ever made."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from semrec.errors import InputError
from semrec.scoring.canonical import canonical_scores
from semrec.scoring.eligibility import eligible_items
from semrec.scoring.engine import Engine
from semrec.scoring.types import Queries, Targets

__all__ = ["exact_ranks"]

_PAIRS_PER_CHUNK = 1 << 16  # canonical scores take 16 bytes a dimension meanwhile


def exact_ranks(engines: Sequence[Engine], queries: Queries, offsets: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """The rank of each asked-for item among all that its query may be shown, best = 1: int64 [N]. 0: it may not be shown.

    `engines` hold disjoint shards that together are the item matrix. Query q asks for the matrix rows
    `rows[offsets[q] : offsets[q + 1]]`. Raises InputError for a row that no shard holds.
    """
    owner = np.repeat(np.arange(queries.num_queries), np.diff(offsets))
    scores, may_be_shown = np.zeros(len(rows), np.float32), np.zeros(len(rows), bool)
    held = np.zeros(len(rows), bool)
    for engine in engines:
        first, shard = engine.shard.first_row, engine.shard
        mine = np.flatnonzero((rows >= first) & (rows < first + shard.num_items))
        local = rows[mine] - first
        held[mine] = True
        for start in range(0, len(mine), _PAIRS_PER_CHUNK):
            some, at = mine[start : start + _PAIRS_PER_CHUNK], local[start : start + _PAIRS_PER_CHUNK]
            scores[some] = canonical_scores(queries.vectors_QD[owner[some]], shard.vectors(at))
        may_be_shown[mine] = eligible_items(shard.words_IW[local], queries.words_QW[owner[mine]], shard.clause_ranges)
    if not held.all():
        raise InputError(
            f"row {rows[~held][0]}", expected="a row of the item matrix", remedy="Ask for items of this release."
        )
    # A pair of query and row as one number: looking seen rows up target by target takes longer than the counting.
    num_rows = 1 + max(int(rows.max(initial=0)), int(queries.seen_rows.max(initial=0)))
    seen_owner = np.repeat(np.arange(queries.num_queries), np.diff(queries.seen_offsets))
    may_be_shown &= ~np.isin(owner * num_rows + rows, seen_owner * num_rows + queries.seen_rows)
    targets = Targets(offsets, rows, scores)
    before = sum((engine.count_before(queries, targets) for engine in engines), np.zeros(len(rows), np.int64))
    return np.where(may_be_shown, before + 1, 0)
