"""Scoring speed of the engines against exact peers, on the same data in the same process."""

from __future__ import annotations

import importlib.util
import time
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median

import numpy as np
import torch

from semrec.scoring import ItemShard, Queries, TopK, make_engine

__all__ = ["ScoreBenchRow", "bench_scoring", "generated_vectors"]

_REFERENCE_QUERIES = 16
_PEER_BLOCK = 256

Way = Callable[[np.ndarray], TopK | None]


@dataclass(frozen=True)
class ScoreBenchRow:
    """One engine at one K. `equal` says whether all sampled lists are the reference's, rows and score bytes."""

    engine: str
    k: int
    users_per_s: float  # median over the rounds
    ratio_to_faiss: float | None
    equal: bool | None  # None: the peer promises no such thing
    candidates_per_row: float | None
    exhaustive_rows: int | None


def generated_vectors(num_rows: int, dimension: int, seed: int, *, num_clusters: int = 500) -> np.ndarray:
    """Unit vectors around cluster centres, as text embeddings lie: float32 [num_rows, dimension]."""
    rng = np.random.default_rng(seed)
    centres = rng.standard_normal((num_clusters, dimension)).astype(np.float32)
    vectors = centres[rng.integers(0, num_clusters, num_rows)]
    vectors += 0.8 * rng.standard_normal((num_rows, dimension), dtype=np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors


def bench_scoring(
    items_ID: np.ndarray, users_UD: np.ndarray, *, ks: tuple[int, ...], num_threads: int, rounds: int = 3
) -> list[ScoreBenchRow]:
    """Every engine at every K over the same items and users; faiss-cpu and torch as peers where they are installed.

    Each round runs all of them in turn, so that a drift of the machine falls on all. Exclusion and filters are off: the
    peers have none.
    """
    torch.set_num_threads(num_threads)
    shard = ItemShard.without_clauses(items_ID)
    reference = make_engine("reference", shard)
    sample = users_UD[:_REFERENCE_QUERIES]
    rows = []
    for k in ks:
        ways = _ways(shard, k, num_threads)
        taken: dict[str, list[float]] = {name: [] for name in ways}
        results: dict[str, TopK | None] = {}
        for _ in range(rounds):
            for name, way in ways.items():
                started_s = time.perf_counter()
                results[name] = way(users_UD)
                taken[name].append((time.perf_counter() - started_s) / len(users_UD))
        started_s = time.perf_counter()
        expected = reference.top_k(Queries.unfiltered(sample), k)
        taken["reference"] = [(time.perf_counter() - started_s) / len(sample)]
        results["reference"] = expected
        rows += _rows(k, taken, results, expected)
    return rows


def _ways(shard: ItemShard, k: int, num_threads: int) -> dict[str, Way]:
    ways: dict[str, Way] = {"cpu": _ours("cpu", shard, k)}
    if torch.cuda.is_available():
        ways["cuda"] = _ours("cuda", shard, k)
    if importlib.util.find_spec("faiss"):
        ways["faiss-cpu"] = _faiss(shard.vectors_ID, k, num_threads)
    ways["torch"] = _torch(shard.vectors_ID, k)
    return ways


def _ours(name: str, shard: ItemShard, k: int) -> Way:
    engine = make_engine(name, shard)
    return lambda users_UD: engine.top_k(Queries.unfiltered(users_UD), k)


def _faiss(items_ID: np.ndarray, k: int, num_threads: int) -> Way:
    import faiss

    faiss.omp_set_num_threads(num_threads)
    index = faiss.IndexFlatIP(items_ID.shape[1])
    index.add(np.ascontiguousarray(items_ID))

    def search(users_UD: np.ndarray) -> None:
        index.search(users_UD, k)

    return search


def _torch(items_ID: np.ndarray, k: int) -> Way:
    items = torch.from_numpy(np.ascontiguousarray(items_ID))
    scratch = torch.empty((_PEER_BLOCK, len(items)))

    def search(users_UD: np.ndarray) -> None:
        for start in range(0, len(users_UD), _PEER_BLOCK):
            block = torch.from_numpy(users_UD[start : start + _PEER_BLOCK])
            torch.topk(torch.mm(block, items.T, out=scratch[: len(block)]), min(k, len(items)), dim=1)

    return search


def _rows(
    k: int, taken: dict[str, list[float]], results: dict[str, TopK | None], expected: TopK
) -> list[ScoreBenchRow]:
    faiss_s = median(taken["faiss-cpu"]) if "faiss-cpu" in taken else None
    rows = []
    for name, seconds in taken.items():
        found, user_s = results[name], median(seconds)
        rows.append(
            ScoreBenchRow(
                name,
                k,
                1 / user_s,
                faiss_s / user_s if faiss_s else None,
                _same_start(found, expected) if found else None,
                found.num_candidates / found.num_queries if found else None,
                found.num_exhaustive if found else None,
            )
        )
    return rows


def _same_start(found: TopK, expected: TopK) -> bool:
    end = int(expected.offsets[-1])
    same_rows = np.array_equal(found.rows[:end], expected.rows)
    return same_rows and found.scores[:end].tobytes() == expected.scores.tobytes()
