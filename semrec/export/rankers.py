"""Hands a run's lists over to whoever ranks them again: every recommendation with features and a reason, as Parquet.

One file for each part of the run, `part-00000.parquet` and so on, one row for each recommendation (`rankers_schema`). The
scores by component add up to the score, but for the rounding of float32.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from semrec.contracts import ATTRIBUTES_TYPE, part_name
from semrec.data.event_files import read_interactions
from semrec.graph.reasons import Reasons
from semrec.progress import Progress
from semrec.release.arrays import StoredRows, read_popularity
from semrec.release.reader import Release, UserPart
from semrec.release.training import indexed_events
from semrec.workspace.digests import fingerprint, sha256_hex
from semrec.workspace.manifest import Manifest
from semrec.workspace.manifests import RunManifest
from semrec.workspace.recall import read_recall
from semrec.workspace.storage import Storage
from semrec.workspace.tables import read_table

__all__ = ["RankersReport", "export_rankers", "rankers_schema"]

_PAIRS_AT_ONCE: Final = 16_384
_DAY_S: Final = 86_400


class RankersManifest(Manifest):
    """The parts of a run that stand at a place, each by a fingerprint of what its file was made of."""

    KIND = "rankers"
    PATH = "exports/{}/manifest.json"
    REMEDY = "Export again."

    location: str
    run: str
    parts: tuple[str, ...]


@dataclass(frozen=True)
class RankersReport:
    """What an export for rankers did: files and rows written, and files that stood there already."""

    num_files: int
    num_rows: int
    num_unchanged: int


def rankers_schema(release: Release) -> pa.Schema:
    """The columns of the files.

    `rank` counts from 1. `score_<component>` is null for users without a vector. `popularity`: users who interacted with the
    item. `age_days`: from its first event that has a time to the newest of all, null without one. `reason`: the relations that
    lead to it from something liked, in words, null without any.
    """
    return pa.schema(
        [
            ("user_id", pa.string()),
            ("item_id", pa.string()),
            ("rank", pa.int32()),
            ("score", pa.float32()),
            ("source", pa.string()),
            *((f"score_{component.name}", pa.float32()) for component in release.components.components),
            ("popularity", pa.float32()),
            ("age_days", pa.float32()),
            ("title", pa.string()),
            ("attributes", ATTRIBUTES_TYPE),
            ("reason", pa.string()),
        ]
    )


def export_rankers(
    storage: Storage, run_id: str, location: str, *, with_reasons: bool = True, progress: Progress
) -> RankersReport:
    """Writes every list of a run, part by part, to a folder or fsspec URL; files of an unchanged run stay as they are.

    A reason needs a search in the relations for each row, and is null in a release without any. Files of an approximate run say
    so in their metadata (`approximate`). Raises MissingArtefactError for a run that is not finished, IncompleteRunError for an
    approximate one whose recall was not measured.
    """
    run = RunManifest.read(storage, run_id)
    release, target, recall = Release(storage, run.release), Storage(location), read_recall(storage, run)
    key = f"rankers-{sha256_hex(location.encode())[:12]}"
    before = RankersManifest.read_if_there(storage, key)
    exported = before.parts if before else ()
    # With the recall, because exact and approximate lists may well be the same rows, and the file says which they are.
    shared = [run.release, with_reasons, *([str(recall)] if recall else [])]
    digests = tuple(fingerprint([part.content_digest, *shared]) for part in run.parts)
    features = _Features(release, with_reasons=with_reasons)
    # Until the end nobody knows what stands there.
    RankersManifest(location=location, run=run_id, parts=()).write(storage, key)
    progress.start("export rankers", len(run.parts), "parts")
    num_files = num_rows = 0
    for number, part in enumerate(run.parts):
        file = f"{part_name(number)}.parquet"
        if exported[number : number + 1] != digests[number : number + 1] or not target.exists(file):
            table = features.table(number, read_table(storage, part))
            table = table.replace_schema_metadata({"approximate": str(recall)}) if recall else table
            sink = pa.BufferOutputStream()
            pq.write_table(table, sink, compression="zstd")
            target.write_bytes(file, sink.getvalue().to_pybytes())
            num_files, num_rows = num_files + 1, num_rows + table.num_rows
        progress.advance(1)
    RankersManifest(location=location, run=run_id, parts=digests).write(storage, key)
    lists = f"{num_rows:,} rows" + (f" ({recall})" if recall else "")
    progress.finish(f"{num_files:,} files with {lists}, {len(run.parts) - num_files:,} unchanged, at {location}")
    return RankersReport(num_files, num_rows, len(run.parts) - num_files)


class _Features:
    """What the rows of all parts need of a release: popularity and age of items, and their relations."""

    def __init__(self, release: Release, *, with_reasons: bool) -> None:
        self._release, self._schema = release, rankers_schema(release)
        matrix = release.manifest.matrix
        self._stored = StoredRows(release.storage, matrix)
        self._popularity_I = read_popularity(release.storage, matrix, 0, release.num_items)
        self._age_days_I = _age_days(release)
        graph = release.graph if with_reasons else None
        self._reasons = Reasons(graph, graph.are_among(release.item_ids)) if graph else None

    def table(self, part: int, lists: pa.Table) -> pa.Table:
        """The rows of a part, of which `lists` are the recommendations."""
        users, items = self._release.user_part(part), lists.column("item_ids").combine_chunks()
        user_N = pc.list_parent_indices(items).to_numpy()
        item_ids = items.flatten().cast(pa.string())
        row_N = self._release.ids.rows_of(item_ids)
        starts_N = np.repeat(items.offsets.to_numpy()[:-1], items.value_lengths().to_numpy())
        shown = self._release.items.take(pa.array(row_N))
        columns = [
            lists.column("user_id").take(pa.array(user_N)),
            item_ids,
            pa.array(np.arange(len(row_N)) - starts_N + 1, pa.int32()),
            lists.column("scores").combine_chunks().flatten(),
            lists.column("source").take(pa.array(user_N)),
            *self._score_parts(users, user_N, row_N),
            pa.array(self._popularity_I[row_N]),
            pa.array(self._age_days_I[row_N], from_pandas=True),
            shown.column("title"),
            shown.column("attributes").cast(ATTRIBUTES_TYPE),
            pa.array(self._in_words(part, users, user_N, item_ids.to_pylist()), pa.string()),
        ]
        return pa.table(columns, schema=self._schema)

    def _score_parts(self, users: UserPart, user_N: np.ndarray, row_N: np.ndarray) -> list[pa.Array]:
        """What each component adds to the score of each pair, null for users without a vector."""
        components = self._release.components.components
        added_CN = np.full((len(components), len(row_N)), np.nan, np.float32)
        has_vector_U = np.asarray(users.queries.vectors_QD.any(axis=1))
        for start in range(0, len(row_N), _PAIRS_AT_ONCE):
            pairs = slice(start, start + _PAIRS_AT_ONCE)
            users_ND = users.queries.vectors_QD[user_N[pairs]].astype(np.float64)
            items_ND = self._stored.vectors(row_N[pairs]).astype(np.float64)
            for c, component in enumerate(components):
                columns = component.columns
                added_CN[c, pairs] = np.einsum("nd,nd->n", users_ND[:, columns], items_ND[:, columns])
        added_CN[:, ~has_vector_U[user_N]] = np.nan
        return [pa.array(added_N, from_pandas=True) for added_N in added_CN]

    def _in_words(self, part: int, users: UserPart, user_N: np.ndarray, item_ids: list[str]) -> list[str | None]:
        """How each item is related to something that its user likes, None where nothing is."""
        if self._reasons is None:
            return [None] * len(item_ids)
        liked_of, words = self._liked(part, users), list[str | None]()
        for user, start in zip(*np.unique(user_N, return_index=True), strict=True):
            stop = np.searchsorted(user_N, user, side="right")
            liked = liked_of(int(user))
            paths = self._reasons.reasons(liked, item_ids[start:stop]) if liked else [None] * int(stop - start)
            words += [path.in_words() if path else None for path in paths]
        return words

    def _liked(self, part: int, users: UserPart) -> Callable[[int], list[str]]:
        """User -> the items with an event above the neutral value, each once."""
        inputs, files = self._release.manifest.settings, self._release.manifest.interactions
        stored = read_interactions(self._release.storage, files[part] if files else None, inputs.as_of)
        events, _ = indexed_events(stored, users.user_ids, self._release.ids)
        events = events.counted(inputs.repeats, inputs.neutral_value)
        events = events.keep(events.value > inputs.neutral_value)

        def liked(user: int) -> list[str]:
            first, last = np.searchsorted(events.user, [user, user + 1])
            ids: list[str] = self._release.ids.take(np.unique(events.row[first:last])).to_pylist()
            return ids

        return liked


def _age_days(release: Release) -> np.ndarray:
    """Days from the first event of each item that has a time to the newest of all, NaN without one: float32 [I]."""
    first_I = np.full(release.num_items, np.iinfo(np.int64).max)
    newest = 0
    for files in release.manifest.interactions:
        events = read_interactions(release.storage, files, release.manifest.as_of)
        rows, seconds = release.ids.rows_of(events.column("item_id")), events.column("timestamp").to_numpy()
        is_timed = (rows >= 0) & (seconds > 0)
        np.minimum.at(first_I, rows[is_timed], seconds[is_timed])
        newest = max(newest, int(seconds.max(initial=0)))
    has_time_I = first_I <= newest
    return np.where(has_time_I, (newest - np.where(has_time_I, first_I, 0)) / _DAY_S, np.nan).astype(np.float32)
