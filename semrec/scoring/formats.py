"""Which coarse format is fastest here: measured, because it depends on the machine, and of no influence on any result."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import Final

import numpy as np

from semrec.scoring.coarse import CoarseFormat
from semrec.scoring.engine import Engine
from semrec.scoring.types import ItemShard, Queries

__all__ = ["measure_formats"]

_K: Final = 100
_ROUNDS: Final = 3


def measure_formats(
    make: Callable[[ItemShard, CoarseFormat], Engine],
    formats: Iterable[CoarseFormat],
    items: ItemShard,
    users: Queries,
    *,
    num_items: int,
    most_items: int,
) -> dict[CoarseFormat, float]:
    """Users per second in each of `formats`, over every n-th of `items`: at most `most_items`, of `num_items` that there are.

    Give a full block of users for each thread: with less, what is done once for a block weighs more than in a run.
    """
    sample = items.every(-(-items.num_items // most_items))
    # As large a share of the sample as K is of all items: so the product and the rescoring weigh what they will in a run.
    k = max(1, round(_K * sample.num_items / num_items))
    return {coarse: _users_per_s(make(sample, coarse), users, k) for coarse in formats}


def _users_per_s(engine: Engine, users: Queries, k: int) -> float:
    engine.top_k(users, k)  # compiles what was never compiled on this machine
    best_s = np.inf
    for _ in range(_ROUNDS):
        started_s = time.perf_counter()
        engine.top_k(users, k)
        best_s = min(best_s, time.perf_counter() - started_s)
    return float(users.num_queries / best_s)
