"""Exact top K over plain numpy arrays: one call, or an index that keeps the prepared engine for repeated calls.

    lists = semrec.top_k(queries_QD, items_ID, k=10, exclude=seen_rows)
    rows_QK, scores_QK = lists.padded()

This is the engine of all-user runs and of the service, without a workspace. Scores are inner products as `semrec.contracts`
defines them; for cosine similarity, divide the vectors by their norms.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from semrec.errors import InputError
from semrec.scoring.eligibility import Layout
from semrec.scoring.engine import Engine, make_engine
from semrec.scoring.types import ItemShard, Queries, TopK

__all__ = ["Eligibility", "Index", "top_k"]


@dataclass(frozen=True)
class Eligibility:
    """Rules by which each query may see some items and not others, without a mask of queries x items.

    An AND of clauses over small bitsets: `item_words_IW` and `query_words_QW` are uint64, clause c owns the words
    `clause_starts[c] : clause_starts[c + 1]` (the last one runs to W), and a query may see an item if they share a set bit
    in every clause.
    """

    item_words_IW: np.ndarray
    query_words_QW: np.ndarray
    clause_starts: tuple[int, ...] = (0,)

    @classmethod
    def from_attributes(
        cls,
        names: Sequence[str],
        items: Sequence[Mapping[str, Sequence[str]]],
        queries: Sequence[Mapping[str, Sequence[str]]],
    ) -> Eligibility:
        """One clause per attribute: a query that states values of it may see the items that state one of them, and no other.

        `items` and `queries` map names of attributes to values, one mapping per row: {"platform": ["Atlas", "Lumina"]}. A
        query that states none of an attribute may see all items. Raises InputError for an attribute with more than 256
        values.
        """
        item_attributes, query_attributes = ([_as_lists(row) for row in rows] for rows in (items, queries))
        layout = Layout.of_items(names, item_attributes)
        return cls(layout.item_words(item_attributes), layout.user_words(query_attributes), layout.clause_starts)


#: Rows that a query must not be given: ragged, one integer array per query, or a scipy.sparse matrix [Q, I].
Exclude = Sequence[np.ndarray] | Any


class Index:
    """Items prepared for exact top-K queries. Threads may share one.

    `items_ID` float32 [I, D]; the index keeps a copy of about the same size. `engine` is "cpu" or "cuda". `num_threads` of the
    cpu engine is torch's number of threads by default. Raises InputError for another shape or dtype, or for a row that holds
    NaN or infinity; DeviceError for "cuda" without a GPU.
    """

    def __init__(self, items_ID: np.ndarray, *, engine: str = "cpu", num_threads: int | None = None) -> None:
        _check_vectors("items", items_ID)
        self._shard = ItemShard.from_vectors(items_ID)
        self._engine_name, self._num_threads = engine, num_threads
        self._engine = self._make_engine(self._shard)
        self._filtered_engine: Engine | None = None

    @property
    def num_items(self) -> int:
        return self._shard.num_items

    @property
    def dimension(self) -> int:
        return self._shard.dimension

    def top_k(
        self,
        queries_QD: np.ndarray,
        k: int,
        *,
        exclude: Exclude | None = None,
        eligible: np.ndarray | Eligibility | None = None,
    ) -> TopK:
        """Each query's first K items by (score descending, row ascending): exact, in rows and in the bytes of scores.

        `queries_QD` float32 [Q, D]. `exclude`: for each query the rows that it must not be given, as Q integer arrays, or as a
        scipy.sparse matrix [Q, I] of which every stored entry counts. `eligible`: bool [I], the items that any query may be
        given, or an `Eligibility` by query. A query with fewer than K such items gets them all.

        Raises InputError for K < 1, another shape or dtype, a row that does not exist, and vectors that are not finite.
        """
        _check_vectors("queries", queries_QD)
        num_queries = len(queries_QD)
        offsets, rows = self._excluded_rows(exclude, num_queries)
        engine, words_QW = self._engine, np.zeros((num_queries, 0), np.uint64)
        if eligible is not None:
            rules = self._checked_rules(eligible, num_queries)
            engine, words_QW = self._engine_for(rules), rules.query_words_QW
        return engine.top_k(Queries(queries_QD, words_QW, offsets, rows), k)

    def _make_engine(self, shard: ItemShard) -> Engine:
        return make_engine(self._engine_name, shard, num_threads=self._num_threads)

    def _engine_for(self, rules: Eligibility) -> Engine:
        """An engine whose items have these words; the last one is kept, because preparing it reads all items."""
        engine, words_IW = self._filtered_engine, np.ascontiguousarray(rules.item_words_IW)
        is_same = engine is not None and engine.shard.clause_starts == rules.clause_starts
        if engine is None or not is_same or not np.array_equal(engine.shard.words_IW, words_IW):
            shard = replace(self._shard, words_IW=words_IW.copy(), clause_starts=rules.clause_starts)
            engine = self._filtered_engine = self._make_engine(shard)
        return engine

    def _checked_rules(self, eligible: np.ndarray | Eligibility, num_queries: int) -> Eligibility:
        """Words of items and queries; a mask of items becomes one clause with one bit."""
        if isinstance(eligible, np.ndarray) and eligible.dtype == bool and eligible.shape == (self.num_items,):
            return Eligibility(eligible.astype(np.uint64)[:, None], np.ones((num_queries, 1), np.uint64))
        if not isinstance(eligible, Eligibility):
            raise InputError(
                f"eligible: {_described(eligible)}",
                expected=f"bool [{self.num_items}], one value per item, or a semrec.Eligibility",
                remedy="For rules by query use semrec.Eligibility.from_attributes.",
            )
        num_words = eligible.item_words_IW.shape[-1]
        expected = {"item_words_IW": (self.num_items, num_words), "query_words_QW": (num_queries, num_words)}
        for name, shape in expected.items():
            words = getattr(eligible, name)
            if words.dtype != np.uint64 or words.shape != shape:
                raise InputError(
                    f"eligible: {name} is {_described(words)}",
                    expected=f"uint64 {list(shape)}",
                    remedy="Give one row of words per item and per query, of as many words each.",
                )
        return eligible

    def _excluded_rows(self, exclude: Exclude | None, num_queries: int) -> tuple[np.ndarray, np.ndarray]:
        """Offsets int64 [Q + 1] and rows int64 of what each query must not be given."""
        if exclude is None:
            return np.zeros(num_queries + 1, np.int64), np.zeros(0, np.int64)
        to_csr = getattr(exclude, "tocsr", None)
        if to_csr is not None:  # scipy.sparse, which need not be installed
            csr = to_csr()
            if csr.shape != (num_queries, self.num_items):
                raise self._wrong_exclude(f"a sparse matrix of {list(csr.shape)}", num_queries)
            return csr.indptr.astype(np.int64), csr.indices.astype(np.int64)
        if len(exclude) != num_queries:
            raise self._wrong_exclude(f"lists for {len(exclude)} queries", num_queries)
        lists = [np.asarray(rows) if len(rows) else np.zeros(0, np.int64) for rows in exclude]
        for q, rows in enumerate(lists):
            if rows.ndim != 1 or rows.dtype.kind not in "iu":
                raise self._wrong_exclude(f"{_described(rows)} for query {q}", num_queries)
            if len(rows) and not 0 <= rows.min() <= rows.max() < self.num_items:
                raise self._wrong_exclude(f"rows {rows.min()} to {rows.max()} for query {q}", num_queries)
        offsets = np.concatenate([[0], np.cumsum([len(rows) for rows in lists])]).astype(np.int64)
        return offsets, np.concatenate([np.zeros(0, np.int64), *lists]).astype(np.int64)

    def _wrong_exclude(self, got: str, num_queries: int) -> InputError:
        return InputError(
            f"exclude: {got}",
            expected=f"{num_queries} arrays of rows from 0 to {self.num_items - 1}, or a scipy.sparse matrix "
            f"[{num_queries}, {self.num_items}]",
            remedy="Give one array per query, empty for a query that excludes nothing.",
        )


def top_k(
    queries_QD: np.ndarray,
    items_ID: np.ndarray,
    k: int,
    *,
    exclude: Exclude | None = None,
    eligible: np.ndarray | Eligibility | None = None,
    engine: str = "cpu",
    num_threads: int | None = None,
) -> TopK:
    """Each query's exact first K items, by inner product. See `Index`, which also serves repeated calls faster."""
    index = Index(items_ID, engine=engine, num_threads=num_threads)
    return index.top_k(queries_QD, k, exclude=exclude, eligible=eligible)


def _as_lists(attributes: Mapping[str, Sequence[str]]) -> dict[str, list[str]]:
    return {name: list(values) for name, values in attributes.items()}


def _check_vectors(name: str, vectors: np.ndarray) -> None:
    is_matrix = isinstance(vectors, np.ndarray) and vectors.ndim == 2 and vectors.shape[1] > 0
    if not is_matrix or vectors.dtype != np.float32:
        raise InputError(
            f"{name}: {_described(vectors)}",
            expected="a numpy array of float32 with two axes: rows, dimensions",
            remedy="Convert it with np.asarray(..., dtype=np.float32); one vector v is the matrix v[None].",
        )


def _described(value: object) -> str:
    return f"{value.dtype} {list(value.shape)}" if isinstance(value, np.ndarray) else type(value).__name__
