"""Writes the interactions: into user buckets by way of local files, then one sorted part per bucket."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Final, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from semrec.contracts import INTERACTIONS_SCHEMA, buckets_of, part_name
from semrec.data.delimited import one_array
from semrec.data.event_files import ENCODED_EVENTS_SCHEMA, encoded, event_tables, merged, union_of
from semrec.data.rejects import ReadStats
from semrec.data.spill import BucketSpill
from semrec.data.staging import Staged, applied_entry, applied_sequence, stored_manifest
from semrec.errors import CorruptArtefactError, InputError, SchemaError
from semrec.workspace.digests import content_digest, fingerprint
from semrec.workspace.folder import Workspace
from semrec.workspace.manifests import InteractionsManifest, InteractionsPart
from semrec.workspace.tables import write_table

__all__ = ["ImportedFiles", "WeightRule", "stage_interactions"]

_KIND: Final = "interactions"
#: When a part is written again as one file: see `_appended`.
MAX_APPENDED_FILES = 8
MAX_APPENDED_SHARE = 0.25
MIN_ROWS_TO_APPEND_TO = 10_000
_MAX_THREADS: Final = 4
_MAX_FILES: Final = 10_000  # whose digests the manifest remembers: 350 KB
_SPILLED_WITH_ID_SCHEMA: Final = ENCODED_EVENTS_SCHEMA.append(pa.field("event_id", pa.string()))


@dataclass(frozen=True)
class WeightRule:
    """The rule by which a later stage turns the events of one user and item into a weight; here it is only stored.

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
        """True where events that are equal in all columns are one: a rating that stands there twice is one rating."""
        return self.repeats == "latest"

    def to_json(self) -> dict[str, str | float]:
        """Returns the rule as fingerprints and messages have it."""
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

    `tables` have INTERACTIONS_SCHEMA, or all of them a column event_id (string) besides; of several rows with one event id
    the first counts. Other events that are equal in all four columns are as many events, unless `each_once` or the rule says
    that they are one. With `append` they are laid over the stored ones as `union_of` says, where events without a time add
    up unless they are one.

    Memory holds a few blocks of a source, one spill buffer, and the buckets of two of its files. `applied` is the last event
    received online that the result holds or replaces; by default that of the interactions before. `files` are the digests of
    the files that the rows come from; it is read after the rows. Raises InputError when `append` meets another rule,
    TooManyRejectedError before any part is written.
    """
    manifest = _earlier(workspace, append)
    each_once = each_once or rule.counts_equal_events_once
    stored: dict[int, InteractionsPart] = {}
    if append and manifest:
        _check_rule(manifest, rule)
        stored = {part.part: part for part in manifest.parts}
    with_rows = (table for table in tables if table.num_rows)
    first = next(with_rows, INTERACTIONS_SCHEMA.empty_table())
    schema = _SPILLED_WITH_ID_SCHEMA if "event_id" in first.schema.names else ENCODED_EVENTS_SCHEMA
    spill = BucketSpill(scratch / _KIND, schema, workspace.num_buckets)
    for table in chain([first], with_rows):
        spill.add(table, buckets_of(one_array(table.column("user_id")), workspace.num_buckets))
    stats.check()

    def write_bucket(bucket: int) -> tuple[InteractionsPart, int]:
        """Writes the part of one bucket; returns it and how many of its rows were repeats."""
        rows, part = spill.read(bucket), stored.get(bucket)
        events = _first_of_each_event_id(rows)
        if part is None:
            events = union_of(ENCODED_EVENTS_SCHEMA.empty_table(), events, each_once=each_once, untimed_add_up=True)
            return _write_part(workspace, bucket, events), rows.num_rows - events.num_rows
        if not rows.num_rows:
            return part, 0  # nothing new: its files stand
        events, part = _appended(workspace, part, events.cast(INTERACTIONS_SCHEMA), each_once=each_once)
        return part, rows.num_rows - events.num_rows

    parts: list[InteractionsPart] = []
    num_repeats = num_rows = 0
    # Sorting, hashing and compressing release the interpreter. Each thread holds one bucket in memory.
    with ThreadPoolExecutor(min(_MAX_THREADS, pa.cpu_count())) as threads:
        for part, num_repeated in threads.map(write_bucket, range(workspace.num_buckets)):
            parts.append(part)
            num_repeats += num_repeated
            num_rows += part.num_events
            stats.report(num_rows, "write interactions")
    held = applied_sequence(manifest)
    until = held if applied is None else applied
    num_replaced = 0 if append else max(0, until - held)
    all_files = (*(manifest.files if append and manifest else ()), *files)[-_MAX_FILES:]
    return Staged(_manifest(parts, rule, until, all_files), num_repeats, num_online_replaced=num_replaced)


def _first_of_each_event_id(rows: pa.Table) -> pa.Table:
    """Returns the rows without an event id and the first row with each, without that column."""
    if "event_id" not in rows.schema.names:
        return rows
    encoded = one_array(rows.column("event_id")).dictionary_encode()
    codes = pc.fill_null(encoded.indices, -1).to_numpy(zero_copy_only=False)
    is_first = codes < 0
    is_first[np.unique(codes, return_index=True)[1]] = True
    rows = rows.select(INTERACTIONS_SCHEMA.names)
    return rows if is_first.all() else rows.filter(pa.array(is_first))


def _appended(
    workspace: Workspace, part: InteractionsPart, events: pa.Table, *, each_once: bool
) -> tuple[pa.Table, InteractionsPart]:
    """Appends those of `events` that are not among the stored ones: these, and the part with them.

    They become a file of their own, which costs their own size and a digest of all rows of the part. A part is written
    again, as one file, once it would have more than MAX_APPENDED_FILES such files, or more than a quarter of its rows in
    them: reading joins them each time. So is a small part, which costs no more than another file.
    """
    tables = event_tables(workspace.storage, part)
    stored = pa.concat_tables(tables)
    of_users = stored.filter(pc.is_in(stored["user_id"], value_set=events["user_id"].unique()))
    added = union_of(of_users, events, each_once=each_once, untimed_add_up=not each_once, only_new=True)
    if not added.num_rows:
        return added, part
    rows = merged([*tables, added.cast(INTERACTIONS_SCHEMA)])
    num_appended = part.num_events - part.num_rows + added.num_rows
    is_small = part.num_rows < MIN_ROWS_TO_APPEND_TO
    if is_small or len(part.appended) >= MAX_APPENDED_FILES or num_appended > MAX_APPENDED_SHARE * part.num_rows:
        return added, _write_part(workspace, part.part, encoded(rows))
    users = one_array(added["user_id"]).dictionary
    num_new_users = len(users) - pc.sum(pc.is_in(users, value_set=of_users["user_id"].unique())).as_py()
    newest = max(part.newest_timestamp or 0, pc.max(added["timestamp"]).as_py())
    file = write_table(workspace.storage, f"interactions/{part_name(part.part)}", added, plain_text=True)
    changed_fields = {
        "appended": (*part.appended, file),
        "rows_digest": content_digest(rows),
        "num_users": part.num_users + num_new_users,
        "newest_timestamp": newest,
    }
    return added, part.model_copy(update=changed_fields)


def _write_part(workspace: Workspace, bucket: int, rows: pa.Table) -> InteractionsPart:
    """Writes events, ENCODED_EVENTS_SCHEMA, as the only file of a part."""
    file = write_table(workspace.storage, f"interactions/{part_name(bucket)}", rows, plain_text=True)
    newest = pc.max(rows.column("timestamp")).as_py()
    num_users = len(one_array(rows.column("user_id")).dictionary)
    return InteractionsPart.of(bucket, file, num_users=num_users, newest_timestamp=newest)


def _manifest(
    parts: list[InteractionsPart], rule: WeightRule, applied: int, files: tuple[str, ...]
) -> InteractionsManifest:
    newest = [part.newest_timestamp for part in parts if part.newest_timestamp is not None]
    return InteractionsManifest(
        num_rows=sum(part.num_events for part in parts),
        num_users=sum(part.num_users for part in parts),
        num_buckets=len(parts),
        newest_timestamp=max(newest, default=None),
        repeats=rule.repeats,
        neutral_value=float(rule.neutral_value),
        parts=tuple(parts),
        fingerprint=fingerprint({"parts": [part.digest for part in parts], **rule.to_json()}),
        **applied_entry(applied),
        **({"files": files} if files else {}),
    )


def _earlier(workspace: Workspace, append: bool) -> InteractionsManifest | None:
    """Reads the present manifest. One that cannot be read is an error only to an append: replacing it is the remedy."""
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
