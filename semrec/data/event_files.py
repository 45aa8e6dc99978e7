"""Reads the stored events of a user bucket from its files, and joins them with new ones, in order."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from semrec.contracts import INTERACTIONS_SCHEMA
from semrec.data.delimited import one_array
from semrec.workspace.records import EventFiles
from semrec.workspace.storage import Storage
from semrec.workspace.tables import read_table_by_rows

__all__ = ["ENCODED_EVENTS_SCHEMA", "encoded", "event_tables", "merged", "read_interactions", "union_of"]

_CODES: Final = pa.dictionary(pa.int32(), pa.string())
#: INTERACTIONS_SCHEMA with encoded ids: the dictionary of a column has those that stand in it, by UTF-8 bytes.
ENCODED_EVENTS_SCHEMA: Final = pa.schema(
    [field.with_type(_CODES if pa.types.is_string(field.type) else field.type) for field in INTERACTIONS_SCHEMA]
)


def read_interactions(storage: Storage, files: EventFiles | None, as_of: int | None = None) -> pa.Table:
    """Reads the interactions of a bucket up to `as_of` (seconds since 1970 UTC, None: all), none without files.

    INTERACTIONS_SCHEMA, in its order. Raises CorruptArtefactError or MissingArtefactError for a file that is not the recorded
    one.
    """
    if files is None:
        return INTERACTIONS_SCHEMA.empty_table()
    tables = event_tables(storage, files)
    events = merged(tables) if files.appended else tables[0]
    return events if as_of is None else events.filter(pc.less_equal(events["timestamp"], as_of))


def event_tables(storage: Storage, files: EventFiles) -> list[pa.Table]:
    """Reads the events of each file of a bucket, INTERACTIONS_SCHEMA; those of all files together are the bucket's."""
    return [read_table_by_rows(storage, file).cast(INTERACTIONS_SCHEMA) for file in (files, *files.appended)]


def merged(tables: Sequence[pa.Table]) -> pa.Table:
    """Merges tables of events that are each in the order of `union_of`, in that order: INTERACTIONS_SCHEMA.

    The events of users whom only one table has are moved as they are; those of all others are sorted.
    """
    runs = [pc.run_end_encode(one_array(table["user_id"])) for table in tables]
    user_ids = pa.chunked_array([run.values for run in runs], pa.string())
    counts = user_ids.value_counts()
    shared = counts.field("values").filter(pc.greater(counts.field("counts"), 1))
    if len(shared):
        masks = [pc.is_in(table["user_id"], value_set=shared) for table in tables]
        of_shared = pa.concat_tables(table.filter(mask) for table, mask in zip(tables, masks, strict=True))
        others = [table.filter(pc.invert(mask)) for table, mask in zip(tables, masks, strict=True)]
        return merged([*others, union_of(of_shared, INTERACTIONS_SCHEMA.empty_table()).cast(INTERACTIONS_SCHEMA)])
    order = np.asarray(pc.sort_indices(user_ids))  # Arrow compares text by bytes
    table_of = np.repeat(np.arange(len(runs)), [len(run.values) for run in runs])[order]
    stops = np.concatenate([run.run_ends for run in runs])[order]
    starts = np.concatenate([np.append(0, run.run_ends)[:-1] for run in runs])[order]
    goes_on = (table_of[1:] == table_of[:-1]) & (starts[1:] == stops[:-1])  # the run before, in its table, too
    firsts, lasts = np.flatnonzero(np.append(True, ~goes_on)), np.flatnonzero(np.append(~goes_on, True))
    pieces = [
        tables[table_of[first]].slice(starts[first], stops[last] - starts[first])
        for first, last in zip(firsts, lasts, strict=True)
        if len(order)
    ]
    return pa.concat_tables([INTERACTIONS_SCHEMA.empty_table(), *pieces]).combine_chunks()


