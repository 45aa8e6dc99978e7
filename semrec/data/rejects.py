"""Holds what every reader shares: blocks of source rows, the count of rows read, and the rows rejected."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Protocol

import numpy as np

from semrec.errors import InputError
from semrec.workspace.quarantine import Quarantine
from semrec.workspace.storage import Storage

__all__ = [
    "REASONS",
    "STAGE",
    "Progress",
    "ReadStats",
    "RejectedRow",
    "RejectedRows",
    "RejectsRows",
    "RowBlock",
    "RowStats",
]

#: Called with (rows done so far, what is being done), once per block or part.
Progress = Callable[[int, str], None]

STAGE: Final = "import"

#: Every reason for which an import rejects a row. A row is counted once, under the first that applies in this order.
REASONS: Final = (
    "unclosed quote",
    "bad UTF-8",
    "NUL byte",
    "ragged line",
    "text behind a quote",
    "repeated header",
    "not a JSON object",
    "not a triple",
    "unsupported axiom",
    "id is not text",
    "value is not text",
    "missing id",
    "control character in id",
    "id is . or ..",
    "id is too long",
    "non-numeric value",
    "non-finite value",
    "value out of range",
    "bad time",
    "impossible time",
    "missing tag",
    "no title and no text",
    "unknown item",
    "unreadable document",
    "duplicate id",
)


@dataclass(frozen=True)
class RowBlock:
    """Consecutive rows of one source file, by column.

    `columns` holds, for each wanted source column, an Arrow array or a list of Python values, one per row. `lines` is
    int64 [rows], the physical line (from 1) where each row begins, or None where the format has no lines. `excerpt(i)`
    is row i as text for people. `is_text` says that every field is plain text, as in CSV, where lists are joined.
    """

    file: str
    columns: Mapping[str, Any]
    num_rows: int
    lines: np.ndarray | None
    excerpt: Callable[[int], str]
    is_text: bool = False

    def line(self, row: int) -> int | None:
        return None if self.lines is None else int(self.lines[row])

    def reject(self, row: int, reason: str, stats: RejectsRows, *, detail: str = "") -> None:
        """Rejects one of the rows."""
        stats.reject(self.file, self.line(row), reason, self.excerpt(row), detail=detail)


class RejectsRows(Protocol):
    """Takes the rejected rows."""

    def reject(self, file: str, line: int | None, reason: str, row: str, *, detail: str = "") -> None:
        """Rejects one row; `reason` is one of REASONS."""


class RowStats(RejectsRows, Protocol):
    """A receiver of the counts, notes and rejected rows of a reader, as `ReadStats` has them."""

    @property
    def rejected(self) -> Mapping[str, int]: ...

    def count(self, num_rows: int) -> None: ...

    def note(self, text: str) -> None: ...


@dataclass(frozen=True)
class RejectedRow:
    """One rejected row of a few: its place from 0, one of REASONS, and what made it true."""

    row: int
    reason: str
    detail: str = ""


class RejectedRows:
    """Rejected rows of a few whose sender waits to hear of them: kept in memory, in no quarantine."""

    def __init__(self) -> None:
        self.rows: list[RejectedRow] = []

    def reject(self, file: str, line: int | None, reason: str, row: str, *, detail: str = "") -> None:
        self.rows.append(RejectedRow(line or 0, reason, detail))


class ReadStats:
    """Counts the rows of one kind of source (items, users, interactions, tags) and rejects the bad ones.

    Rejected rows go to `quarantine/import/<kind>-*.parquet`. Raises InputError when `max_rejected` is not a share.
    """

    def __init__(self, storage: Storage, kind: str, *, max_rejected: float, progress: Progress | None = None) -> None:
        if not 0 <= max_rejected <= 1:
            raise InputError(
                f"max_rejected = {max_rejected}",
                expected="a share from 0 to 1",
                remedy="0.01 allows one bad row in a hundred.",
            )
        self.kind, self.num_read = kind, 0
        self.notes: list[str] = []  # what whoever imports should know, in order
        self._max_rejected, self._progress = max_rejected, progress
        self._quarantine = Quarantine(storage, STAGE, kind)

    @property
    def rejected(self) -> dict[str, int]:
        """Rows rejected, by reason, most frequent first."""
        return dict(self._quarantine.counts.most_common())

    @property
    def examples(self) -> list[str]:
        """The first rejected rows, each with its place and reason, for people."""
        return self._quarantine.examples

    @property
    def quarantine_path(self) -> str:
        return f"quarantine/{STAGE}/{self.kind}-*.parquet"

    def reject(self, file: str, line: int | None, reason: str, row: str, *, detail: str = "") -> None:
        """Rejects one row; `reason` is one of REASONS."""
        self._quarantine.add(file, line, reason, row, detail=detail)

    def count(self, num_rows: int) -> None:
        """Counts rows that were read, the rejected ones included, and reports progress."""
        self.num_read += num_rows
        self.report(self.num_read, f"read {self.kind}")

    def note(self, text: str) -> None:
        """Adds a line to the report of the import, once."""
        if text not in self.notes:
            self.notes.append(text)

    def report(self, num_rows: int, stage: str) -> None:
        if self._progress is not None:
            self._progress(num_rows, stage)

    def check(self) -> None:
        """Writes the rejected rows. Raises TooManyRejectedError above the stated share of the rows read."""
        self._quarantine.check_share(self.num_read, self._max_rejected, self.notes)

    def flush(self) -> None:
        """Writes the rejected rows that are still in memory."""
        self._quarantine.flush()
