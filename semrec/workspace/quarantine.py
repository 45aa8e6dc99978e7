"""Quarantines rejected input rows with file, line and reason, counted against a stated share."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from typing import Final

import pyarrow as pa
import pyarrow.parquet as pq

from semrec.contracts import QUARANTINE_SCHEMA
from semrec.errors import TooManyRejectedError
from semrec.settings import QuarantineSettings
from semrec.workspace.manifests import CatalogueManifest, InteractionsManifest, UsersManifest
from semrec.workspace.storage import Storage
from semrec.workspace.tables import parquet_bytes

__all__ = ["DEFAULT_MAX_SHARE", "Quarantine", "quarantine_shares", "rejected_line", "rejected_rows"]

DEFAULT_MAX_SHARE: Final = QuarantineSettings().max_share
_ROWS_PER_FILE = 10_000
_EXCERPT_CHARS = 500
_NUM_EXAMPLES = 5
_EXAMPLE_CHARS = 100


class Quarantine:
    """Collects the rejected rows of one stage and source, and writes them as `quarantine/<stage>/<name>-<n>.parquet`.

    Memory is bounded: a file is written every 10,000 rows. Opening it removes what an earlier try of the same stage and
    name left, so that repeating a stage does not count its rows twice.
    """

    def __init__(self, storage: Storage, stage: str, name: str) -> None:
        self._storage, self._folder, self._name = storage, f"quarantine/{stage}", name
        self._rows: list[tuple[str, int | None, str, str]] = []
        self._num_files = 0
        self.counts: Counter[str] = Counter()  # by reason, without the offending value
        self.examples: list[str] = []  # the first few rows, each with its place and reason, for people
        for file in storage.list_sizes(self._folder):
            if re.fullmatch(rf"{re.escape(name)}-\d+\.parquet", file):  # "a-b" is another name than "a"
                storage.delete(f"{self._folder}/{file}")

    @property
    def num_rows(self) -> int:
        return sum(self.counts.values())

    def add(self, file: str, line: int | None, reason: str, row: str, *, detail: str = "") -> None:
        """Rejects one row. `reason` is a fixed phrase that is counted; `detail` is what made it true here."""
        self.counts[reason] += 1
        clean = row.encode("utf-8", "replace").decode()[:_EXCERPT_CHARS]
        reason = f"{reason}: {detail}" if detail else reason
        if len(self.examples) < _NUM_EXAMPLES:
            self.examples.append(rejected_line(file, line, reason, clean))
        self._rows.append((file, line, reason, clean))
        if len(self._rows) >= _ROWS_PER_FILE:
            self.flush()

    def flush(self) -> None:
        """Writes what is still in memory."""
        if not self._rows:
            return
        columns = [list(column) for column in zip(*self._rows, strict=True)]
        table = pa.table(columns, schema=QUARANTINE_SCHEMA)
        self._storage.write_bytes(f"{self._folder}/{self._name}-{self._num_files:05d}.parquet", parquet_bytes(table))
        self._num_files += 1
        self._rows = []

    def check_share(self, num_read: int, max_share: float, notes: Sequence[str] = ()) -> None:
        """Flushes, then raises TooManyRejectedError when more than `max_share` of `num_read` rows were rejected.

        `notes` say how the rows were read, which may be why.
        """
        self.flush()
        if num_read and self.num_rows > max_share * num_read:
            reasons = ", ".join(f"{count} {reason}" for reason, count in self.counts.most_common(3))
            raise TooManyRejectedError(
                "\n".join([f"{self.num_rows:,} of {num_read:,} rows rejected ({reasons})", *self.examples, *notes]),
                expected=f"at most {max_share:.2%}",
                remedy=f"See {self._folder}/{self._name}-*.parquet; mend the source, or raise --max-rejected.",
            )


def rejected_line(file: str, line: int | None, reason: str, row: str) -> str:
    """Formats a rejected row for people: its place, the reason and its beginning."""
    place = file if line is None else f"{file}, line {line}"
    return f"{place}: {reason}" + (f": {row[:_EXAMPLE_CHARS]}" if row else "")


def rejected_rows(storage: Storage, stage: str, limit: int) -> tuple[list[str], int]:
    """Reads the first `limit` rejected rows of the last tries of a stage, for people, and how many there are."""
    folder = f"quarantine/{stage}"
    lines: list[str] = []
    num_rows = 0
    for name in sorted(file for file in storage.list_sizes(folder) if file.endswith(".parquet")):
        table = pq.read_table(pa.BufferReader(storage.read_bytes(f"{folder}/{name}")))
        num_rows += table.num_rows
        for row in table.slice(0, max(0, limit - len(lines))).to_pylist():
            lines.append(
                f"{name.rpartition('-')[0]}: {rejected_line(row['file'], row['line'], row['reason'], row['row'])}"
            )
    return lines, num_rows


def quarantine_shares(storage: Storage) -> dict[str, float]:
    """Returns by kind of imported row the rows that the last import rejected, as a share of those and the rows that are live.

    Repeated interactions are live as one row, so their share is stated too high rather than too low.
    """
    num_live: dict[str, int] = {}
    if catalogue := CatalogueManifest.read_if_there(storage):
        num_live["items"] = catalogue.num_items
    if users := UsersManifest.read_if_there(storage):
        num_live["users"] = users.num_users
    if interactions := InteractionsManifest.read_if_there(storage):
        num_live["interactions"] = interactions.num_rows
    shares = {}
    for kind, num_rows in num_live.items():
        num_rejected = _num_quarantined(storage, "import", kind)
        shares[kind] = num_rejected / max(num_rejected + num_rows, 1)
    return shares


def _num_quarantined(storage: Storage, stage: str, name: str) -> int:
    """Counts the rows in the files of a stage and name. Reads one file: all but the last are full."""
    folder = f"quarantine/{stage}"
    files = [file for file in storage.list_sizes(folder) if re.fullmatch(rf"{re.escape(name)}-\d+\.parquet", file)]
    if not files:
        return 0
    last = pq.read_metadata(pa.BufferReader(storage.read_bytes(f"{folder}/{max(files)}")))
    return (len(files) - 1) * _ROWS_PER_FILE + int(last.num_rows)
