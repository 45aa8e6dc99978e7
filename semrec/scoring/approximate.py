"""Approximate lists: the first K, by canonical score, of those rows alone that their codes put first.

The rule. Of the rows that a query may be shown, the first C K by (code score descending, row ascending) are fetched, where C
is `over_fetch`. Their canonical scores are computed, and the first K by (score descending, row ascending) are the list. So
scores are canonical, nobody sees what they must not, and as many rows are listed as in an exact list; some rows of the exact
list may be missing. The code score is one of a coarse format (`CoarseFormat.code_scores`): sums of integers and three
roundings to float32, the same on every processor. Both orders are strict, so that a list depends on the query, the rows that it
may be shown and C K, and on no block, thread or shard: what shards have fetched is merged by code scores before K are chosen.

Nothing is approximate unless it is asked for by name, and no engine of the exact contract is: these have a class of their own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol

import numpy as np

from semrec.errors import InputError
from semrec.ranges import even_ranges
from semrec.scoring.formats import COMPRESSED_FORMATS, FORMATS, CoarseFormat, get_format
from semrec.scoring.formats.base import vector_norms
from semrec.scoring.reference import ReferenceEngine
from semrec.scoring.types import ItemShard, Queries, TopK, check_queries, first_places, select_top_k

if TYPE_CHECKING:
    from semrec.scoring.cpu.engine import CpuEngine

__all__ = ["OVER_FETCH", "ApproximateEngine", "Fetched", "check_approximate", "make_approximate_engine", "merge_lists"]

#: Rows that are fetched for each of the K where nothing else is said.
OVER_FETCH: Final = 10
_ENGINES: Final = ("reference", "cpu")
_MERGED_ROWS: Final = 1 << 18  # at once


@dataclass(frozen=True)
class Fetched:
    """The rows of a shard that their codes put first: `lists` has at most C K for each query, with their code scores.

    `scores` float32 are the canonical scores of `lists.rows`; `over_fetch` is C.
    """

    lists: TopK
    scores: np.ndarray
    over_fetch: int

    @property
    def num_queries(self) -> int:
        return self.lists.num_queries

    def between(self, start: int, stop: int) -> Fetched:
        """What was fetched for the queries start:stop."""
        first, last = self.lists.offsets[start], self.lists.offsets[stop]
        offsets = self.lists.offsets[start : stop + 1] - first
        lists = TopK(offsets, self.lists.rows[first:last], self.lists.scores[first:last])
        return Fetched(lists, self.scores[first:last], self.over_fetch)

    @classmethod
    def merge(cls, parts: list[Fetched], k: int) -> TopK:
        """The lists of the union of disjoint shards, for the same queries. Takes little memory beside the parts."""
        longest = max(int(part.lists.lengths.max(initial=0)) for part in parts)
        num_blocks = -(-parts[0].num_queries * longest * len(parts) // _MERGED_ROWS)
        blocks = even_ranges(parts[0].num_queries, max(1, num_blocks))
        return TopK.concatenate([_merged([part.between(*edges) for part in parts], k) for edges in blocks])


def _merged(parts: list[Fetched], k: int) -> TopK:
    """`Fetched.merge` in one go: a few times the memory of the parts."""
    num_queries = parts[0].num_queries
    queries = np.concatenate([np.repeat(np.arange(num_queries), part.lists.lengths) for part in parts])
    rows = np.concatenate([part.lists.rows for part in parts])
    code_scores = np.concatenate([part.lists.scores for part in parts])
    scores = np.concatenate([part.scores for part in parts])
    offsets = parts[0].lists.offsets
    if len(parts) > 1:
        offsets, first = first_places(queries, rows, code_scores, num_queries, parts[0].over_fetch * k)
        queries, rows, scores = queries[first], rows[first], scores[first]
    _, scores_QN = TopK(offsets, rows, scores).padded()
    if scores_QN.shape[1] > k:  # sorting all that was fetched takes longer than finding the K-th
        reaches_N = scores >= np.partition(scores_QN, -k, axis=1)[queries, -k]
        queries, rows, scores = queries[reaches_N], rows[reaches_N], scores[reaches_N]
    chosen = select_top_k(queries, rows, scores, num_queries, k)
    return TopK(chosen.offsets, chosen.rows, chosen.scores, sum(len(part.scores) for part in parts))


def merge_lists(parts: Sequence[TopK | Fetched], k: int) -> TopK:
    """The first K of the union of disjoint shards, from what their engines answer, which are all exact or all approximate."""
    top: TopK = type(parts[0]).merge(list(parts), k)  # type: ignore[arg-type]
    return top


class ApproximateEngine(Protocol):
    """Holds one shard and fetches by its codes. Every one fetches the same rows with the same bytes of both scores."""

    name: str
    shard: ItemShard

    def top_k(self, queries: Queries, k: int) -> Fetched:
        """What K of each query are chosen from. Raises InputError when K < 1 or the queries do not fit the shard."""
        ...


def check_approximate(coarse: str, engine: str | None = None) -> CoarseFormat:
    """The format whose scores fetch the rows of approximate lists over items in the format `coarse`.

    Raises InputError where there is none, or when `engine` does not make such lists.
    """
    allowed = [name for name, known in {**FORMATS, **COMPRESSED_FORMATS}.items() if known.code_scores]
    code_scores = get_format(coarse).code_scores if coarse != "auto" else None
    if code_scores is None:
        raise InputError(
            f"approximate lists of items in the coarse format {coarse}",
            expected=f"a release whose format is {' or '.join(allowed)}",
            remedy=f"Build one after `semrec config set release.coarse_format {allowed[0]}`, or ask for exact lists.",
        )
    if engine is not None and engine not in _ENGINES:
        raise InputError(
            f"approximate lists by engine {engine}",
            expected=" or ".join(_ENGINES),
            remedy="Say --engine cpu, or ask for exact lists.",
        )
    return code_scores


def make_approximate_engine(
    name: str, shard: ItemShard, *, coarse: str, over_fetch: int, num_threads: int | None = None
) -> ApproximateEngine:
    """The engine called `name` that fetches C K = `over_fetch` K rows of `shard` by codes in the format `coarse`.

    Raises as `check_approximate` does, and DeviceError where products of these codes are wrong on this machine.
    """
    code_scores = check_approximate(coarse, name)
    if name == "reference":
        return _Reference(shard, code_scores, over_fetch)
    from semrec.scoring.cpu.engine import CpuEngine

    return _Cpu(CpuEngine(shard, coarse=code_scores, num_threads=num_threads), over_fetch)


class _Cpu:
    """The CPU engine in a format whose coarse scores are final."""

    name = "cpu"

    def __init__(self, engine: CpuEngine, over_fetch: int) -> None:
        self.shard, self.coarse = engine.shard, engine.coarse
        self._engine, self._over_fetch = engine, over_fetch

    def top_k(self, queries: Queries, k: int) -> Fetched:
        """See `ApproximateEngine.top_k`."""
        lists = self._engine.top_k(queries, self._over_fetch * k)
        return Fetched(lists, self._engine.score_lists(queries, lists), self._over_fetch)


class _Reference:
    """The rule as it is written, one query at a time; codes and scales are data, the format's own."""

    name = "reference"

    def __init__(self, shard: ItemShard, code_scores: CoarseFormat, over_fetch: int) -> None:
        self.shard, self._format, self._over_fetch = shard, code_scores, over_fetch
        self._exact, vectors_ID = ReferenceEngine(shard), shard.vectors()
        self._scale_I = shard.norms_of(code_scores)[1]
        self._codes_ID = code_scores.encode(vectors_ID, self._scale_I).numpy()

    def top_k(self, queries: Queries, k: int) -> Fetched:
        """See `ApproximateEngine.top_k`."""
        check_queries(queries, k, self.shard)
        scale_Q, _ = self._format.query_columns(queries.vectors_QD, vector_norms(queries.vectors_QD))
        codes_QD = self._format.encode_queries(queries.vectors_QD, scale_Q).numpy()
        lengths, rows, code_scores, scores = [], [], [], []
        for q in range(queries.num_queries):
            visible, scores_V = self._exact.scored(queries, q)
            sums_V = self._codes_ID[visible].astype(np.int64) @ codes_QD[q].astype(np.int64)
            with np.errstate(over="ignore", under="ignore"):
                codes_V = sums_V.astype(np.float32) * self._scale_I[visible] * scale_Q[q] + np.float32(0.0)
            first = np.lexsort((visible, -codes_V))[: self._over_fetch * k]
            lengths.append(len(first))
            rows.append(visible[first] + self.shard.first_row)
            code_scores.append(codes_V[first])
            scores.append(scores_V[first])
        lists = TopK(
            np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
            np.concatenate([np.zeros(0, np.int64), *rows]),
            np.concatenate([np.zeros(0, np.float32), *code_scores]),
        )
        return Fetched(lists, np.concatenate([np.zeros(0, np.float32), *scores]), self._over_fetch)
