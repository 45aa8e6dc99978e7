"""Measures the health of a run: users with short lists, coverage of the catalogue, and items shown that must not be."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from semrec.contracts import CONTRACT_VERSION
from semrec.release.oracle import ListChecker
from semrec.release.reader import Release
from semrec.sorted_ids import SortedIds
from semrec.workspace.manifest import Manifest
from semrec.workspace.manifests import RunManifest
from semrec.workspace.storage import Storage
from semrec.workspace.tables import read_table

__all__ = ["RunHealth", "measure_health", "read_health"]

_TOP = 100  # exposure is that of one item in a hundred


class RunHealth(Manifest):
    """Counts over a whole run. Places are the entries of all lists; `num_excluded` of them break a user's rules.

    `contract` is that of the code which measured: what an earlier one measured says nothing about the rules of this one.
    """

    KIND = "health"
    PATH = "runs/{}/health.json"
    REMEDY = "Run `semrec verify` again."

    run: str
    contract: int
    content_digest: str
    num_users: int
    num_short: int
    num_popularity: int
    num_exhaustive: int
    num_items: int
    num_items_shown: int
    num_places: int
    num_top_places: int  # taken by the most shown 1 % of all items, one item at least
    num_excluded: int

    def shares(self) -> dict[str, float]:
        """Returns the counts as shares: short, popularity and exhaustive of users, coverage of items, exposure of places."""
        return {
            "short": _share(self.num_short, self.num_users),
            "popularity": _share(self.num_popularity, self.num_users),
            "exhaustive": _share(self.num_exhaustive, self.num_users),
            "coverage": _share(self.num_items_shown, self.num_items),
            "exposure": _share(self.num_top_places, self.num_places),
        }


def measure_health(storage: Storage, run_id: str) -> RunHealth:
    """Reads every list of a finished run and writes `runs/<run>/health.json`; the one that is there when nothing changed.

    Each place is held against its user's seen items, and against what its user and its item state: plain sets of the
    stored attributes, independently of the engine that filled it and of the bits which that engine tested. Raises
    MissingArtefactError for a release of contract 1, which does not say what its users state.
    """
    manifest = RunManifest.read(storage, run_id, remedy="Run `semrec score`.")
    measured = read_health(storage, run_id)
    if measured and measured.content_digest == manifest.content_digest:
        return measured
    release = Release(storage, manifest.release)
    checker = ListChecker(release)
    times_I, excluded = np.zeros(release.num_items, np.int64), 0
    for part in manifest.parts:
        lists = read_table(storage, part, ["item_ids"]).column("item_ids").combine_chunks()
        owners, rows = _places(lists, release.ids)
        np.add.at(times_I, rows, 1)
        excluded += checker.num_excluded(release.user_part(part.part), owners, rows)
    counts = manifest.counts
    health = RunHealth(
        run=run_id,
        contract=CONTRACT_VERSION,
        content_digest=manifest.content_digest,
        num_users=manifest.num_rows,
        num_short=counts.get("short", 0),
        num_popularity=counts.get("popularity", 0),
        num_exhaustive=counts.get("exhaustive", 0),
        num_items=release.num_items,
        num_items_shown=int(np.count_nonzero(times_I)),
        num_places=int(times_I.sum()),
        num_top_places=_top_places(times_I),
        num_excluded=excluded,
    )
    health.write(storage, run_id)
    return health


def read_health(storage: Storage, run_id: str) -> RunHealth | None:
    """Reads the last measurement of `measure_health` by the present contract, or None."""
    if not RunHealth.exists(storage, run_id):
        return None
    # Looked at before its keys are checked: another contract had others, and is measured again.
    if storage.read_json(RunHealth.path(run_id)).get("contract") != CONTRACT_VERSION:
        return None
    return RunHealth.read(storage, run_id)


def _share(count: int, of: int) -> float:
    return count / of if of else 0.0


def _top_places(times_I: np.ndarray) -> int:
    """Returns the places of the most shown 1 % of items, rounded up to whole items."""
    num_top = -(-len(times_I) // _TOP)
    return int(np.sort(times_I)[len(times_I) - num_top :].sum())


def _places(lists: pa.Array, ids: SortedIds) -> tuple[np.ndarray, np.ndarray]:
    """Returns all entries of a part's lists: (place of the user in the part, row of the item in the matrix), int64."""
    lengths = lists.value_lengths().to_numpy(zero_copy_only=False)
    flat = lists.flatten()
    row_of_code = ids.rows_of(flat.dictionary)
    codes = flat.indices.to_numpy(zero_copy_only=False)
    return np.repeat(np.arange(len(lengths)), lengths), row_of_code[codes]
