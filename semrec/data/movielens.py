"""Imports a MovieLens folder, in the layout with headers (.csv) or the older one with `::` (.dat)."""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, Literal

from semrec.data.catalogue import NUM_ID_BUCKETS, items_in, stage_items
from semrec.data.columns import ColumnMap
from semrec.data.convert import user_rows
from semrec.data.delimited import CSV, DAT, read_delimited
from semrec.data.encodings import is_utf8
from semrec.data.events import EventRules, events_of
from semrec.data.interactions import WeightRule, stage_interactions
from semrec.data.online import log_ends
from semrec.data.rejects import Progress, ReadStats, RowBlock
from semrec.data.report import ImportReport, report_of
from semrec.data.rows import ItemRow, item_tables, user_tables
from semrec.data.sources import Source, SourceFolder
from semrec.data.staging import Staged, check_not_empty, check_not_lost, is_append, one_import_of, scratch_folder
from semrec.data.tags import TAG_COLUMNS, TagSpill
from semrec.data.users import stage_users
from semrec.errors import InputError
from semrec.workspace.folder import Workspace
from semrec.workspace.log import LogPositions
from semrec.workspace.manifests import UsersManifest
from semrec.workspace.quarantine import DEFAULT_MAX_SHARE

__all__ = ["import_movielens", "is_movielens", "item_of"]

#: Five stars and half stars: what lies at or below 2.5 is no reason to recommend, and a new rating replaces the old.
_RULE: Final = WeightRule(repeats="latest", neutral_value=2.5)
_MOVIES: Final = ("movieId", "title", "genres")
_RATINGS: Final = ("userId", "movieId", "rating", "timestamp")
_EVENTS: Final = ColumnMap("movieId", "userId", value="rating", timestamp="timestamp")
_USERS: Final = ("userId", "gender", "age", "occupation", "zip")
_USER_COLUMNS: Final = ColumnMap(user_id="userId", attributes={name: name for name in _USERS[1:4]})
_YEAR: Final = re.compile(r"\((\d{4})(?:[-–]\d{0,4})?\)$")
_NO_GENRE: Final = "(no genres listed)"


def import_movielens(
    workspace: Workspace,
    source: str | Path,
    *,
    mode: Literal["replace", "append"] = "replace",
    max_rejected: float = DEFAULT_MAX_SHARE,
    allow_empty: bool = False,
    now_s: int | None = None,
    progress: Progress | None = None,
) -> ImportReport:
    """Imports movies, ratings, tags if there are any, and the users of ml-1m, from `source` (a folder, or the one above).

    Movies become items with attributes genre and year and a text like "Toy Story (1995). Genres: Adventure, Animation.
    Tags: pixar, fun.": at most 20 tags, lower-cased, those of the most distinct users first. Ratings become events whose
    value is the rating: each marks its item as seen, the newest of a user and item counts (repeats "latest"), and its
    weight is max(rating - 2.5, 0). Users of users.dat get gender, age and occupation, as coded there.

    mode "replace" makes the folder the whole of the workspace's catalogue, interactions and users (without users.dat
    there is no users table afterwards, which is refused where there is one now); "append" adds to them, as
    `import_table` does. In the .csv layout text is UTF-8; in the .dat layout movies and tags are read as ISO 8859-1 when
    they are not UTF-8 as a whole.

    Bad rows go to quarantine/import/ with file, line and reason. `max_rejected` bounds their share in each file. Raises
    InputError naming a file or column that is missing, TooManyRejectedError, and EmptyResultError for a table that
    would lose all its rows, unless `allow_empty`; nothing of the import is then live.
    """
    append, ends = is_append(mode), log_ends(workspace.storage)
    files = _find(source)
    kinds = ["items", "interactions", *(["tags"] if files.tags else []), *(["users"] if files.users else [])]
    stats_of_kind = {
        kind: ReadStats(workspace.storage, kind, max_rejected=max_rejected, progress=progress) for kind in kinds
    }
    now_s = int(time.time()) if now_s is None else now_s
    with one_import_of(workspace.storage, ("items", "interactions", "users")) as check_alone:
        try:
            staged = _stage(workspace, files, stats_of_kind, append=append, ends=ends, now_s=now_s)
        finally:
            for stats in stats_of_kind.values():
                stats.flush()
        replaces_users = files.users is None and not append
        check_not_empty(workspace.storage, staged, allow_empty=allow_empty)
        if replaces_users and not allow_empty:
            check_not_lost(workspace.storage, UsersManifest)
        check_alone()
        for staged_table in staged:
            staged_table.publish(workspace.storage)
        if replaces_users:
            workspace.storage.delete(UsersManifest.PATH)
    return report_of(staged, list(stats_of_kind.values()))


