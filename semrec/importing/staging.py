"""What an import has written but not yet made live, and what an earlier one left."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from semrec.errors import InputError
from semrec.manifests import read_manifest, write_manifest
from semrec.storage import Storage
from semrec.tables import TableFile

__all__ = ["Staged", "folded_entry", "is_append", "scratch_folder", "stored_parts"]


@dataclass(frozen=True)
class Staged:
    """Parts that lie under their final names, and the manifest that will name them.

    Until `publish` the earlier manifest, with its own files, is what every reader sees.
    """

    path: str
    kind: str
    body: dict[str, Any]
    num_repeats: int = 0

    @property
    def files(self) -> list[TableFile]:
        return [TableFile.from_json(part) for part in self.body["parts"]]

    def publish(self, storage: Storage) -> None:
        write_manifest(storage, self.path, self.kind, self.body)


def stored_parts(storage: Storage, path: str, kind: str) -> tuple[dict[str, Any] | None, dict[int, TableFile]]:
    """The manifest at `path` and its files by part number; (None, {}) when nothing was imported yet."""
    if not storage.exists(path):
        return None, {}
    manifest = read_manifest(storage, path, kind, remedy=f"Import the {kind} again with mode='replace'.")
    return manifest, {int(part["part"]): TableFile.from_json(part) for part in manifest["parts"]}


def folded_entry(manifest: dict[str, Any] | None, folded: int | None) -> dict[str, int]:
    """What a new manifest says about changes made online: that it holds those up to `folded`, or what the one before said.

    An import that replaces everything keeps the number too: it also replaces what was folded in. A workspace without such
    changes has no entry.
    """
    sequence = int((manifest or {}).get("folded", 0)) if folded is None else folded
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
