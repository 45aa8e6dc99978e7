"""The health of a run: how many users came short, how much of the catalogue is shown, and whether anything is that must not."""

from __future__ import annotations

from dataclasses import asdict, dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from semrec.contracts import CONTRACT_VERSION
from semrec.release.oracle import ListChecker
from semrec.release.reader import Release
from semrec.runs.plan import run_folder
from semrec.workspace.manifests import read_manifest, write_manifest
from semrec.workspace.storage import Storage
from semrec.workspace.tables import TableFile, read_table

__all__ = ["RunHealth", "measure_health", "read_health"]

_TOP = 100  # exposure is that of one item in a hundred


@dataclass(frozen=True)
class RunHealth:
    """Counts over a whole run. Places are the entries of all lists; `num_excluded` of them break a user's rules.

    `contract` is that of the code which measured: what an earlier one found says nothing about the rules of this one.
    """

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
        """The counts as shares: short, popularity and exhaustive of users, coverage of items, exposure of places."""
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
    manifest = read_manifest(storage, f"{run_folder(run_id)}/manifest.json", "run", remedy="Run `semrec score`.")
    known = read_health(storage, run_id)
    if known and known.content_digest == manifest["content_digest"]:
        return known
    release = Release(storage, manifest["release"])
    checker = ListChecker(release)
    times_I, excluded = np.zeros(release.num_items, np.int64), 0
    for record in manifest["parts"]:
        lists = read_table(storage, TableFile.from_json(record), ["item_ids"]).column("item_ids").combine_chunks()
        owners, rows = _places(lists, release.item_ids)
        times_I += np.bincount(rows, minlength=release.num_items)
        excluded += checker.num_excluded(release.user_part(record["part"]), owners, rows)
    counts = manifest["counts"]
    found = RunHealth(
        run=run_id,
        contract=CONTRACT_VERSION,
        content_digest=manifest["content_digest"],
        num_users=manifest["num_rows"],
        num_short=counts.get("short", 0),
        num_popularity=counts.get("popularity", 0),
        num_exhaustive=counts.get("exhaustive", 0),
        num_items=release.num_items,
        num_items_shown=int(np.count_nonzero(times_I)),
        num_places=int(times_I.sum()),
        num_top_places=_top_places(times_I),
        num_excluded=excluded,
    )
    write_manifest(storage, f"{run_folder(run_id)}/health.json", "health", asdict(found))
    return found


def read_health(storage: Storage, run_id: str) -> RunHealth | None:
    """What `measure_health` last found by the present contract, or None."""
    path = f"{run_folder(run_id)}/health.json"
    if not storage.exists(path):
        return None
    body = read_manifest(storage, path, "health", remedy="Run `semrec verify` again.")
    if body.get("contract") != CONTRACT_VERSION:
        return None
    return RunHealth(**{name: body[name] for name in RunHealth.__dataclass_fields__})


def _share(count: int, of: int) -> float:
    return count / of if of else 0.0


def _top_places(times_I: np.ndarray) -> int:
    """The places of the most shown 1 % of items, rounded up to whole items."""
    num_top = -(-len(times_I) // _TOP)
    return int(np.sort(times_I)[len(times_I) - num_top :].sum())


def _places(lists: pa.Array, item_ids: pa.Array) -> tuple[np.ndarray, np.ndarray]:
    """All entries of a part's lists: (place of the user in the part, row of the item in the matrix), int64."""
    lengths = lists.value_lengths().to_numpy(zero_copy_only=False)
    flat = lists.flatten()
    row_of_code = pc.index_in(flat.dictionary, value_set=item_ids).to_numpy(zero_copy_only=False)
    codes = flat.indices.to_numpy(zero_copy_only=False)
    return np.repeat(np.arange(len(lengths)), lengths), row_of_code[codes].astype(np.int64)
