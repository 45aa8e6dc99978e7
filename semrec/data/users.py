"""Writes the users table: one part per user bucket, ascending user_id."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Final

import pyarrow as pa

from semrec.contracts import USERS_SCHEMA, buckets_of, part_name
from semrec.data.rejects import ReadStats
from semrec.data.rows import USER_ROWS_SCHEMA, first_of_each, stored_rows
from semrec.data.spill import BucketSpill
from semrec.data.staging import Staged, stored_manifest, stored_parts
from semrec.workspace.digests import fingerprint
from semrec.workspace.folder import Workspace
from semrec.workspace.manifests import UsersManifest
from semrec.workspace.records import PartFile
from semrec.workspace.tables import read_table, write_table

__all__ = ["stage_users"]

_KIND: Final = "users"


def stage_users(
    workspace: Workspace, tables: Iterable[pa.Table], *, append: bool, stats: ReadStats, scratch: Path
) -> Staged:
    """Writes the parts of all users in `tables` (USER_ROWS_SCHEMA); with `append`, over the users stored already.

    Of two rows with one id the first counts ("duplicate id"); a new row wins over a stored one, attributes and all.
    """
    stored = stored_parts(stored_manifest(workspace.storage, UsersManifest)) if append else {}
    spill = BucketSpill(scratch / _KIND, USER_ROWS_SCHEMA, workspace.num_buckets)
    for table in tables:
        spill.add(table, buckets_of(table.column("user_id").combine_chunks(), workspace.num_buckets))
    parts: list[PartFile] = []
    for bucket in range(workspace.num_buckets):
        rows = spill.read(bucket)
        if bucket in stored:
            rows = pa.concat_tables(
                [rows, stored_rows(read_table(workspace.storage, stored[bucket]), USER_ROWS_SCHEMA)]
            )
        rows = first_of_each(rows, "user_id", stats=stats).select(USERS_SCHEMA.names).cast(USERS_SCHEMA)
        rows = rows.sort_by("user_id")  # Arrow compares text by bytes
        file = write_table(workspace.storage, f"users/{part_name(bucket)}", rows)
        parts.append(PartFile.of(bucket, file))
        stats.report(sum(part.num_rows for part in parts), "write users")
    stats.check()
    manifest = UsersManifest(
        num_users=sum(part.num_rows for part in parts),
        num_buckets=len(parts),
        parts=tuple(parts),
        fingerprint=fingerprint([part.content_digest for part in parts]),
    )
    return Staged(manifest)
