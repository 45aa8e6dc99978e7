"""Retrieval sets with judged answers, and how well rankings find them: search by words, by meaning and by both."""

from __future__ import annotations

import csv
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from semrec.changes.overlay import OverlayView
from semrec.errors import InputError
from semrec.lexical.index import K1, B
from semrec.lexical.terms import terms_of
from semrec.online.anonymous import ContentVector
from semrec.online.hybrid import SearchMode, fused, search_queries
from semrec.online.release import OnlineRelease
from semrec.online.search import OnlineEncoder

__all__ = ["RetrievalSet", "SearchBenchRow", "bench_search", "ndcg", "read_retrieval_set", "searches_of"]

_K: Final = 10
_MODES: Final[tuple[SearchMode, ...]] = ("words", "dense", "hybrid")


@dataclass(frozen=True)
class RetrievalSet:
    """Documents (title, text) and queries by id, and for each judged query how relevant documents are to it, above 0."""

    documents: Mapping[str, tuple[str, str]]
    queries: Mapping[str, str]
    relevance: Mapping[str, Mapping[str, int]]


@dataclass(frozen=True)
class SearchBenchRow:
    """One way of searching: mean nDCG@10 over the judged queries, and queries per second, one after the other."""

    by: str
    queries: int
    ndcg_at_10: float
    queries_per_s: float


def read_retrieval_set(folder: Path, split: str = "test") -> RetrievalSet:
    """Reads a folder as BEIR has them: corpus.jsonl (_id, title, text), queries.jsonl (_id, text), qrels/<split>.tsv.

    Raises InputError for a file that is not there or has other columns, and for a set without a judged query.
    """
    documents = {row["_id"]: (row.get("title") or "", row["text"]) for row in _lines(folder / "corpus.jsonl")}
    queries = {row["_id"]: row["text"] for row in _lines(folder / "queries.jsonl")}
    relevance: dict[str, dict[str, int]] = {}
    path = folder / "qrels" / f"{split}.tsv"
    try:
        with path.open(encoding="utf-8", newline="") as file:
            for row in csv.DictReader(file, delimiter="\t"):
                if int(row["score"]) > 0 and row["query-id"] in queries:
                    relevance.setdefault(row["query-id"], {})[row["corpus-id"]] = int(row["score"])
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise _not_a_set(path, error, "tab-separated query-id, corpus-id, score") from None
    if not relevance:
        raise _not_a_set(path, None, "a query of queries.jsonl with a score above 0")
    return RetrievalSet(documents, queries, relevance)


def ndcg(ranked: Sequence[str], relevance: Mapping[str, int], k: int) -> float:
    """nDCG@K of one query as trec_eval has it: the relevance is the gain, divided by log2(1 + rank)."""

    def gained(values: Sequence[int]) -> float:
        return float(sum(value / np.log2(1 + rank) for rank, value in enumerate(values[:k], start=1)))

    best = gained(sorted(relevance.values(), reverse=True))
    return gained([relevance.get(item_id, 0) for item_id in ranked]) / best


def bench_search(served: OnlineRelease, retrieval: RetrievalSet) -> list[SearchBenchRow]:
    """Each mode of search over a release of the set's documents, and bm25s over the same terms where it is installed."""
    rows = [_measured(mode, search, retrieval) for mode, search in searches_of(served).items()]
    return [*rows, _measured("bm25s", peer, retrieval)] if (peer := _bm25s(retrieval)) else rows


def searches_of(served: OnlineRelease) -> dict[SearchMode, Callable[[str], list[str]]]:
    """Each mode of search: from a text to the ids of the first ten items."""
    encoder, released = OnlineEncoder.of_release(served.release), OverlayView.empty()
    encoder.warm()

    def by_mode(mode: SearchMode) -> Callable[[str], list[str]]:
        def search(text: str) -> list[str]:
            contents = [] if mode == "words" else [ContentVector(text, encoder.vector(text))]
            asked = search_queries(served, released, text, contents, k=_K, mode=mode)
            ranked = fused(served, released, asked, served.rank(asked, released), _K)
            return [hit.item_id for hit in ranked.hits]

        return search

    return {mode: by_mode(mode) for mode in _MODES}


def _measured(by: str, search: Callable[[str], list[str]], retrieval: RetrievalSet) -> SearchBenchRow:
    judged = list(retrieval.relevance)
    search(retrieval.queries[judged[0]])
    started_s = time.process_time()
    answers = [search(retrieval.queries[query_id]) for query_id in judged]
    per_s = len(judged) / max(time.process_time() - started_s, 1e-9)
    ndcg_Q = [ndcg(ranked, retrieval.relevance[i], _K) for i, ranked in zip(judged, answers, strict=True)]
    return SearchBenchRow(by, len(judged), float(np.mean(ndcg_Q)), per_s)


def _bm25s(retrieval: RetrievalSet) -> Callable[[str], list[str]] | None:
    try:
        import bm25s
    except ImportError:
        return None
    ids = list(retrieval.documents)
    index = bm25s.BM25(method="lucene", k1=K1, b=B)
    texts = [f"{title} {text}" for title, text in retrieval.documents.values()]
    index.index([terms_of(text) for text in texts], show_progress=False)

    def search(text: str) -> list[str]:
        places, _ = index.retrieve([terms_of(text)], k=min(_K, len(ids)), show_progress=False)
        return [ids[place] for place in places[0].tolist()]

    return search


def _lines(path: Path) -> list[dict[str, Any]]:
    try:
        with path.open(encoding="utf-8") as file:
            rows = [json.loads(line) for line in file if line.strip()]
        if all(isinstance(row, dict) and {"_id", "text"} <= row.keys() for row in rows):
            return rows
    except (OSError, ValueError) as error:
        raise _not_a_set(path, error, "a JSON object a line") from None
    raise _not_a_set(path, None, "JSON objects with _id and text")


def _not_a_set(path: Path, error: Exception | None, expected: str) -> InputError:
    return InputError(
        f"{path} cannot be read" + (f": {error!r}"[:200] if error else ""),
        expected=expected,
        remedy="Name a folder with corpus.jsonl, queries.jsonl and qrels/, as BEIR's data sets have them.",
    )
