"""Picks the fastest coarse format for the CPU engine by timing each on a sample of a release. Results do not depend on it."""

from __future__ import annotations

from typing import Final

import numpy as np

from semrec.machine import machine
from semrec.release.matrix import ROWS_PER_BLOCK
from semrec.release.reader import Release
from semrec.release.sources import PERSONAL
from semrec.scoring.engine import make_engine
from semrec.scoring.formats import DEFAULT_FORMAT
from semrec.scoring.formats.measure import measure_formats
from semrec.scoring.types import Queries
from semrec.workspace.manifests import CoarseChoice

__all__ = ["choose_format", "describe_choice"]

_MIN_ITEMS: Final = 4_096  # fewer are scored in no time whatever the format
_MAX_ITEMS: Final = 16_384
_MAX_USERS: Final = 4_096


def choose_format(release: Release, *, num_threads: int) -> CoarseChoice:
    """Measures the formats whose products are right on this machine; returns what the release's manifest records.

    `cpu` is the name of the fastest, `measured` the users/s of each or None, `machine` where that was, or None.

    A release of few items, or without a user who has a vector, is not measured and gets the default. One whose settings
    name a format gets that.
    """
    if named := release.manifest.settings.coarse_format:
        return CoarseChoice(cpu=named)
    users = _some_users(release) if release.num_items >= _MIN_ITEMS else None
    if users is None:
        return CoarseChoice(cpu=DEFAULT_FORMAT, measured=None, machine=None)
    from semrec.scoring.formats.check import usable_formats  # imports torch, which few stages need

    rates = measure_formats(
        lambda items, coarse: make_engine("cpu", items, coarse=coarse, num_threads=num_threads),
        usable_formats("cpu", release.dimension),
        release.shard(0, min(release.num_items, ROWS_PER_BLOCK)),  # one block is read where it lies
        users,
        num_items=release.num_items,
        max_items=_MAX_ITEMS,
    )
    measured = {coarse: round(rate) for coarse, rate in rates.items()}
    fastest = max(measured, key=lambda coarse: measured[coarse])
    return CoarseChoice(cpu=fastest, measured=measured, machine=machine())


def describe_choice(choice: CoarseChoice) -> str:
    """Describes the choice and its reason in one line for people, the fastest format first."""
    ranked = sorted((choice.measured or {}).items(), key=lambda entry: -entry[1])
    rates = ", ".join(f"{coarse} {rate:,}" for coarse, rate in ranked)
    return f"coarse format {choice.cpu} ({f'measured: {rates} users/s' if rates else 'not measured'})"


def _some_users(release: Release) -> Queries | None:
    """Reads the first users with vectors, as if they had seen nothing; None when there are none."""
    vectors, words, missing = [], [], _MAX_USERS
    for part in range(len(release.manifest.users)):
        users = release.user_part(part)
        rows = users.of_source(PERSONAL)[:missing]
        vectors.append(users.queries.vectors_QD[rows])
        words.append(users.queries.words_QW[rows])
        missing -= len(rows)
        if not missing:
            break
    num_users = _MAX_USERS - missing
    if not num_users:
        return None
    nothing = np.zeros(num_users + 1, np.int64), np.zeros(0, np.int64)
    return Queries(np.concatenate(vectors), np.concatenate(words), *nothing)
