"""Defines presets: the columns of well-known data sets, as data. `import_table` with the same arguments does the same."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from fnmatch import fnmatch
from pathlib import Path
from typing import Any, Final, Literal

from semrec.data.columns import ColumnMap
from semrec.data.dialects import DialectOptions
from semrec.data.imports import import_table
from semrec.data.movielens import is_movielens
from semrec.data.rejects import Progress
from semrec.data.report import ImportReport
from semrec.data.sources import Source, SourceFolder
from semrec.errors import InputError
from semrec.workspace.folder import Workspace
from semrec.workspace.quarantine import DEFAULT_MAX_SHARE

__all__ = ["PRESETS", "Preset", "PresetTable", "import_preset", "preset_commands"]

_COMPRESSED: Final = (".gz", ".bz2", ".xz", ".zst", ".zip")
#: Ratings of 1 to 5: what lies at or below the middle is no reason to recommend, and a new rating replaces the old.
_FIVE_STARS: Final = {"repeats": "latest", "neutral_value": 2.5}
_TEN_POINTS: Final = {"repeats": "latest", "neutral_value": 5.0}
_TABS: Final = DialectOptions("\t", quoted=False)
_SPACES: Final = DialectOptions(" ", quoted=False)
_BARS: Final = DialectOptions("|", quoted=False, encoding="latin-1", has_header=False)
_NO_HEADER: Final = DialectOptions(",", has_header=False)
_SEMICOLONS: Final = DialectOptions(";", escape="\\", encoding="cp1252")


@dataclass(frozen=True)
class PresetTable:
    """One table of a preset: which files of the folder hold it (patterns of lower-case names, with ! of others), and how.

    `rules` are further arguments of `import_table`. `max_rejected` replaces the caller's where rows are rejected by nature.
    """

    kind: Literal["items", "users", "interactions"]
    files: tuple[str, ...]
    columns: ColumnMap
    fmt: Literal["csv", "parquet", "jsonl", "lists"] = "csv"
    dialect: DialectOptions = field(default_factory=DialectOptions)
    rules: dict[str, Any] = field(default_factory=dict)
    is_optional: bool = False
    max_rejected: float | None = None


@dataclass(frozen=True)
class Preset:
    """A data set with a published layout."""

    name: str
    about: str
    tables: tuple[PresetTable, ...]


_ALL: Final = (
    Preset(
        "ml-100k",
        "MovieLens 100K: u.item, u.data (the later ones: `semrec import movielens`)",
        (
            PresetTable("items", ("u.item",), ColumnMap("1", title="2"), dialect=_BARS),
            PresetTable(
                "users", ("u.user",), ColumnMap(user_id="1", attributes={"gender": "3", "occupation": "4"}),
                dialect=_BARS, is_optional=True,
            ),
            PresetTable(
                "interactions", ("u.data",), ColumnMap("2", "1", value="3", timestamp="4"),
                dialect=replace(_TABS, has_header=False), rules=_FIVE_STARS,
            ),
        ),
    ),
    Preset(
        "goodbooks-10k",
        "goodbooks-10k: books.csv, ratings.csv",
        (
            PresetTable(
                "items", ("books.csv",),
                ColumnMap(
                    "book_id", title="title", text=("title", "authors"),
                    attributes={"year": "original_publication_year", "language": "language_code"},
                ),
            ),
            PresetTable("interactions", ("ratings.csv",), ColumnMap("book_id", "user_id", value="rating"), rules=_FIVE_STARS),
        ),
    ),
    Preset(
        "book-crossing",
        "Book-Crossing: BX-Books.csv, BX-Users.csv, BX-Book-Ratings.csv",
        (
            PresetTable(
                "items", ("bx-books.csv", "bx_books.csv"),
                ColumnMap(
                    "ISBN", title="Book-Title", text=("Book-Title", "Book-Author"), unescape=True,
                    attributes={"year": "Year-Of-Publication", "publisher": "Publisher"},
                ),
                dialect=_SEMICOLONS,
            ),
            PresetTable(
                "users", ("bx-users.csv", "bx_users.csv"), ColumnMap(user_id="User-ID"), dialect=_SEMICOLONS, is_optional=True
            ),
            # Ratings name books that the catalogue does not have.
            PresetTable(
                "interactions", ("bx-book-ratings.csv", "bx-ratings.csv"),
                ColumnMap("ISBN", "User-ID", value="Book-Rating"),
                dialect=_SEMICOLONS, rules=_TEN_POINTS, max_rejected=0.15,
            ),
        ),
    ),
    Preset(
        "hetrec-lastfm",
        "HetRec 2011 Last.fm: artists.dat, user_artists.dat",
        (
            PresetTable("items", ("artists.dat",), ColumnMap("id", title="name"), dialect=_TABS),
            PresetTable(
                "interactions", ("user_artists.dat",), ColumnMap("artistID", "userID", value="weight"), dialect=_TABS
            ),
        ),
    ),
    Preset(
        "steam-200k",
        "Steam video games: steam-200k.csv, whose games are the catalogue",
        (
            # Each purchase names its game again, which is a duplicate id.
            PresetTable(
                "items", ("steam-200k.csv",), ColumnMap("2", title="2"), dialect=_NO_HEADER, max_rejected=1.0
            ),
            PresetTable("interactions", ("steam-200k.csv",), ColumnMap("2", "1", value="4"), dialect=_NO_HEADER),
        ),
    ),
    Preset(
        "amazon-2018",
        "Amazon reviews 2014/2018 as JSON lines: meta_*.json, reviews",
        (
            PresetTable(
                "items", ("meta_*.json*",),
                ColumnMap(
                    "asin", title="title", text=("title", "description"), unescape=True,
                    attributes={"category": "category", "brand": "brand"},
                ),
                fmt="jsonl",
            ),
            PresetTable(
                "interactions", ("*.json*", "!meta_*"),
                ColumnMap("asin", "reviewerID", value="overall", timestamp="unixReviewTime"),
                fmt="jsonl", rules=_FIVE_STARS, max_rejected=0.1,
            ),
        ),
    ),
    Preset(
        "amazon-2023",
        "Amazon reviews 2023 as JSON lines: meta_*.jsonl, reviews",
        (
            PresetTable(
                "items", ("meta_*.jsonl",),
                ColumnMap(
                    "parent_asin", title="title", text=("title", "features", "description"), unescape=True,
                    attributes={"category": "categories", "store": "store"},
                ),
                fmt="jsonl",
            ),
            PresetTable(
                "interactions", ("*.jsonl", "!meta_*"),
                ColumnMap("parent_asin", "user_id", value="rating", timestamp="timestamp"),
                fmt="jsonl", rules={**_FIVE_STARS, "time_format": "ms"}, max_rejected=0.1,
            ),
        ),
    ),
    Preset(
        "lightgcn",
        "LightGCN, BARS: item_list.txt, and train.txt, test.txt of lines \"user item item ...\"",
        (
            PresetTable("items", ("item_list.txt",), ColumnMap("remap_id", title="org_id"), dialect=_SPACES),
            PresetTable("interactions", ("train.txt", "test.txt"), ColumnMap(), fmt="lists"),
        ),
    ),
    Preset(
        "netflix-titles",
        "Netflix titles: netflix_titles.csv, a catalogue alone",
        (
            PresetTable(
                "items", ("netflix_titles.csv",),
                ColumnMap(
                    "show_id", title="title", text=("title", "description"), list_separator=", ",
                    attributes={"genre": "listed_in", "country": "country", "year": "release_year", "maturity": "rating"},
                ),
            ),
        ),
    ),
    Preset(
        "recbole-ml",
        "RecBole atomic files of MovieLens: *.item, *.user, *.inter",
        (
            PresetTable(
                "items", ("*.item",),
                ColumnMap(
                    "item_id:token", title="movie_title:token_seq", list_separator=" ",
                    attributes={"genre": ("class:token_seq",), "year": ("release_year:token",)},
                ),
                dialect=_TABS,
            ),
            PresetTable("users", ("*.user",), ColumnMap(user_id="user_id:token"), dialect=_TABS, is_optional=True),
            PresetTable(
                "interactions", ("*.inter",),
                ColumnMap("item_id:token", "user_id:token", value="rating:float", timestamp="timestamp:float"),
                dialect=_TABS, rules={**_FIVE_STARS, "time_format": "s"},
            ),
        ),
    ),
)  # fmt: skip
PRESETS: Final = {preset.name: preset for preset in _ALL}


def import_preset(
    workspace: Workspace,
    name: str,
    folder: str | Path,
    *,
    max_rejected: float = DEFAULT_MAX_SHARE,
    allow_empty: bool = False,
    progress: Progress | None = None,
) -> Iterator[ImportReport]:
    """Imports the tables of a preset from a folder, one after the other: items before events. Each is live at once.

    Raises InputError for another name, and before anything is read for a folder without the files, and what `import_table`
    raises.
    """
    if name not in PRESETS:
        raise InputError(f"preset {name!r}", expected=f"one of {', '.join(PRESETS)}", remedy="Choose one of them.")
    listing = SourceFolder(folder)
    sources = {table.kind: _matching(listing, table) for table in PRESETS[name].tables}
    for table in PRESETS[name].tables:
        if files := sources[table.kind]:
            yield import_table(
                workspace,
                [file.path for file in files],
                fmt=table.fmt,
                kind=table.kind,
                columns=table.columns,
                dialect=table.dialect if table.fmt == "csv" else None,
                max_rejected=max_rejected if table.max_rejected is None else max(max_rejected, table.max_rejected),
                allow_empty=allow_empty,
                progress=progress,
                **table.rules,
            )


def preset_commands(folder: str | Path) -> list[str]:
    """Returns the import commands of the presets whose files are in a folder."""
    listing = SourceFolder(folder)
    commands = ["movielens"] if is_movielens(folder) else []
    for preset in PRESETS.values():
        try:
            for table in preset.tables:
                _matching(listing, table)
            commands.append(f"preset {preset.name}")
        except InputError:  # a table has no file
            continue
    return [f"semrec import {command} {shlex.quote(str(folder))} -w W" for command in commands]


def _matching(folder: SourceFolder, table: PresetTable) -> list[Source]:
    """Returns the files of a folder that hold a table. Raises InputError where they are missing and not optional."""
    without = [pattern[1:] for pattern in table.files if pattern.startswith("!")]
    names = [
        name
        for name in folder.files
        if any(fnmatch(_plain_name(name), pattern) for pattern in table.files)
        and not any(fnmatch(_plain_name(name), pattern) for pattern in without)
    ]
    if not names and not table.is_optional:
        raise InputError(
            f"no {' or '.join(table.files)} in {folder.uri}",
            expected=f"the {table.kind} of the preset",
            remedy="Unpack the archive, and name the folder that holds its files.",
        )
    return [Source(name, f"{folder.uri}/{name}") for name in names]


def _plain_name(name: str) -> str:
    """Returns the name in small letters, without the suffix of a compressed file."""
    name = name.lower()
    return next((name.removesuffix(ending) for ending in _COMPRESSED if name.endswith(ending)), name)
