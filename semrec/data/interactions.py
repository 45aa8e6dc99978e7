"""Writes the interactions: into user buckets by way of local files, then one sorted part per bucket."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from semrec.contracts import INTERACTIONS_SCHEMA, buckets_of, part_name
from semrec.data.delimited import one_array
from semrec.data.rejects import ReadStats
from semrec.data.spill import BucketSpill
from semrec.data.staging import Staged, applied_entry, applied_sequence, stored_manifest
from semrec.errors import CorruptArtefactError, InputError, SchemaError
from semrec.workspace.digests import fingerprint
from semrec.workspace.folder import Workspace
from semrec.workspace.manifests import InteractionsManifest, InteractionsPart
from semrec.workspace.tables import read_table, write_table

__all__ = ["ImportedFiles", "WeightRule", "stage_interactions", "union_of"]

_KIND: Final = "interactions"
_MAX_THREADS: Final = 4
_MAX_FILES: Final = 10_000  # whose digests the manifest remembers: 350 KB
_EVENT_ROWS_SCHEMA: Final = INTERACTIONS_SCHEMA.append(pa.field("event_id", pa.string()))


@dataclass(frozen=True)
class WeightRule:
    """How a later stage turns the events of one user and item into a weight; here it is only stored.

    repeats "sum": they add up, and a value below 0 is a return, which takes away what the same value gave, down to nothing
    (`models.base.Events.counted`); "latest": the newest counts. neutral_value: the weight of an event is
    max(value - neutral_value, 0). Either way every event, of whatever value, marks its item as seen.
    """

    repeats: Literal["sum", "latest"] = "sum"
    neutral_value: float = 0.0

    def __post_init__(self) -> None:
        if self.repeats not in ("sum", "latest"):
            raise InputError(f"repeats = {self.repeats!r}", expected="'sum' or 'latest'", remedy="Choose one.")
        if not math.isfinite(self.neutral_value):
            raise InputError(
                f"neutral_value = {self.neutral_value}", expected="a finite number", remedy="Use 0 for plain events."
            )

    @property
    def counts_equal_events_once(self) -> bool:
        """Whether events that are equal in all columns are one: a rating that stands there twice is one rating."""
        return self.repeats == "latest"

    def to_json(self) -> dict[str, str | float]:
        """The rule as fingerprints and messages have it."""
        return {"repeats": self.repeats, "neutral_value": float(self.neutral_value)}


@dataclass
class ImportedFiles:
    """Notices a file that is imported a second time, by its digest.

    `before` are the digests of files that are stored already, `new` those that were added, by name. A file that repeats one is
    named by `note`, and refused where its events would count twice: `repeats_add_up` for one stored before, `twins_add_up` for
    one of the same import; unless `allow_repeated`.
    """

    before: frozenset[str]
    repeats_add_up: bool
    twins_add_up: bool
    allow_repeated: bool
    note: Callable[[str], None]
    new: dict[str, str] = field(default_factory=dict)

    def check(self, name: str, digest: str) -> None:
        """Raises InputError for a file that stands among those before, and may not."""
        if digest in self.before:
            self._repeated(f"{name} has been imported before, byte for byte", self.repeats_add_up)

    def add(self, name: str, digest: str) -> None:
        """Takes note of a file with rows. Raises InputError for one that was added already, and may not be."""
        if digest in self.new:
            self._repeated(f"{name} is {self.new[digest]} again, byte for byte", self.twins_add_up)
        self.new[digest] = name

    def _repeated(self, what: str, adds_up: bool) -> None:
        if adds_up and not self.allow_repeated:
            raise InputError(
                what,
                expected="each file once, as its events would count twice",
                remedy="Leave it out; if its events did happen again, say --allow-repeated (allow_repeated=True).",
            )
        self.note(f"{what}: its events {'count again' if adds_up else 'are there already'}")


def stage_interactions(
    workspace: Workspace,
    tables: Iterable[pa.Table],
    rule: WeightRule,
    *,
    append: bool,
    stats: ReadStats,
    scratch: Path,
    applied: int | None = None,
    each_once: bool = False,
    files: Iterable[str] = (),
) -> Staged:
    """Writes the parts of all events in `tables`, with those stored already when `append`.

    `tables` have INTERACTIONS_SCHEMA, or a column event_id (string) besides; of several rows with one event id the first
    counts. Other events that are equal in all four columns are as many events, unless `each_once` or the rule says that they
    are one. With `append` they are laid over the stored ones as `union_of` says, where events without a time add up unless
    they are one.

    Memory holds one block of a source, one spill buffer and one bucket. `applied` is the last event received online that the
    result holds or replaces; by default that of the interactions before. `files` are the digests of the files that the rows
    come from; it is read after the rows. Raises InputError when `append` meets another rule,
    TooManyRejectedError before any part is written.
    """
    manifest = _earlier(workspace, append)
    each_once = each_once or rule.counts_equal_events_once
    stored: dict[int, InteractionsPart] = {}
    if append and manifest:
        _check_rule(manifest, rule)
        stored = {part.part: part for part in manifest.parts}
    spill = BucketSpill(scratch / _KIND, _EVENT_ROWS_SCHEMA, workspace.num_buckets)
    for table in tables:
        if "event_id" not in table.schema.names:
            table = table.append_column("event_id", pa.nulls(table.num_rows, pa.string()))
        spill.add(table, buckets_of(one_array(table.column("user_id")), workspace.num_buckets))
    stats.check()

    def write_bucket(bucket: int) -> tuple[InteractionsPart, int]:
        """The part of one bucket, and how many of its rows were repeats."""
        rows = spill.read(bucket)
        if not rows.num_rows and bucket in stored:
            return stored[bucket], 0  # nothing new: its file stands
        events = _first_of_each_event_id(rows)
        before = INTERACTIONS_SCHEMA.empty_table()
        if bucket in stored:
            before = read_table(workspace.storage, stored[bucket]).cast(INTERACTIONS_SCHEMA)
        union = union_of(before, events, each_once=each_once, untimed_add_up=not each_once)
        return _write_part(workspace, bucket, union), rows.num_rows + before.num_rows - union.num_rows

    parts: list[InteractionsPart] = []
    num_repeats = num_rows = 0
    # Sorting, hashing and compressing release the interpreter. Each thread holds one bucket in memory.
    with ThreadPoolExecutor(min(_MAX_THREADS, pa.cpu_count())) as threads:
        for part, num_repeated in threads.map(write_bucket, range(workspace.num_buckets)):
            parts.append(part)
            num_repeats += num_repeated
            num_rows += part.num_rows
            stats.report(num_rows, "write interactions")
    held = applied_sequence(manifest)
    until = held if applied is None else applied
    num_replaced = 0 if append else max(0, until - held)
    all_files = (*(manifest.files if append and manifest else ()), *files)[-_MAX_FILES:]
    return Staged(_manifest(parts, rule, until, all_files), num_repeats, num_online_replaced=num_replaced)


def union_of(stored: pa.Table, new: pa.Table, *, each_once: bool = False, untimed_add_up: bool = False) -> pa.Table:
    """The events of both by (user_id, timestamp, item_id, value), ids by UTF-8 bytes; INTERACTIONS_SCHEMA.

    An event stands there as often as in the one of both that has it more often: what is stored already and comes again, in
    a newer export or from a client that tries twice, is the same event. With `untimed_add_up` those without a time (0) are
    others each time; with `each_once` equal ones of `new` are one.
    """
    rows = pa.concat_tables([stored, new])
    users, user_ids = _ranked(rows.column("user_id"))
    items, item_ids = _ranked(rows.column("item_id"))
    values = rows.column("value").to_numpy()
    seconds = rows.column("timestamp").to_numpy()
    is_new = np.arange(rows.num_rows) >= stored.num_rows
    order = _event_order(users, seconds, items, values)
    users, items, values, seconds, is_new = (key[order] for key in (users, items, values, seconds, is_new))
    starts = np.ones(len(order), dtype=bool)  # where the next event begins; its stored rows come first
    if len(order):
        starts[1:] = np.logical_or.reduce([key[1:] != key[:-1] for key in (users, items, values, seconds)])
    event = np.cumsum(starts) - 1
    num_stored = np.bincount(event, weights=~is_new, minlength=int(starts.sum())).astype(np.int64)
    place = np.arange(len(order)) - np.flatnonzero(starts)[event]  # among the rows of its event
    place_among_new = place - num_stored[event]
    is_more = place_among_new == 0 if each_once else np.ones(len(order), dtype=bool)
    is_more &= (place_among_new >= num_stored[event]) | (untimed_add_up & (seconds == 0))
    users, items, values, seconds = (key[~is_new | is_more] for key in (users, items, values, seconds))
    columns = [user_ids.take(pa.array(users)), item_ids.take(pa.array(items)), values, seconds]
    return pa.table(columns, schema=INTERACTIONS_SCHEMA)


def _event_order(users: np.ndarray, seconds: np.ndarray, items: np.ndarray, values: np.ndarray) -> np.ndarray:
    """The stable order by (user, second, item, value), so that of equal events the stored ones come first: int64 [rows].

    Few events share user and second: one sort by both, and one of those that do, take a third of the time of four.
    """
    if not len(users):
        return np.zeros(0, dtype=np.int64)
    first, span = int(seconds.min()), int(seconds.max()) - int(seconds.min()) + 1
    if (int(users.max()) + 1) * span >= 2**63:
        return np.lexsort((values, items, seconds, users))
    moment = users.astype(np.int64) * span + (seconds - first)
    order = np.argsort(moment, kind="stable")
    is_tied = np.zeros(len(order) + 1, dtype=bool)  # with the row before; one more, which is never tied
    is_tied[1:-1] = moment[order[1:]] == moment[order[:-1]]
    tied = np.flatnonzero(is_tied[:-1] | is_tied[1:])
    rows = np.sort(order[tied])  # in their first order, on which a stable sort builds
    order[tied] = rows[np.lexsort((values[rows], items[rows], moment[rows]))]
    return order


def _first_of_each_event_id(rows: pa.Table) -> pa.Table:
    """INTERACTIONS_SCHEMA of the rows without an event id, and of the first with each."""
    event_ids = rows.column("event_id")
    if event_ids.null_count == rows.num_rows:
        return rows.select(INTERACTIONS_SCHEMA.names)
    encoded = one_array(event_ids).dictionary_encode()
    codes = pc.fill_null(encoded.indices, -1).to_numpy(zero_copy_only=False)
    is_first = codes < 0
    is_first[np.unique(codes, return_index=True)[1]] = True
    rows = rows.select(INTERACTIONS_SCHEMA.names)
    return rows if is_first.all() else rows.filter(pa.array(is_first))


def _ranked(column: pa.ChunkedArray) -> tuple[np.ndarray, pa.Array]:
    """For each row the rank of its text by UTF-8 bytes, and the distinct texts in that order."""
    encoded = one_array(column).dictionary_encode()
    order = pc.sort_indices(encoded.dictionary)  # Arrow compares text by bytes
    ranks = np.empty(len(order), dtype=np.int32)
    ranks[order.to_numpy(zero_copy_only=False)] = np.arange(len(order), dtype=np.int32)
    return ranks[encoded.indices.to_numpy(zero_copy_only=False)], encoded.dictionary.take(order)


def _write_part(workspace: Workspace, bucket: int, rows: pa.Table) -> InteractionsPart:
    file = write_table(workspace.storage, f"interactions/{part_name(bucket)}", rows)
    newest = pc.max(rows.column("timestamp")).as_py()
    num_users = len(pc.run_end_encode(one_array(rows.column("user_id"))).values)  # rows are by user
    return InteractionsPart.of(bucket, file, num_users=num_users, newest_timestamp=newest)


def _manifest(
    parts: list[InteractionsPart], rule: WeightRule, applied: int, files: tuple[str, ...]
) -> InteractionsManifest:
    newest = [part.newest_timestamp for part in parts if part.newest_timestamp is not None]
    return InteractionsManifest(
        num_rows=sum(part.num_rows for part in parts),
        num_users=sum(part.num_users for part in parts),
        num_buckets=len(parts),
        newest_timestamp=max(newest, default=None),
        repeats=rule.repeats,
        neutral_value=float(rule.neutral_value),
        parts=tuple(parts),
        fingerprint=fingerprint({"parts": [part.content_digest for part in parts], **rule.to_json()}),
        **applied_entry(applied),
        **({"files": files} if files else {}),
    )


def _earlier(workspace: Workspace, append: bool) -> InteractionsManifest | None:
    """The present manifest. One that cannot be read is an error only to an append: replacing it is the remedy."""
    try:
        return stored_manifest(workspace.storage, InteractionsManifest)
    except (SchemaError, CorruptArtefactError):
        if append:
            raise
        return None


def _check_rule(manifest: InteractionsManifest, rule: WeightRule) -> None:
    stored_rule = WeightRule(manifest.repeats, manifest.neutral_value)
    if stored_rule != rule:
        raise InputError(
            f"an append with {rule.to_json()}",
            expected=f"the rule of the stored interactions, {stored_rule.to_json()}",
            remedy="Use the same rule, or import with mode='replace'.",
        )
