"""Reads the interactions that a release is built from: those of one user bucket, up to the release's instant."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc

from semrec.contracts import INTERACTIONS_SCHEMA
from semrec.data.event_files import read_events
from semrec.workspace.records import EventFiles
from semrec.workspace.storage import Storage

__all__ = ["read_interactions"]


def read_interactions(storage: Storage, files: EventFiles | None, as_of: int | None) -> pa.Table:
    """The interactions of a bucket up to `as_of` (seconds since 1970 UTC, None: all): INTERACTIONS_SCHEMA, none without files.

    Raises CorruptArtefactError or MissingArtefactError for a file that is not the recorded one.
    """
    table = read_events(storage, files) if files else INTERACTIONS_SCHEMA.empty_table()
    return table if as_of is None else table.filter(pc.less_equal(table["timestamp"], as_of))