@dataclass(frozen=True)
class _Files:
    """The files of a MovieLens folder."""

    is_dat: bool
    movies: Source
    ratings: Source
    tags: Source | None
    users: Source | None

    def blocks(
        self, file: Source, wanted: Iterable[str], order: tuple[str, ...], stats: ReadStats, encoded: Sequence[str] = ()
    ) -> Iterator[RowBlock]:
        """Yields the rows of `file`; `order` is that of the columns where there is no header, and text repeats in those
        `encoded`.
        """
        if not self.is_dat:
            return read_delimited(file, list(wanted), stats=stats, dialect=CSV, encoded=encoded)
        dialect = replace(DAT, encoding="latin-1") if file in (self.movies, self.tags) and not is_utf8(file) else DAT
        return read_delimited(file, list(wanted), stats=stats, dialect=dialect, names=order, encoded=encoded)


def _stage(
    workspace: Workspace,
    files: _Files,
    stats_of_kind: dict[str, ReadStats],
    *,
    append: bool,
    ends: LogPositions,
    now_s: int,
) -> list[Staged]:
    """Writes all parts. Nothing is live before every file has passed."""
    with scratch_folder() as scratch:
        tags = None
        if files.tags is not None:
            blocks = files.blocks(files.tags, TAG_COLUMNS, TAG_COLUMNS, stats_of_kind["tags"])
            tags = TagSpill(scratch / "tags", NUM_ID_BUCKETS, blocks, stats_of_kind["tags"])
        blocks = files.blocks(files.movies, _MOVIES, _MOVIES, stats_of_kind["items"])
        tables = item_tables(_items(blocks), stats=stats_of_kind["items"])
        items = stage_items(
            workspace, tables, append=append, until=ends.items, stats=stats_of_kind["items"], scratch=scratch, tags=tags
        )
        if files.tags is not None:
            stats_of_kind["tags"].check()
        staged = [items]
        if files.users is not None:
            blocks = files.blocks(files.users, _USERS[:4], _USERS, stats_of_kind["users"])
            stats = stats_of_kind["users"]
            tables = user_tables(user_rows(blocks, _USER_COLUMNS, stats=stats), stats=stats)
            staged.append(stage_users(workspace, tables, append=append, stats=stats, scratch=scratch))
        rules = EventRules(items_in(workspace.storage, items.manifest.parts), now_s)
        stats = stats_of_kind["interactions"]
        blocks = files.blocks(files.ratings, _RATINGS, _RATINGS, stats, encoded=_RATINGS[:3])
        tables = (events_of(block, _EVENTS, rules, stats=stats) for block in blocks)
        applied = None if append else ends.events
        staged.append(
            stage_interactions(workspace, tables, _RULE, append=append, stats=stats, scratch=scratch, applied=applied)
        )
        return staged


def item_of(movie_id: str, title: str, genres: str, *, file: str = "", line: int | None = None) -> ItemRow:
    """Returns a movie as an item; its text is still without tags. The title keeps its year, which tells remakes apart."""
    title = " ".join(title.split())
    names = [] if genres.strip() == _NO_GENRE else [name.strip() for name in genres.split("|") if name.strip()]
    year = _YEAR.search(title)
    attributes = {"genre": names, "year": [year[1]] if year else []}
    text = f"{title}. Genres: {', '.join(names)}." if names else f"{title}."
    return ItemRow(movie_id, title, text if title else "", attributes, file, line)


def _items(blocks: Iterable[RowBlock]) -> Iterator[ItemRow]:
    for block in blocks:
        for row, fields in enumerate(zip(*(block.columns[name].to_pylist() for name in _MOVIES), strict=True)):
            yield item_of(*fields, file=block.file, line=block.line(row))


def is_movielens(source: str | Path) -> bool:
    """Returns whether a folder, or one in it, has the movies and ratings of MovieLens."""
    try:
        return bool(_find(source))
    except InputError:
        return False


def _find(source: str | Path) -> _Files:
    folder = SourceFolder(source)
    inner = [name for name in folder.folders if name.startswith("ml-")]
    if not _has_layout(folder, "csv") and not _has_layout(folder, "dat") and len(inner) == 1:
        folder = SourceFolder(f"{folder.uri}/{inner[0]}")
    suffix = "dat" if _has_layout(folder, "dat") and not _has_layout(folder, "csv") else "csv"
    movies, ratings = (_mandatory(folder, f"{name}.{suffix}") for name in ("movies", "ratings"))
    users = folder.source("users.dat") if suffix == "dat" else None
    return _Files(suffix == "dat", movies, ratings, folder.source(f"tags.{suffix}"), users)


def _has_layout(folder: SourceFolder, suffix: str) -> bool:
    return any(folder.source(f"{name}.{suffix}") for name in ("movies", "ratings"))


def _mandatory(folder: SourceFolder, name: str) -> Source:
    file = folder.source(name)
    if file is None:
        raise InputError(
            f"no {name} in {folder.uri}",
            expected="a MovieLens folder: movies.csv and ratings.csv, or movies.dat and ratings.dat",
            remedy="Unpack the archive, and name the folder that holds these files.",
        )
    return file
