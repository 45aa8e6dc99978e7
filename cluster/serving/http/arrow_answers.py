"""Write the answers of a batch as an Arrow IPC stream: columns, for machines that take in thousands of lists.

Ids, titles and attributes are gathered from the columns of the release, so no item becomes an object on either side.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import pyarrow as pa

from cluster.serving.execute import Answer, Snapshot
from cluster.serving.http.problems import problem_of
from semrec.contracts import ATTRIBUTES_TYPE
from semrec.online.answers import RowHits, ScoredItem, scores_in

__all__ = ["ARROW_BATCH", "ARROW_STREAM", "accepts_arrow"]

#: The media type, https://www.iana.org/assignments/media-types/application/vnd.apache.arrow.stream
ARROW_STREAM: Final = "application/vnd.apache.arrow.stream"

_ITEM: Final = pa.struct(
    [
        pa.field("item_id", pa.string()),
        pa.field("title", pa.string()),
        pa.field("attributes", ATTRIBUTES_TYPE),
        pa.field("score", pa.float32()),
    ]
)
_PROBLEM: Final = pa.struct(
    [
        pa.field(name, pa.int32() if name == "status" else pa.string())
        for name in ("type", "title", "status", "detail", "expected", "remedy")
    ]
)
_SCHEMA: Final = pa.schema(
    [
        pa.field("source", pa.string()),
        pa.field("user_id", pa.string()),
        pa.field("item_id", pa.string()),
        pa.field("short_reason", pa.string()),
        pa.field("items", pa.list_(_ITEM)),
        pa.field("error", _PROBLEM),
    ]
)
_END_OF_STREAM: Final = b"\xff\xff\xff\xff\x00\x00\x00\x00"  # https://arrow.apache.org/docs/format/Columnar.html


class _ArrowBatchSerializer:
    """A row for each query. Release and overlay, which all of them share, are metadata of the schema."""

    def part(self, snapshot: Snapshot, outcomes: Sequence[Answer | Exception]) -> memoryview:
        answers = [outcome if isinstance(outcome, Answer) else None for outcome in outcomes]
        errors = [problem_of(outcome).document() if isinstance(outcome, Exception) else None for outcome in outcomes]
        texts = [
            pa.array([None if answer is None else value(answer) for answer in answers], pa.string())
            for value in (
                lambda answer: answer.source,
                lambda answer: answer.user_id,
                lambda answer: answer.item_id,
                lambda answer: answer.ranked.short_reason,
            )
        ]
        columns = [*texts, _items(snapshot, answers), pa.array(errors, _PROBLEM)]
        return memoryview(pa.record_batch(columns, schema=_SCHEMA).serialize())

    def whole(self, snapshot: Snapshot, parts: Sequence[bytes | memoryview]) -> bytes:
        about = {"release": snapshot.served.release_id, "overlay": str(snapshot.overlay.sequence)}
        return b"".join([memoryview(_SCHEMA.with_metadata(about).serialize()), *parts, _END_OF_STREAM])


ARROW_BATCH: Final = _ArrowBatchSerializer()


def accepts_arrow(accept: str) -> bool:
    """Whether a header Accept names the media type."""
    return any(kind.partition(";")[0].strip().lower() == ARROW_STREAM for kind in accept.split(","))


def _items(snapshot: Snapshot, answers: Sequence[Answer | None]) -> pa.ListArray:
    """The lists of items; null for None."""
    lists: list[Sequence[ScoredItem]] = [() if answer is None else answer.ranked.hits for answer in answers]
    places: dict[str, int] = {}
    rows = [_rows(snapshot, hits, places) for hits in lists]
    rows_N = np.concatenate([np.zeros(0, np.int64), *rows])
    scores_N = np.concatenate([np.zeros(0, np.float32), *map(scores_in, lists)])
    facts = _facts(snapshot, list(places)).take(pa.array(rows_N))
    columns = [facts.column(name).combine_chunks() for name in ("item_id", "title", "attributes")]
    items = pa.StructArray.from_arrays([*columns, pa.array(scores_N)], fields=list(_ITEM))
    offsets = pa.array(np.cumsum([0, *map(len, lists)]), pa.int32())
    failed = pa.array([answer is None for answer in answers])
    return pa.ListArray.from_arrays(offsets, items, type=pa.list_(_ITEM), mask=failed)


def _rows(snapshot: Snapshot, hits: Sequence[ScoredItem], places: dict[str, int]) -> np.ndarray:
    """The rows of hits, int64; an item that was changed since the release gets a place behind its rows."""
    if isinstance(hits, RowHits):
        return hits.rows_K
    items, changes = snapshot.served.items, snapshot.overlay.changes
    return np.array(
        [
            len(items) + places.setdefault(hit.item_id, len(places))
            if hit.item_id in changes
            else items.row_of[hit.item_id]
            for hit in hits
        ],
        np.int64,
    )


def _facts(snapshot: Snapshot, changed: Sequence[str]) -> pa.Table:
    """Id, title and attributes of the release's items, and behind them of those that were changed since."""
    released = snapshot.served.release.items
    if not changed:
        return released
    facts = [snapshot.served.item(item_id, snapshot.overlay) for item_id in changed]
    columns: list[Any] = [
        [fact.item_id for fact in facts],
        [fact.title for fact in facts],
        [list(fact.attributes.items()) for fact in facts],
    ]
    arrays = [pa.array(column, field.type) for column, field in zip(columns, released.schema, strict=True)]
    return pa.concat_tables([released, pa.table(arrays, schema=released.schema)])
