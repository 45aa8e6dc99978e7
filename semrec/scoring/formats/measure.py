"""Measure how many users per second an engine scores in each coarse format, on a sample of the items.

Which format is the fastest depends on the processor, the dimension and the data, so it is measured where it will run. Results
do not depend on it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import Final

import numpy as np

from semrec.scoring.engine import Engine
from semrec.scoring.types import ItemShard, Queries

__all__ = ["measure_formats"]

_K: Final = 100
_ROUNDS: Final = 3
_LOOK_SHARE: Final = 16  # one of so many users shows which formats are not worth the rounds,
_HOPELESS: Final = 3.0  # being so many times slower than the best: more than small blocks distort


def measure_formats(
    make: Callable[[ItemShard, str], Engine],
    formats: Iterable[str],
    items: ItemShard,
    users: Queries,
    *,
    num_items: int,
    max_items: int,
) -> dict[str, float]:
    """Users per second in each of the named formats, over every n-th of `items`: at most `max_items`.

    `num_items` is the size of the whole catalogue, of which `items` may be a part. Give a full block of users for each
    thread: with less, what is done once for a block weighs more than in a run. A format that is far behind on the first few
    users is not measured on the rest: without the instructions for its products it can be thirty times slower than another,
    and the choice would take minutes.
    """
    sample = items.every(-(-items.num_items // max_items))
    # As large a share of the sample as K is of all items: so the product and the rescoring weigh what they will in a run.
    k = max(1, round(_K * sample.num_items / num_items))
    engines = {name: make(sample, name) for name in formats}
    few = users.between(0, max(1, users.num_queries // _LOOK_SHARE))
    rates = {name: _users_per_s(engine, few, k, rounds=1) for name, engine in engines.items()}
    best = max(rates.values(), default=0.0)
    for name, engine in engines.items():
        if rates[name] * _HOPELESS >= best:
            rates[name] = _users_per_s(engine, users, k, rounds=_ROUNDS)
    return rates


def _users_per_s(engine: Engine, users: Queries, k: int, *, rounds: int) -> float:
    engine.top_k(users, k)  # compiles what was never compiled on this machine
    best_s = np.inf
    for _ in range(rounds):
        started_s = time.perf_counter()
        engine.top_k(users, k)
        best_s = min(best_s, time.perf_counter() - started_s)
    return float(users.num_queries / best_s)
