"""A few queries at once, as a service asks them, beside what no exact engine is spared: reading the int8 codes of all items."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

import numpy as np

from semrec.bench.workloads import ScoringProblem
from semrec.compiled import compiled
from semrec.scoring.engine import make_engine

__all__ = ["BATCHES", "small_batches"]

BATCHES: Final = (1, 8, 32)  # queries
_PASSES: Final = 5  # of which the fastest counts; the first compiles
_PAUSE_S: Final = 0.05  # in which threads that spin after earlier work come to rest


def small_batches(
    problem: ScoringProblem, *, k: int, coarse: str | None, num_threads: int, rounds: int
) -> dict[int, list[tuple[float, float]]]:
    """Queries -> per round, seconds of CPU time of a pass of so many, and of one thread that reads a byte for each value.

    CPU time of all threads, so that who else works on the machine counts less.
    """
    engine = make_engine("cpu", problem.shard("plain"), coarse=coarse, num_threads=num_threads)
    codes = np.ones(problem.items.num_items * problem.items.dimension // 8, np.int64)
    taken: dict[int, list[tuple[float, float]]] = {n: [] for n in BATCHES if n <= problem.num_users}
    for _ in range(rounds):
        for num_queries, seconds in taken.items():
            queries = problem.queries("plain").between(0, num_queries)
            time.sleep(_PAUSE_S)
            read_s = _cpu_seconds(lambda: _sum(codes))
            seconds.append((_cpu_seconds(lambda queries=queries: engine.top_k(queries, k)), read_s))  # type: ignore[misc]
    return taken


def _cpu_seconds(work: Callable[[], object]) -> float:
    best_s = np.inf
    for _ in range(_PASSES):
        started_s = time.process_time()
        work()
        best_s = min(best_s, time.process_time() - started_s)
    return float(best_s)


@compiled
def _sum(words):  # type: ignore[no-untyped-def]
    total = np.int64(0)
    for word in words:
        total += word
    return total
