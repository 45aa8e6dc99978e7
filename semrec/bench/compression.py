"""What a compressed coarse format saves and costs, beside int8 on the same vectors in the same process."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Final

import numpy as np

from semrec.bench.workloads import ScoringProblem
from semrec.scoring.approximate import OVER_FETCH, make_approximate_engine, merge_lists
from semrec.scoring.cpu.engine import CpuEngine
from semrec.scoring.formats import COMPRESSED_FORMATS, CoarseFormat, get_format
from semrec.scoring.formats.base import QueryBounds
from semrec.scoring.types import Queries, TopK

__all__ = ["CompressionRow", "bench_compression"]

_PEERS: Final = ("int8", "int8_rotated")


@dataclass(frozen=True)
class CompressionRow:
    """One format. What is proven is exact in every format; recall is that of lists which its codes alone would give."""

    coarse: str
    bytes_per_item: int
    share_of_float32: float
    users_per_cpu_s: float  # of exact lists
    scored_share: float  # of all pairs, scored canonically before a list was proven
    exhaustive_share: float  # of the users: every item was scored
    recall_10: float
    recall_100: float
    overfetched_recall_10: float  # of the best 10 among the 100 that the codes put first, and so on
    overfetched_recall_100: float
    equal: bool  # the exact lists are those of the first format, byte for byte
    approximate_users_per_cpu_s: float | None  # of approximate lists of 100; None for a format that has none
    approximate_recall: float | None


def bench_compression(problem: ScoringProblem, *, num_threads: int) -> list[CompressionRow]:
    """Exact lists of 100 in each format, and what its codes alone would give, without exclusion or filters."""
    queries, rows = Queries.unfiltered(problem.users_UD), []
    exact: TopK | None = None
    for name in (*_PEERS, *COMPRESSED_FORMATS):
        coarse = get_format(name)
        engine = CpuEngine(problem.items, coarse=coarse, num_threads=num_threads)
        engine.top_k(queries.between(0, min(2, queries.num_queries)), 100)  # compiles
        started_s = time.process_time()
        lists = engine.top_k(queries, 100)
        taken_s = time.process_time() - started_s
        exact = exact or lists
        unproven = CpuEngine(problem.items, coarse=_without_bounds(coarse), num_threads=num_threads)
        of_codes = {k: unproven.top_k(queries, k) for k in (10, 100, 100 * OVER_FETCH)}
        approximate_s, approximate = _approximate(problem, queries, name, num_threads)
        num_users, num_items = queries.num_queries, problem.items.num_items
        bytes_per_item, dimension = coarse.item_bytes(problem.items.dimension), problem.items.dimension
        rows.append(
            CompressionRow(
                name, bytes_per_item, bytes_per_item / (4 * dimension), num_users / taken_s,
                lists.num_candidates / (num_users * num_items), lists.num_exhaustive / num_users,
                _recall(of_codes[10], exact, 10), _recall(of_codes[100], exact, 100),
                _recall(of_codes[100], exact, 10), _recall(of_codes[100 * OVER_FETCH], exact, 100),
                lists.rows.tobytes() == exact.rows.tobytes() and lists.scores.tobytes() == exact.scores.tobytes(),
                num_users / approximate_s if approximate_s else None,
                _recall(approximate, exact, 100) if approximate else None,
            )
        )  # fmt: skip
    return rows


def _approximate(
    problem: ScoringProblem, queries: Queries, coarse: str, num_threads: int
) -> tuple[float | None, TopK | None]:
    """CPU seconds of the approximate lists of 100 in a format, and these; None where it has none."""
    if get_format(coarse).code_scores is None:
        return None, None
    engine = make_approximate_engine(
        "cpu", problem.items, coarse=coarse, over_fetch=OVER_FETCH, num_threads=num_threads
    )
    engine.top_k(queries.between(0, min(2, queries.num_queries)), 100)  # compiles
    started_s = time.process_time()
    lists = merge_lists([engine.top_k(queries, 100)], 100)
    return time.process_time() - started_s, lists


def _recall(of_codes: TopK, exact: TopK, k: int) -> float:
    """The share of the first K of the exact lists that stand anywhere in those of the codes."""
    shares = [
        np.isin(exact.rows[start : min(start + k, stop)], of_codes.rows[first:last]).mean()
        for start, stop, first, last in zip(
            exact.offsets[:-1], exact.offsets[1:], of_codes.offsets[:-1], of_codes.offsets[1:], strict=True
        )
    ]
    return float(np.mean(shares))


def _without_bounds(coarse: CoarseFormat) -> CoarseFormat:
    """A format whose scores are taken for right: its lists are what the codes alone say."""

    def no_bounds(
        self: CoarseFormat, norm_Q: np.ndarray, residual_Q: np.ndarray, dimension: int, *, rounded_output: bool
    ) -> QueryBounds:
        zeros_Q = np.zeros(len(norm_Q), np.float32)
        return QueryBounds(zeros_Q, zeros_Q, zeros_Q, 0.0)

    unproven: CoarseFormat = type(f"Unproven{type(coarse).__name__}", (type(coarse),), {"query_bounds": no_bounds})()
    return unproven
