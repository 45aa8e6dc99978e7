"""What an import has written but not yet made live, and what an earlier one left."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from semrec.errors import EmptyResultError, InputError
from semrec.workspace.manifests import read_manifest, write_manifest
from semrec.workspace.storage import Storage
from semrec.workspace.tables import TableFile

__all__ = [
    "Staged",
    "check_not_empty",
    "check_not_lost",
    "folded_entry",
    "folded_sequence",
    "is_append",
    "scratch_folder",
    "stored_parts",
]


@dataclass(frozen=True)
class Staged:
    """Parts that lie under their final names, and the manifest that will name them.

    Until `publish` the earlier manifest, with its own files, is what every reader sees.
    """

    path: str
    kind: str
    body: dict[str, Any]
    num_repeats: int = 0
    num_put: int = 0  # items changed online that the parts take in
    num_deleted: int = 0
    num_online_replaced: int = 0  # changes and events made online that were in no parts yet, and are older than these

    @property
    def files(self) -> list[TableFile]:
        return [TableFile.from_json(part) for part in self.body["parts"]]

    def publish(self, storage: Storage) -> None:
        write_manifest(storage, self.path, self.kind, self.body)


def check_not_empty(storage: Storage, staged: Sequence[Staged], *, allow_empty: bool) -> None:
    """Raises EmptyResultError when one of `staged` would put a table without rows in the place of one that has some."""
    for table in staged:
        if not allow_empty and not any(file.num_rows for file in table.files):
            check_not_lost(storage, table.path, table.kind)


def check_not_lost(storage: Storage, path: str, kind: str) -> None:
    """Raises EmptyResultError when the table at `path`, which is about to have no row, has some now."""
    _, present = stored_parts(storage, path, kind)
    if num_rows := sum(file.num_rows for file in present.values()):
        raise EmptyResultError(
            f"an import without a single row, in the place of {num_rows:,} rows of the {kind}",
            expected="rows; an export that went wrong upstream has none",
            remedy="Look at the source; if it is meant, say --allow-empty (allow_empty=True).",
        )


def stored_parts(storage: Storage, path: str, kind: str) -> tuple[dict[str, Any] | None, dict[int, TableFile]]:
    """The manifest at `path` and its files by part number; (None, {}) when nothing was imported yet."""
    if not storage.exists(path):
        return None, {}
    manifest = read_manifest(storage, path, kind, remedy=f"Import the {kind} again with mode='replace'.")
    return manifest, {int(part["part"]): TableFile.from_json(part) for part in manifest["parts"]}


def folded_sequence(manifest: dict[str, Any] | None) -> int:
    """The last change made online that the parts of a manifest hold or replace; 0 without one."""
    return int((manifest or {}).get("folded", 0))


def folded_entry(sequence: int) -> dict[str, int]:
    """What a new manifest says about changes made online; a workspace without such changes has no entry."""
    return {"folded": sequence} if sequence else {}


def is_append(mode: str) -> bool:
    """Raises InputError unless `mode` is "replace" or "append"."""
    if mode not in ("replace", "append"):
        raise InputError(f"mode = {mode!r}", expected="'replace' or 'append'", remedy="Choose one.")
    return mode == "append"


@contextmanager
def scratch_folder() -> Iterator[Path]:
    """A local folder for spilled rows (under $TMPDIR), removed at the end."""
    with tempfile.TemporaryDirectory(prefix="semrec-import-") as folder:
        yield Path(folder)
