"""Imports catalogues, users, interactions, relations and an ontology into a workspace.

A source is read in blocks (delimited, jsonl, lists, parquet, rdf), its rows are checked (events, relations, rows), spilled
into buckets on the local disk (spill), written as parts (catalogue, users, interactions, relations), and made live by one
manifest each (staging). Bad rows go to the quarantine with file, line and reason. Memory does not grow with the source.
"""

from __future__ import annotations

from semrec.data.columns import ColumnMap
from semrec.data.dialects import DialectOptions
from semrec.data.imports import import_interactions, import_items, import_table, import_users
from semrec.data.movielens import import_movielens
from semrec.data.presets import PRESETS, import_preset
from semrec.data.rejects import REASONS, Progress
from semrec.data.report import ImportReport
from semrec.data.rows import ItemRow, UserRow

__all__ = [
    "PRESETS",
    "REASONS",
    "ColumnMap",
    "DialectOptions",
    "ImportReport",
    "ItemRow",
    "Progress",
    "UserRow",
    "import_interactions",
    "import_items",
    "import_movielens",
    "import_preset",
    "import_table",
    "import_users",
]
