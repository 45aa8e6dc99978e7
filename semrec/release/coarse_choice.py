"""Which coarse format the cpu engine shall score in: measured when a release is built, and of no influence on any result."""

from __future__ import annotations

import time
from typing import Any, Final

import numpy as np

from semrec.bench.machine import machine
from semrec.release.matrix import ROWS_PER_BLOCK
from semrec.release.reader import DEFAULT_COARSE, Release
from semrec.scoring.coarse import COARSE_FORMATS, CoarseFormat
from semrec.scoring.engine import make_engine
from semrec.scoring.types import ItemShard, Queries

__all__ = ["choose_coarse", "describe_coarse"]

_FEWEST_ITEMS: Final = 4_096  # fewer are scored in no time whatever the format
_MOST_ITEMS: Final = 16_384
_MOST_USERS: Final = 512
_K: Final = 100
_ROUNDS: Final = 3


def choose_coarse(release: Release, *, num_threads: int) -> dict[str, Any]:
    """`cpu`: the fastest format; `measured`: users/s of each on a sample of items and users, or None; `machine`.

    A release of few items, or without a user who has a vector, is not measured and gets the default.
    """
    users = _some_users(release) if release.num_items >= _FEWEST_ITEMS else None
    if users is None:
        return {"cpu": DEFAULT_COARSE, "measured": None, "machine": None}
    num_items = min(release.num_items, ROWS_PER_BLOCK)  # one block is read where it lies
    items = release.shard(0, num_items).every(-(-num_items // _MOST_ITEMS))
    # As large a share of the sample as K is of all items: so the product and the rescoring weigh what they will in a run.
    k = max(1, round(_K * items.num_items / release.num_items))
    measured = {coarse: _users_per_s(items, users, k, coarse, num_threads) for coarse in COARSE_FORMATS}
    return {"cpu": max(measured, key=lambda coarse: measured[coarse]), "measured": measured, "machine": machine()}


def describe_coarse(choice: dict[str, Any]) -> str:
    """The choice and its reason in one line for people, the fastest first."""
    ranked = sorted((choice["measured"] or {}).items(), key=lambda entry: -entry[1])
    rates = ", ".join(f"{coarse} {rate:,}" for coarse, rate in ranked)
    return f"coarse format {choice['cpu']} ({f'measured: {rates} users/s' if rates else 'not measured'})"


def _some_users(release: Release) -> Queries | None:
    """The first users with vectors, as if they had seen nothing; None when there are none."""
    vectors, words, missing = [], [], _MOST_USERS
    for part in range(len(release.manifest["users"])):
        found = release.user_part(part)
        rows = np.flatnonzero(found.personal)[:missing]
        vectors.append(found.queries.vectors_QD[rows])
        words.append(found.queries.words_QW[rows])
        missing -= len(rows)
        if not missing:
            break
    num_users = _MOST_USERS - missing
    if not num_users:
        return None
    nothing = np.zeros(num_users + 1, np.int64), np.zeros(0, np.int64)
    return Queries(np.concatenate(vectors), np.concatenate(words), *nothing)


def _users_per_s(items: ItemShard, users: Queries, k: int, coarse: CoarseFormat, num_threads: int) -> int:
    engine, best_s = make_engine("cpu", items, coarse=coarse, num_threads=num_threads), np.inf
    engine.top_k(users, k)  # compiles what was never compiled on this machine
    for _ in range(_ROUNDS):
        started_s = time.perf_counter()
        engine.top_k(users, k)
        best_s = min(best_s, time.perf_counter() - started_s)
    return round(users.num_queries / best_s)
