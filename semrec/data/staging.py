"""Stages an import: parts that are written but not yet live; removes what an earlier one left."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from semrec.errors import EmptyResultError, InputError
from semrec.workspace.lease import Lease
from semrec.workspace.manifest import Manifest
from semrec.workspace.manifests import (
    CatalogueManifest,
    InteractionsManifest,
    OntologyManifest,
    RelationsManifest,
    UsersManifest,
)
from semrec.workspace.scratch import ScratchFolder
from semrec.workspace.storage import Storage
from semrec.workspace.tables import TableFile

__all__ = [
    "ImportManifest",
    "LoggedManifest",
    "Staged",
    "applied_entry",
    "applied_sequence",
    "check_not_empty",
    "check_not_lost",
    "is_append",
    "one_import_of",
    "scratch_folder",
    "stored_manifest",
    "stored_parts",
]


ImportManifest = CatalogueManifest | UsersManifest | InteractionsManifest | RelationsManifest | OntologyManifest
#: Of a kind that has a change log.
LoggedManifest = CatalogueManifest | InteractionsManifest | RelationsManifest
_M = TypeVar("_M", bound=Manifest)


@dataclass(frozen=True)
class Staged:
    """Parts that lie under their final names, and the manifest that will name them.

    Until `publish` the earlier manifest, with its own files, is what every reader sees.
    """

    manifest: ImportManifest
    num_repeats: int = 0
    num_put: int = 0  # items or relations changed online that the parts take in
    num_deleted: int = 0
    num_online_replaced: int = 0  # changes and events made online that were in no parts yet, and are older than these

    @property
    def path(self) -> str:
        """The path at which the manifest will stand."""
        return self.manifest.PATH

    def publish(self, storage: Storage) -> None:
        """Makes the parts live, in one atomic step."""
        self.manifest.write(storage)


def check_not_empty(storage: Storage, staged: Sequence[Staged], *, allow_empty: bool) -> None:
    """Raises EmptyResultError when one of `staged` would put a table without rows in the place of one that has some."""
    for table in staged:
        if not allow_empty and not any(part.num_rows for part in table.manifest.parts):
            check_not_lost(storage, type(table.manifest))


def check_not_lost(storage: Storage, kind: type[ImportManifest]) -> None:
    """Raises EmptyResultError when the table of a kind, which is about to have no row, has some now."""
    present = stored_manifest(storage, kind)
    if num_rows := sum(part.num_rows for part in present.parts) if present else 0:
        raise EmptyResultError(
            f"an import without a single row, in the place of {num_rows:,} rows of the {kind.KIND}",
            expected="rows; an export that went wrong upstream has none",
            remedy="Look at the source; if it is meant, say --allow-empty (allow_empty=True).",
        )


def stored_manifest(storage: Storage, kind: type[_M]) -> _M | None:
    """Reads the manifest of what was imported, or None when nothing of the kind was yet."""
    return kind.read_if_there(storage, remedy=f"Import the {kind.KIND} again with mode='replace'.")


def stored_parts(manifest: ImportManifest | None) -> dict[int, TableFile]:
    """Returns the files of a manifest by part number; none without one."""
    return {part.part: part for part in manifest.parts} if manifest else {}


def applied_sequence(manifest: LoggedManifest | None) -> int:
    """Returns the last change made online that the parts of a manifest hold or replace; 0 without one."""
    return manifest.applied_sequence if manifest else 0


def applied_entry(sequence: int) -> dict[str, int]:
    """Returns the manifest's entry about changes made online; a workspace without such changes has no entry."""
    return {"applied_sequence": sequence} if sequence else {}


def is_append(mode: str) -> bool:
    """Raises InputError unless `mode` is "replace" or "append"."""
    if mode not in ("replace", "append"):
        raise InputError(f"mode = {mode!r}", expected="'replace' or 'append'", remedy="Choose one.")
    return mode == "append"


@contextmanager
def one_import_of(storage: Storage, kinds: Iterable[str]) -> Iterator[Callable[[], None]]:
    """Lets one import at a time write each of these tables; what it yields raises RunBusyError where that is no longer sure.

    What two of them lay over the same rows would be lost with the one that went live first. A run that takes online changes in
    may go live in between: the log keeps them, and the next one takes them in again. Raises RunBusyError while another has one.
    """
    with ExitStack() as held:
        leases = [held.enter_context(Lease(storage, f"imports/{kind}")) for kind in sorted(kinds)]

        def check() -> None:
            for lease in leases:
                lease.check()

        yield check


@contextmanager
def scratch_folder() -> Iterator[Path]:
    """Makes a local folder for spilled rows (under $TMPDIR), removed at the end."""
    with ScratchFolder("import") as folder:
        yield Path(folder)