def union_of(
    stored: pa.Table, new: pa.Table, *, each_once: bool = False, untimed_add_up: bool = False, only_new: bool = False
) -> pa.Table:
    """Merges the events of both by (user_id, timestamp, item_id, value), ids by UTF-8 bytes; ENCODED_EVENTS_SCHEMA.

    An event stands there as often as in the one of both that has it more often: what is stored already and comes again, in
    a newer export or from a client that tries twice, is the same event. With `untimed_add_up` those without a time (0) are
    others each time; with `each_once` equal ones of `new` are one. With `only_new`: those that are not in `stored`.
    """
    rows = pa.concat_tables([stored, new])
    users, user_ids = _ranked(rows.column("user_id"))
    items, item_ids = _ranked(rows.column("item_id"))
    values = rows.column("value").to_numpy()
    seconds = rows.column("timestamp").to_numpy()
    order = _event_order(users, seconds, items, values)
    users, items, values, seconds = (key[order] for key in (users, items, values, seconds))
    if stored.num_rows or each_once:
        starts = np.ones(len(order), dtype=bool)  # where the next event begins; its stored rows come first
        starts[1:] = np.logical_or.reduce([key[1:] != key[:-1] for key in (users, items, values, seconds)])
        stays = starts
        if stored.num_rows:
            adds_up = untimed_add_up & (seconds == 0)
            stays = _staying(starts, order >= stored.num_rows, adds_up, each_once=each_once, only_new=only_new)
        users, items, values, seconds = (key[stays] for key in (users, items, values, seconds))
    columns = [_coded(users, user_ids), _coded(items, item_ids), values, seconds]
    return pa.table(columns, schema=ENCODED_EVENTS_SCHEMA)


def encoded(events: pa.Table) -> pa.Table:
    """Encodes the ids of events as `union_of` does, so that the same events are written as the same bytes."""
    ids = {name: _coded(*_ranked(events.column(name))) for name in ("user_id", "item_id")}
    columns = [ids.get(name, events.column(name)) for name in ENCODED_EVENTS_SCHEMA.names]
    return pa.table(columns, schema=ENCODED_EVENTS_SCHEMA)


def _staying(
    starts: np.ndarray, is_new: np.ndarray, adds_up: np.ndarray, *, each_once: bool, only_new: bool
) -> np.ndarray:
    """Returns which rows of a union stay, as `union_of` says: bool [rows].

    bool [rows] each: where the rows of the next event start, which are new, and whose event is another each time.
    """
    event = np.cumsum(starts) - 1
    num_stored = np.bincount(event, weights=~is_new, minlength=int(starts.sum())).astype(np.int64)
    place = np.arange(len(starts)) - np.flatnonzero(starts)[event]  # among the rows of its event
    place_among_new = place - num_stored[event]
    is_more = place_among_new == 0 if each_once else np.ones(len(starts), dtype=bool)
    is_more &= (place_among_new >= num_stored[event]) | adds_up
    return is_new & is_more if only_new else ~is_new | is_more


def _event_order(users: np.ndarray, seconds: np.ndarray, items: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Returns the stable order by (user, second, item, value), of equal events the stored ones first: int64 [rows].

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


def _ranked(column: pa.ChunkedArray) -> tuple[np.ndarray, pa.Array]:
    """Returns for each row the rank of its text by UTF-8 bytes, and the distinct texts in that order."""
    encoded = one_array(column).dictionary_encode()
    order = pc.sort_indices(encoded.dictionary)  # Arrow compares text by bytes
    ranks = np.empty(len(order), dtype=np.int32)
    ranks[order.to_numpy(zero_copy_only=False)] = np.arange(len(order), dtype=np.int32)
    return ranks[encoded.indices.to_numpy(zero_copy_only=False)], encoded.dictionary.take(order)


def _coded(codes: np.ndarray, texts: pa.Array) -> pa.DictionaryArray:
    """Returns a column of texts by code, int32 [rows], its dictionary without those that no row has."""
    is_used = np.zeros(len(texts), dtype=bool)
    is_used[codes] = True
    if not is_used.all():
        codes, texts = (np.cumsum(is_used, dtype=np.int32) - 1)[codes], texts.filter(pa.array(is_used))
    return pa.DictionaryArray.from_arrays(codes, texts)
