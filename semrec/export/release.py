"""Exports a release: only what changed since the last export to the same place, and proves what stands there."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import blake2b
from typing import Final, Literal

import numpy as np
import pyarrow as pa

from semrec.errors import InputError
from semrec.export.base import open_exporter, vectors_of
from semrec.progress import Progress
from semrec.release.arrays import StoredRows
from semrec.release.attributes import attribute_dicts
from semrec.release.reader import Release
from semrec.scoring.canonical import canonical_scores
from semrec.workspace.digests import sha256_hex
from semrec.workspace.manifest import Manifest
from semrec.workspace.records import TableFile
from semrec.workspace.tables import read_table, write_table

__all__ = ["ExportReport", "VerifiedExport", "export_release", "verify_export"]

_ROWS_PER_BATCH: Final = 1_000
_ROWS_SCHEMA: Final = pa.schema([("id", pa.string()), ("digest", pa.binary())])


class ExportManifest(Manifest):
    """What of a release stands at a place that is not ours; without `rows`, nobody knows."""

    KIND = "export"
    PATH = "exports/{}/manifest.json"
    REMEDY = "Export again."

    release: str
    exporter: str
    location: str
    dimension: int
    rows: TableFile | None = None  # id and a digest of vector and payload


@dataclass(frozen=True)
class ExportReport:
    """What an export did: rows put, rows deleted, and rows that stood there already."""

    collection: str
    num_put: int
    num_deleted: int
    num_unchanged: int


@dataclass(frozen=True)
class VerifiedExport:
    """What the place answered to sampled users, against ours. A list is equal when its ids are, but for ties.

    Items tie when their canonical scores differ by no more than one part in 100,000: engines add float32 in an order of
    their own. `unequal` names the users of other lists.
    """

    num_rows: int
    num_expected: int
    num_users: int
    num_equal: int
    unequal: tuple[str, ...]

    @property
    def ok(self) -> bool:
        return self.num_rows == self.num_expected and self.num_equal == self.num_users


def export_release(
    release: Release, exporter: str, location: str, *, kind: Literal["items", "users"] = "items", progress: Progress
) -> ExportReport:
    """Writes the vectors of a release's items, or users, to a place; the collection is semrec_items or semrec_users.

    An item's payload is {"title", "attributes"}, a user's {}. Only rows whose vector or payload changed since the last
    export from this workspace to this place are put, and what the release no longer has is deleted. An export that was
    cut off is done again as a whole. Users without a vector are left out. Keeps 16 bytes for each row in memory, and its id.
    Raises InputError for an unknown exporter or one whose package is missing.
    """
    storage, collection = release.storage, f"semrec_{kind}"
    key = f"{exporter}-{kind}-{sha256_hex(location.encode())[:12]}"
    before = ExportManifest.read_if_there(storage, key)
    is_known = before is not None and before.rows is not None and before.dimension == release.dimension
    known: dict[str, bytes] = {}
    if before is not None and before.rows is not None and is_known:
        rows = read_table(storage, before.rows)
        known = dict(zip(rows.column("id").to_pylist(), rows.column("digest").to_pylist(), strict=True))
    about = {"release": release.release_id, "exporter": exporter, "location": location, "dimension": release.dimension}
    ExportManifest(**about).write(storage, key)  # without rows: from here on nobody knows what stands there
    target = open_exporter(exporter, location, collection, release.dimension, empty=not is_known)
    digests: dict[str, bytes] = {}
    num_put = 0
    progress.start(f"export {kind}", release.num_items if kind == "items" else release.manifest.num_users, kind)
    for batch in _item_rows(release) if kind == "items" else _user_rows(release):
        changed = []
        for number, (name, digest) in enumerate(_digests(batch)):
            digests[name] = digest
            if known.pop(name, None) != digest:
                changed.append(number)
        if changed:
            target.put(batch.take(pa.array(changed)))
        num_put += len(changed)
        progress.advance(batch.num_rows)
    gone = sorted(known)
    for start in range(0, len(gone), _ROWS_PER_BATCH):
        target.delete(gone[start : start + _ROWS_PER_BATCH])
    target.close()
    columns = [list(digests), list(digests.values())]
    file = write_table(storage, f"exports/{key}/rows", pa.table(columns, schema=_ROWS_SCHEMA))
    ExportManifest(**about, rows=file).write(storage, key)
    report = ExportReport(collection, num_put, len(gone), len(digests) - num_put)
    progress.finish(
        f"{num_put:,} put, {report.num_deleted:,} deleted, {report.num_unchanged:,} unchanged in {collection} at {location}"
    )
    return report


def verify_export(
    release: Release, exporter: str, location: str, *, k: int = 10, num_users: int = 20
) -> VerifiedExport:
    """Asks a place for the k items of the largest inner product with some users, by its exact way, and compares with ours.

    Neither list leaves out what a user has seen or may not see: a vector database does not know. The users are spread over
    the release's parts. Raises InputError for a release without user vectors.
    """
    target = open_exporter(exporter, location, "semrec_items", release.dimension, empty=False)
    names, queries_QD = _sampled_users(release, num_users)
    items_ID = StoredRows(release.storage, release.manifest.matrix).vectors(np.arange(release.num_items))
    row_of = {name: row for row, name in enumerate(release.item_ids.to_pylist())}
    k = min(k, release.num_items)
    unequal = []
    for name, query_D, answer in zip(names, queries_QD, target.search(queries_QD, k), strict=True):
        scores_I = canonical_scores(query_D[None], items_ID)
        expected = np.sort(scores_I)[::-1][:k]
        rows = [row_of.get(item_id, -1) for item_id, _ in answer]
        if len(set(rows)) != k or min(rows) < 0 or not np.allclose(scores_I[rows], expected, rtol=1e-5, atol=1e-6):
            unequal.append(name)
    num_rows = target.count()
    target.close()
    return VerifiedExport(num_rows, release.num_items, len(names), len(names) - len(unequal), tuple(unequal))


def _item_rows(release: Release) -> Iterator[pa.Table]:
    stored = StoredRows(release.storage, release.manifest.matrix)
    items = release.items
    for start in range(0, release.num_items, _ROWS_PER_BATCH):
        shown = items.slice(start, _ROWS_PER_BATCH)
        vectors_ND = stored.vectors(np.arange(start, start + shown.num_rows))
        facts = zip(shown.column("title").to_pylist(), attribute_dicts(shown.column("attributes")), strict=True)
        payloads = [json.dumps({"title": title, "attributes": attributes}) for title, attributes in facts]
        yield _rows(shown.column("item_id"), vectors_ND, payloads)


def _user_rows(release: Release) -> Iterator[pa.Table]:
    for number in range(len(release.manifest.users)):
        part = release.user_part(number)
        with_vector = part.with_vector()
        for start in range(0, len(with_vector), _ROWS_PER_BATCH):
            users = with_vector[start : start + _ROWS_PER_BATCH]
            yield _rows(part.user_ids.take(pa.array(users)), part.queries.vectors_QD[users], ["{}"] * len(users))


def _rows(ids: pa.Array | pa.ChunkedArray, vectors_ND: np.ndarray, payloads: list[str]) -> pa.Table:
    vectors = pa.FixedSizeListArray.from_arrays(pa.array(vectors_ND.reshape(-1)), vectors_ND.shape[1])
    return pa.table(
        [ids.cast(pa.string()), vectors, pa.array(payloads, pa.string())], names=["id", "vector", "payload"]
    )


def _digests(rows: pa.Table) -> Iterator[tuple[str, bytes]]:
    columns = (rows.column("id").to_pylist(), vectors_of(rows), rows.column("payload").to_pylist())
    for name, vector, payload in zip(*columns, strict=True):
        yield name, blake2b(vector.tobytes() + payload.encode(), digest_size=16).digest()


def _sampled_users(release: Release, num_users: int) -> tuple[list[str], np.ndarray]:
    """Ids and vectors, float32 [Q, D], of some users who have one, as many of each part as it takes."""
    per_part = -(-num_users // max(1, len(release.manifest.users)))
    batches = []
    for number in range(len(release.manifest.users)):
        part = release.user_part(number)
        with_vector = part.with_vector()
        chosen = with_vector[np.linspace(0, len(with_vector) - 1, min(per_part, len(with_vector))).astype(int)]
        batches.append((part.user_ids.take(pa.array(chosen)).to_pylist(), part.queries.vectors_QD[chosen]))
    names = [name for ids, _ in batches for name in ids][:num_users]
    if not names:
        raise InputError(
            "a release without user vectors", expected="users who liked something", remedy="Import interactions first."
        )
    return names, np.concatenate([vectors_ND for _, vectors_ND in batches])[:num_users]
