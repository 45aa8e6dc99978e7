"""An index of words: for each term the documents that have it, with what it adds to their score for a query (BM25)."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from semrec.lexical.terms import occurrences
from semrec.sorted_ids import SortedIds

__all__ = ["K1", "MAX_QUERY_TERMS", "B", "WordIndex", "build_index"]

#: How soon a term that comes again counts no more, and how much long documents lose: the usual values (Robertson,
#: Zaragoza, The Probabilistic Relevance Framework, 2009, section 3.5).
K1: Final = 1.2
B: Final = 0.75
#: Distinct terms of a query that count: its first ones. It bounds what a long text costs.
MAX_QUERY_TERMS: Final = 256


@dataclass(frozen=True, eq=False)
class WordIndex:
    """Terms and the documents that have them.

    Term t has the documents `rows_P[offsets_T1[t] : offsets_T1[t + 1]]`, ascending, and adds `scores_P` to the score of
    each. `offsets_T1` int64, `rows_P` int32, `scores_P` float32, all of which may be memory-mapped. `num_documents` and
    `mean_length`, in terms, are those of the collection that the scores go by.

    A score is that of BM25 as Lucene has it, the sum over the terms of a query of

        ln(1 + (N - n + 0.5) / (n + 0.5)) * f / (f + K1 * (1 - B + B * length / mean length))

    where N documents are in the collection, n of them have the term, and this one has it f times. Because nothing in it but
    the terms comes from a query, what each term adds is computed beforehand (Lu, BM25S, 2024).
    """

    terms: SortedIds
    offsets_T1: np.ndarray
    rows_P: np.ndarray
    scores_P: np.ndarray
    num_documents: int
    mean_length: float

    def scores(self, terms: Sequence[str], start: int, stop: int) -> tuple[np.ndarray, np.ndarray]:
        """Scores the documents start:stop that have a term of a query.

        Returns their rows, int64 ascending, and their scores, float32. A term that a query has twice counts twice. The sum
        is made in float64 in the terms' own order, so it does not depend on the query's.
        """
        counts = Counter(terms)
        distinct = sorted(list(counts)[:MAX_QUERY_TERMS])
        total_I = np.zeros(stop - start)
        for term, place in zip(distinct, self.terms.rows_of(pa.array(distinct, pa.string())).tolist(), strict=True):
            if place < 0:
                continue
            first, last = self.offsets_T1[place : place + 2].tolist()
            rows_P = self.rows_P[first:last]
            inside = slice(*np.searchsorted(rows_P, [start, stop]).tolist())
            total_I[rows_P[inside] - start] += counts[term] * self.scores_P[first:last][inside].astype(np.float64)
        scored = np.flatnonzero(total_I)  # what a term adds is above 0
        return scored + start, total_I[scored].astype(np.float32)

    def added(self, texts: pa.Array) -> WordIndex:
        """Returns an index of other documents, rows from 0, whose scores are those that they would have in this collection."""
        row_N, code_N, terms = occurrences(texts)
        place_T = self.terms.rows_of(terms)
        counts = np.diff(self.offsets_T1)
        frequencies_T = np.where(place_T < 0, 0, counts[place_T] if len(counts) else 0)
        return _scored(terms, row_N, code_N, len(texts), frequencies_T, self.num_documents, self.mean_length)


def build_index(blocks: Iterable[tuple[np.ndarray, pa.Array]], num_documents: int) -> WordIndex:
    """Builds the index of documents that come in blocks, in any order: the rows of some, int64, and their texts.

    The time and memory are those of all occurrences of terms: 24 bytes for each while it is built. The same documents give
    the same bytes, whatever the blocks.
    """
    rows, codes, vocabularies = [np.zeros(0, np.int64)], [], []
    for rows_B, texts in blocks:
        text_N, code_N, terms = occurrences(texts)
        rows.append(rows_B[text_N])
        codes.append(code_N)
        vocabularies.append(terms)
    every = pa.concat_arrays([pa.array([], pa.string()), *vocabularies]).unique()
    terms = every.take(pc.sort_indices(every))
    places = [pc.index_in(own, value_set=terms).to_numpy().astype(np.int64) for own in vocabularies]
    code_N = np.concatenate([np.zeros(0, np.int64), *(place[own] for place, own in zip(places, codes, strict=True))])
    return _scored(terms, np.concatenate(rows), code_N, num_documents)


def _scored(
    terms: pa.Array,
    row_N: np.ndarray,
    code_N: np.ndarray,
    num_rows: int,
    frequencies_T: np.ndarray | None = None,
    num_documents: int | None = None,
    mean_length: float | None = None,
) -> WordIndex:
    """The index of all occurrences, scored by its own statistics or by those of another collection."""
    from scipy.sparse import coo_array

    ones_N = np.ones(len(row_N), np.int32)
    counts = coo_array((ones_N, (code_N, row_N)), (len(terms), num_rows)).tocsr()  # adds up what is there twice
    counts.sort_indices()
    offsets_T1 = counts.indptr.astype(np.int64)
    in_documents_T = np.diff(offsets_T1) if frequencies_T is None else frequencies_T
    num_documents = num_rows if num_documents is None else num_documents
    lengths_I = np.bincount(row_N, minlength=num_rows)
    mean_length = (len(row_N) / num_rows if num_rows else 0.0) if mean_length is None else mean_length
    saturation_I = K1 * (1 - B + B * lengths_I / (mean_length or 1.0))
    rarity_P = np.repeat(_rarity(in_documents_T, num_documents), np.diff(offsets_T1))
    scores_P = rarity_P * (counts.data / (counts.data + saturation_I[counts.indices]))
    return WordIndex(
        SortedIds.of(terms),
        offsets_T1,
        counts.indices.astype(np.int32),
        scores_P.astype(np.float32),
        num_documents,
        mean_length,
    )


def _rarity(in_documents_T: np.ndarray, num_documents: int) -> np.ndarray:
    """The factor of each term, from how many documents have it: float64 [T], rounded to float32.

    By the C library, whose last digit, unlike that of numpy's vectors, does not depend on the processor's instructions.
    """
    distinct, place_T = np.unique(in_documents_T, return_inverse=True)
    values = [math.log(1 + (num_documents - n + 0.5) / (n + 0.5)) for n in distinct.tolist()]
    return np.array(values, np.float32).astype(np.float64)[place_T.reshape(-1)]
