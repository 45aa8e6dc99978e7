"""Import a catalogue, users, interactions, relations and an ontology.

semrec import movielens ml-latest-small --workspace W
semrec import csv items.csv --kind items --item-id sku --title name --text name,blurb --attribute genre=genres -w W
semrec import csv edges.csv --kind relations --subject from --predicate how --object to -w W
semrec import turtle genres.ttl --kind ontology -w W
semrec import parquet s3://lake/events/ --by-file --kind interactions --timestamp ts -w s3://lake/W
semrec import documents reports/ -w W
semrec import --list
semrec import preset goodbooks-10k goodbooks-10k-master -w W
semrec import parquet events/ --kind interactions --timestamp ts --value plays -w W
python -m jobs.import_data jsonl users.jsonl --kind users --attribute platform=services -w W
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

import typer

from jobs.cli_common import (
    ON_CPUS,
    AllowEmpty,
    ConsoleProgress,
    MaxRejected,
    OpenCompute,
    WorkspaceOption,
    exit_on_error,
    settings_for_call,
    with_compute,
)
from jobs.printing import say
from semrec.errors import InputError

if TYPE_CHECKING:
    from semrec.data import ImportReport

__all__ = ["app"]

app = typer.Typer(no_args_is_help=True, help="Import a catalogue, users, interactions, relations and an ontology.")

Source = Annotated[str, typer.Argument(help="Folder; any fsspec URL.")]
Sources = Annotated[
    list[str],
    typer.Argument(
        metavar="SOURCE...",
        help="Files, folders, globs, archives, or - for standard input; any fsspec URL, compressed or not.",
    ),
]
Buckets = Annotated[
    int | None, typer.Option(min=1, help="User buckets of a new workspace, fixed at creation (default 64).")
]
Append = Annotated[bool, typer.Option("--append", help="Add to what is there instead of replacing it.")]
Kind = Annotated[str, typer.Option(help="items, users, interactions, relations or ontology.")]
ItemId = Annotated[str, typer.Option(help="Column of the item's id.")]
UserId = Annotated[str, typer.Option(help="Column of the user's id.")]
Title = Annotated[str | None, typer.Option(help="Column of the title (items).")]
Unescape = Annotated[
    bool, typer.Option("--unescape-html", help="Texts hold HTML entities such as &amp; (items, users).")
]
Text = Annotated[str | None, typer.Option(help="Columns that make the text, comma-separated (items).")]
Attributes = Annotated[
    list[str] | None,
    typer.Option(
        "--attribute",
        help="NAME=COLUMN, repeatable; a repeated NAME adds a column (items, users). COLUMN[].KEY: of a list of objects.",
    ),
]
Content = Annotated[
    list[str] | None,
    typer.Option(
        "--content", help="MODALITY=COLUMN, repeatable: a text or URI beside the text, as in image=poster (items)."
    ),
]
Value = Annotated[str | None, typer.Option(help="Column of the value (interactions); 1.0 without.")]
Timestamp = Annotated[str | None, typer.Option(help="Column of the time (interactions).")]
EventId = Annotated[
    str | None, typer.Option(help="Column of the event's id: rows with the same one are one event (interactions).")
]
Subject = Annotated[str, typer.Option(help="Column of the subject (relations).")]
Predicate = Annotated[str, typer.Option(help="Column of the predicate (relations).")]
Object = Annotated[str, typer.Option(help="Column of the object (relations).")]
Weight = Annotated[str | None, typer.Option(help="Column of the weight (relations); 1.0 without.")]
TimeFormat = Annotated[
    str,
    typer.Option(
        help="What times are: auto (ISO 8601; digits by their size), s, ms, us, ns since 1970, day (20190131), year, "
        "or a pattern such as %d/%m/%Y."
    ),
]
Separator = Annotated[str | None, typer.Option(help="Separates several values in one field (csv; default |).")]
Delimiter = Annotated[
    str | None, typer.Option(help="Field delimiter (csv); tab or \\t is a tab. Default: by the header.")
]
Quotes = Annotated[bool | None, typer.Option("--quotes/--no-quotes", help="Whether quotes may wrap a field (csv).")]
Escape = Annotated[str | None, typer.Option(help="A backslash where it escapes quotes (csv), '' where it does not.")]
SkipBlanks = Annotated[bool | None, typer.Option("--skip-blanks/--keep-blanks", help="Blanks around fields (csv).")]
Encoding = Annotated[str | None, typer.Option(help="utf-8, utf-16, latin-1, cp1252, ... (csv).")]
Header = Annotated[
    bool | None, typer.Option("--header/--no-header", help="Without a header columns are named 1, 2, 3 ... (csv).")
]
Repeats = Annotated[
    str,
    typer.Option(
        help="Several events of one user and item: sum them up, where a value below 0 is a return and takes away, "
        "or the latest counts."
    ),
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Check all rows, show the first bad ones, and write nothing.")]
ByFile = Annotated[
    bool,
    typer.Option(
        "--by-file",
        help="Have the workers of a Ray cluster, which must reach them, read the files, each once: after a kill the same "
        "command goes on with those that are missing.",
    ),
]
AllowRepeated = Annotated[
    bool, typer.Option("--allow-repeated", help="Take a file again that was imported before (interactions).")
]
Neutral = Annotated[float, typer.Option(help="Weight of an event is max(value - this, 0).")]


@app.command("movielens")
@exit_on_error
def movielens(
    source: Source,
    workspace: WorkspaceOption,
    append: Append = False,
    buckets: Buckets = None,
    max_rejected: MaxRejected = None,
    allow_empty: AllowEmpty = False,
) -> None:
    """Import a MovieLens folder: .csv with header, or .dat with `::`."""
    from semrec.data import import_movielens

    opened = _workspace(workspace, buckets)
    max_share = _max_share(opened, max_rejected)
    mode: Any = "append" if append else "replace"
    work = partial(import_movielens, opened, source, mode=mode, max_rejected=max_share, allow_empty=allow_empty)
    _told(lambda tell: work(progress=tell))


@app.command("documents")
@exit_on_error
def documents(
    source: Source,
    workspace: WorkspaceOption,
    append: Append = False,
    processes: Annotated[int | None, typer.Option(min=1, help="Processes that read (default: one a CPU).")] = None,
    buckets: Buckets = None,
    max_rejected: MaxRejected = None,
    allow_empty: AllowEmpty = False,
) -> None:
    """Import a folder of documents, an item for each file: PDF, DOCX, HTML, Markdown, text."""
    from semrec.data.documents import import_documents

    opened = _workspace(workspace, buckets)
    max_share = _max_share(opened, max_rejected)
    mode: Any = "append" if append else "replace"
    work = partial(import_documents, opened, source, mode=mode, max_rejected=max_share, allow_empty=allow_empty)
    _told(lambda tell: work(num_processes=processes, progress=tell))


@app.command("preset")
@exit_on_error
def preset(
    name: Annotated[str, typer.Argument(help="A data set of `semrec import --list`.")],
    source: Source,
    workspace: WorkspaceOption,
    buckets: Buckets = None,
    max_rejected: MaxRejected = None,
    allow_empty: AllowEmpty = False,
) -> None:
    """Import a well-known data set: items, then users and interactions, each live at once."""
    from semrec.data import PRESETS, import_preset

    if name not in PRESETS:
        raise InputError(
            f"preset {name!r}", expected=f"one of {', '.join(PRESETS)}", remedy="See semrec import --list."
        )
    opened = _workspace(workspace, buckets)
    max_share = _max_share(opened, max_rejected)
    for report in import_preset(opened, name, source, max_rejected=max_share, allow_empty=allow_empty):
        say(str(report))


@app.callback(invoke_without_command=True)
def _list(
    context: typer.Context, presets: Annotated[bool, typer.Option("--list", help="List the presets.")] = False
) -> None:
    if presets:
        from semrec.data import PRESETS

        for data_set in PRESETS.values():
            say((f"{data_set.name:<16}", "bold"), data_set.about)
        raise typer.Exit
    if context.invoked_subcommand is None:
        say(context.get_help())


def _table_command(fmt: str, what: str, default_kind: Any = ...) -> None:
    """Adds the command that imports tables of one format."""

    @app.command(fmt, help=f"Import {what}.")
    @exit_on_error
    @with_compute(*ON_CPUS)
    def command(
        source: Sources,
        workspace: WorkspaceOption,
        kind: Kind = default_kind,
        item_id: ItemId = "item_id",
        user_id: UserId = "user_id",
        title: Title = None,
        text: Text = None,
        attribute: Attributes = None,
        content: Content = None,
        value: Value = None,
        timestamp: Timestamp = None,
        time_format: TimeFormat = "auto",
        event_id: EventId = None,
        subject: Subject = "subject",
        predicate: Predicate = "predicate",
        object: Object = "object",
        weight: Weight = None,
        list_separator: Separator = None,
        delimiter: Delimiter = None,
        quotes: Quotes = None,
        escape: Escape = None,
        skip_blanks: SkipBlanks = None,
        encoding: Encoding = None,
        header: Header = None,
        repeats: Repeats = "sum",
        neutral_value: Neutral = 0.0,
        append: Append = False,
        buckets: Buckets = None,
        max_rejected: MaxRejected = None,
        allow_empty: AllowEmpty = False,
        allow_repeated: AllowRepeated = False,
        unescape_html: Unescape = False,
        dry_run: DryRun = False,
        by_file: ByFile = False,
        *,
        open_compute: OpenCompute,
    ) -> None:
        from semrec.data import ColumnMap, DialectOptions, import_table

        dialect = DialectOptions(_character(delimiter), quotes, escape, skip_blanks, encoding, header)
        if fmt != "csv" and (list_separator or dialect != DialectOptions()):
            raise InputError(
                f"--list-separator or an option of a text file for {fmt}",
                expected="them with csv only",
                remedy="Leave them out.",
            )
        columns = ColumnMap(
            item_id=item_id, user_id=user_id, title=title, text=tuple(text.split(",")) if text else (),
            attributes=_attributes(attribute), value=value, timestamp=timestamp, event_id=event_id, subject=subject,
            predicate=predicate, object=object, weight=weight, list_separator=list_separator or "|", unescape=unescape_html,
            content=dict(_pairs("--content", content)),
        )  # fmt: skip
        opened = _workspace(workspace, buckets)
        arguments: dict[str, Any] = {
            "fmt": fmt, "kind": kind, "columns": columns, "mode": "append" if append else "replace", "repeats": repeats,
            "neutral_value": neutral_value, "dialect": dialect, "time_format": time_format, "allow_empty": allow_empty,
            "allow_repeated": allow_repeated, "max_rejected": _max_share(opened, max_rejected),
        }  # fmt: skip
        if not by_file:
            _told(lambda tell: import_table(opened, source, progress=tell, dry_run=dry_run, **arguments))
            return
        if dry_run:
            raise InputError("--dry-run with --by-file", expected="one of them", remedy="Leave out --by-file.")
        from cluster.stages.import_files import import_files

        with open_compute() as compute:
            say(str(import_files(opened, source, compute=compute, progress=ConsoleProgress(), **arguments)))


_table_command("csv", "text files with a delimiter")
_table_command("parquet", "Parquet files")
_table_command("jsonl", "files of one JSON object a line, or of one array of objects")
_table_command("lists", "files of lines 'user item item ...'", "interactions")
_table_command("ntriples", "relations or an ontology from RDF, one triple a line", "relations")
_table_command("turtle", "relations or an ontology from RDF in Turtle", "relations")


def _character(delimiter: str | None) -> str | None:
    """Returns a delimiter as the character that it names: shells make it hard to type a tab."""
    return "\t" if delimiter in ("tab", "\\t") else delimiter


def _attributes(given: list[str] | None) -> dict[str, list[str]]:
    """Returns the columns of each attribute: a repeated name adds one."""
    attributes: dict[str, list[str]] = {}
    for name, column in _pairs("--attribute", given):
        attributes.setdefault(name, []).append(column)
    return attributes


def _pairs(option: str, given: list[str] | None) -> list[tuple[str, str]]:
    """Returns the names and columns of a repeatable option. Raises InputError for what is not NAME=COLUMN."""
    pairs = []
    for text in given or ():
        name, _, column = text.partition("=")
        if not name or not column:
            raise InputError(f"{option} {text!r}", expected="NAME=COLUMN", remedy="Name both, as in genre=genres.")
        pairs.append((name, column))
    return pairs


def _max_share(workspace: Any, max_rejected: float | None) -> float:
    """Returns the share of rows that may be rejected: the option, or else the workspace's setting."""
    return settings_for_call(workspace, {"quarantine.max_share": max_rejected}).quarantine.max_share


def _workspace(uri: str, buckets: int | None) -> Any:
    from semrec.errors import WorkspaceError
    from semrec.workspace.folder import DEFAULT_NUM_BUCKETS, Workspace

    if buckets is not None:
        return Workspace.create(uri, num_buckets=buckets)
    try:
        return Workspace.open(uri)
    except WorkspaceError:
        return Workspace.create(uri, num_buckets=DEFAULT_NUM_BUCKETS)


def _told(work: Callable[[Callable[[int, str], None]], ImportReport]) -> None:
    """Runs an import with progress, and prints its report."""
    progress = ConsoleProgress()
    progress.start("import", 0, "rows")
    done = 0

    def tell(num_rows: int, doing: str) -> None:
        nonlocal done
        progress.advance(max(num_rows - done, 0))
        done = max(num_rows, done)

    report = work(tell)
    progress.finish("done")
    say(str(report))


if __name__ == "__main__":
    app()
