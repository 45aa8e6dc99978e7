"""The scoring contract a second time, in plain Python: nothing of the package and no arithmetic of numpy."""

from __future__ import annotations

from collections.abc import Sequence
from ctypes import c_float
from itertools import pairwise

from semrec.scoring.types import ItemShard, Queries


def canonical_score(user: Sequence[float], item: Sequence[float]) -> float:
    """The inner product in eight float64 lanes, rounded once to float32; zero has no sign."""
    lane = [0.0] * 8
    for d, (left, right) in enumerate(zip(user, item, strict=True)):
        lane[d % 8] += left * right
    total = ((lane[0] + lane[1]) + (lane[2] + lane[3])) + ((lane[4] + lane[5]) + (lane[6] + lane[7]))
    return c_float(total).value + 0.0


def ranked_lists(shard: ItemShard, queries: Queries) -> list[list[tuple[int, float]]]:
    """For each query every item that it may be shown, as (matrix row, score): score descending, then row ascending."""
    items, item_words = shard.vectors().tolist(), shard.words_IW.tolist()
    clauses = list(pairwise((*shard.clause_starts, shard.words_IW.shape[1])))
    lists = []
    for q, (vector, words) in enumerate(zip(queries.vectors_QD.tolist(), queries.words_QW.tolist(), strict=True)):
        seen = set(queries.seen_rows[queries.seen_offsets[q] : queries.seen_offsets[q + 1]].tolist())
        places = [
            (shard.first_row + row, canonical_score(vector, item))
            for row, item in enumerate(items)
            if shard.first_row + row not in seen
            and all(any(item_words[row][w] & words[w] for w in range(*clause)) for clause in clauses)
        ]
        lists.append(sorted(places, key=lambda place: (-place[1], place[0])))
    return lists
