"""Converts source rows to events, and rejects those that are none with the reason."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from semrec.data.columns import ColumnMap
from semrec.data.known import HasItems
from semrec.data.rejects import RejectsRows, RowBlock
from semrec.data.scalars import check_scalar, ids_of, numbers_of
from semrec.data.times import TimeReader
from semrec.ids import id_faults
from semrec.limits import MAX_EVENT_VALUE

__all__ = ["EventRules", "RowChecks", "events_of"]

_DAY_S: Final = 86_400
_EARLY_1973_S: Final = 100_000_000  # what is younger after a division by 1000 may well have been milliseconds


@dataclass(frozen=True)
class EventRules:
    """The conditions on an event: an item of the catalogue, a time from 1970 to a day after `now_s` (UTC seconds), and a value
    from -max_value to max_value. `times` reads the column of times, in plain seconds unless told otherwise.
    """

    known: HasItems
    now_s: int
    max_value: float = MAX_EVENT_VALUE
    times: TimeReader = field(default_factory=TimeReader)

    @property
    def latest_s(self) -> int:
        return self.now_s + _DAY_S


def events_of(block: RowBlock, columns: ColumnMap, rules: EventRules, *, stats: RejectsRows) -> pa.Table:
    """Returns the rows of `block` that are events, the columns of INTERACTIONS_SCHEMA in source order, and event_id if it is
    mapped, with ids dictionary-encoded; the others go to the quarantine. Without `value` it is 1.0, without `timestamp` 0.

    A row is rejected under the first that applies of: "id is not text", those of `semrec.ids.ID_FAULTS`, "non-numeric
    value", "non-finite value", "value out of range", "bad time", "impossible time", "unknown item".
    """
    checks = RowChecks(block.num_rows)
    ids = {}
    for role, name in (("user_id", columns.user_id), ("item_id", columns.item_id)):
        ids[role], not_id = ids_of(block.columns[name], name, block.file)
        checks.reject("id is not text", not_id, name)
    for role, name in (("user_id", columns.user_id), ("item_id", columns.item_id)):
        for fault, is_bad in id_faults(ids[role]):
            checks.reject(fault, is_bad, name)
    values = _values(block, columns, checks, rules)
    seconds = _seconds(block, columns, checks, rules)
    checks.reject("unknown item", ~rules.known.contains(ids["item_id"]), columns.item_id)
    table = pa.table({**ids, "value": values, "timestamp": seconds})
    if columns.event_id is not None:
        event_ids, not_id = ids_of(block.columns[columns.event_id], columns.event_id, block.file)
        checks.reject("id is not text", not_id, columns.event_id)
        table = table.append_column(
            "event_id", pc.if_else(pc.equal(event_ids, ""), None, event_ids).dictionary_encode()
        )
    if checks.reasons.any():
        times = columns.timestamp
        checks.report(block, stats, lambda row, why, text: _detail(why, text, times, int(seconds[row]), rules))
        table = table.filter(pa.array(checks.reasons == 0))
    return table


class RowChecks:
    """The first reason against each row: index + 1 into `checks`, 0 while there is none."""

    def __init__(self, num_rows: int) -> None:
        self.reasons = np.zeros(num_rows, dtype=np.int8)
        self.checks: list[tuple[str, str]] = []  # reason, source column

    def reject(self, reason: str, mask: np.ndarray, column: str) -> None:
        self.checks.append((reason, column))
        if mask.any():
            self.reasons[mask & (self.reasons == 0)] = len(self.checks)

    def report(
        self,
        block: RowBlock,
        stats: RejectsRows,
        detail_of: Callable[[int, str, str], str | None] = lambda row, reason, text: None,
    ) -> None:
        """Rejects the rows with a reason. `detail_of` row, reason and value says what was wrong; None: the value."""
        for row in np.flatnonzero(self.reasons).tolist():
            reason, column = self.checks[self.reasons[row] - 1]
            value = _shown(block.columns[column][row])
            detail = detail_of(row, reason, value)
            block.reject(row, reason, stats, detail=f"{column} = {value}" if detail is None else detail)


def _values(block: RowBlock, columns: ColumnMap, checks: RowChecks, rules: EventRules) -> np.ndarray:
    if columns.value is None:
        return np.ones(block.num_rows, dtype=np.float32)
    check_scalar(block.columns[columns.value], columns.value, block.file)
    values, not_number, not_finite = numbers_of(block.columns[columns.value])
    checks.reject("non-numeric value", not_number, columns.value)
    checks.reject("non-finite value", not_finite, columns.value)
    checks.reject("value out of range", np.abs(values) > rules.max_value, columns.value)
    return values


def _seconds(block: RowBlock, columns: ColumnMap, checks: RowChecks, rules: EventRules) -> np.ndarray:
    if columns.timestamp is None:
        return np.zeros(block.num_rows, dtype=np.int64)
    check_scalar(block.columns[columns.timestamp], columns.timestamp, block.file)
    seconds, bad = rules.times.seconds(block.columns[columns.timestamp])
    checks.reject("bad time", bad, columns.timestamp)
    checks.reject("impossible time", (seconds < 0) | (seconds > rules.latest_s), columns.timestamp)
    return seconds


def _detail(reason: str, value: str, column: str | None, seconds: int, rules: EventRules) -> str | None:
    if reason == "impossible time":
        return _time_detail(seconds, rules)
    return f"{column} = {value}{rules.times.hint(value.strip(chr(39)))}" if reason == "bad time" else None


def _shown(value: Any) -> str:
    return repr(value.as_py() if isinstance(value, pa.Scalar) else value)[:80]


def _time_detail(seconds: int, rules: EventRules) -> str:
    if seconds < 0:
        return f"{seconds} s is before 1970"
    latest = datetime.fromtimestamp(rules.latest_s, UTC).strftime("%Y-%m-%d %H:%M:%S")
    is_millis = _EARLY_1973_S < seconds // 1000 <= rules.latest_s
    hint = "; in milliseconds? Divide by 1000" if is_millis else ""
    return f"{seconds} s is after {latest} UTC{hint}"
