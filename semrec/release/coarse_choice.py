"""Which coarse format the cpu engine shall score in: measured when a release is built, and of no influence on any result."""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from semrec.machine import machine
from semrec.release.matrix import ROWS_PER_BLOCK
from semrec.release.reader import Release
from semrec.scoring.coarse import DEFAULT_COARSE
from semrec.scoring.engine import make_engine
from semrec.scoring.formats import measure_formats
from semrec.scoring.products import usable_formats
from semrec.scoring.types import Queries

__all__ = ["choose_coarse", "describe_coarse"]

_FEWEST_ITEMS: Final = 4_096  # fewer are scored in no time whatever the format
_MOST_ITEMS: Final = 16_384
_MOST_USERS: Final = 4_096


def choose_coarse(release: Release, *, num_threads: int) -> dict[str, Any]:
    """`cpu`: the fastest format; `measured`: users/s of each that is right on this machine, on a sample, or None; `machine`.

    A release of few items, or without a user who has a vector, is not measured and gets the default.
    """
    users = _some_users(release) if release.num_items >= _FEWEST_ITEMS else None
    if users is None:
        return {"cpu": DEFAULT_COARSE, "measured": None, "machine": None}
    rates = measure_formats(
        lambda items, coarse: make_engine("cpu", items, coarse=coarse, num_threads=num_threads),
        usable_formats("cpu", release.dimension),
        release.shard(0, min(release.num_items, ROWS_PER_BLOCK)),  # one block is read where it lies
        users,
        num_items=release.num_items,
        most_items=_MOST_ITEMS,
    )
    measured = {coarse: round(rate) for coarse, rate in rates.items()}
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
