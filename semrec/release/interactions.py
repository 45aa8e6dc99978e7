"""Reads the interactions that a release is built from: one file per user bucket, up to the release's instant."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc

from semrec.contracts import INTERACTIONS_SCHEMA
from semrec.workspace.storage import Storage
from semrec.workspace.tables import TableFile, read_rows

__all__ = ["read_interactions"]


def read_interactions(storage: Storage, file: TableFile | None, as_of: int | None) -> pa.Table:
    """The interactions of a bucket up to `as_of` (seconds since 1970 UTC, None: all): INTERACTIONS_SCHEMA, none without a file.

    Raises CorruptArtefactError or MissingArtefactError for a file that is not the recorded one.
    """
    table = (read_rows(storage, file) if file else INTERACTIONS_SCHEMA.empty_table()).cast(INTERACTIONS_SCHEMA)
    return table if as_of is None else table.filter(pc.less_equal(table["timestamp"], as_of))
