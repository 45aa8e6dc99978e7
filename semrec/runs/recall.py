"""Measures the recall of an approximate run: its lists against exact ones, for a sample of users."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Final

import numpy as np

from semrec.release.reader import Release
from semrec.release.sources import PERSONAL, source_named
from semrec.workspace.manifests import RunManifest
from semrec.workspace.recall import RecallManifest
from semrec.workspace.storage import Storage
from semrec.workspace.tables import read_table

__all__ = ["measure_recall"]

_NUM_USERS: Final = 200
_SEED: Final = 0


def measure_recall(storage: Storage, run_id: str, *, num_users: int = _NUM_USERS) -> RecallManifest | None:
    """Compares lists of a finished run with those of the exact engine and writes `runs/<run>/recall.json`.

    `num_users` users whose lists are approximate are drawn, all where there are no more. Returns None for an exact run, and
    what is there already when nothing changed.
    """
    run = RunManifest.read(storage, run_id, remedy="Run `semrec score`.")
    if run.approximate is None:
        return None
    measured = RecallManifest.read_if_there(storage, run_id)
    if measured and measured.content_digest == run.content_digest:
        return measured
    release, source = Release(storage, run.release), source_named(PERSONAL)
    engine = source.engine(source.items(release), "cpu", coarse=release.coarse("cpu"))
    num_sampled = num_expected = num_found = 0
    for part, places in _sample(release, num_users):
        users = release.user_part(part)
        sampled = users.of_source(PERSONAL)[places]
        exact = engine.top_k(source.queries(users.queries.take(sampled)), run.k)
        lists = read_table(storage, run.parts[part], ["item_ids"]).column("item_ids")
        for (start, stop), place in zip(pairwise(exact.offsets), sampled, strict=True):
            listed_rows = release.ids.rows_of(lists[place].values.cast("string"))
            num_found += int(np.isin(exact.rows[start:stop], listed_rows).sum())
        num_sampled, num_expected = num_sampled + len(sampled), num_expected + len(exact.rows)
    recall = RecallManifest(
        run=run_id,
        content_digest=run.content_digest,
        k=run.k,
        recall=num_found / num_expected if num_expected else 1.0,
        num_users=num_sampled,
        seed=_SEED,
    )
    recall.write(storage, run_id)
    return recall


def _sample(release: Release, num_users: int) -> Iterator[tuple[int, np.ndarray]]:
    """Draws users with a vector from all parts: (part, places among the users of it who have one, int64 ascending)."""
    sizes = [users.num_rows - users.popularity for users in release.manifest.users]
    starts, total = np.cumsum([0, *sizes]), sum(sizes)
    drawn = np.sort(np.random.default_rng(_SEED).choice(total, min(num_users, total), replace=False))
    for part, (start, stop) in enumerate(pairwise(starts)):
        places = drawn[(drawn >= start) & (drawn < stop)] - start
        if len(places):
            yield part, places
