"""Look at files before an import: format, dialect, columns, and the command to use.

semrec inspect items.csv events/ users.jsonl.gz
python -m jobs.inspect_files items.csv
"""

from __future__ import annotations

from typing import Annotated

import typer
from rich.table import Table

from jobs.cli_common import exit_on_error, run_as_program
from jobs.printing import one_line, say, show_table

__all__ = ["main"]


@exit_on_error
def main(
    files: Annotated[
        list[str], typer.Argument(help="Files, folders, globs or archives; any fsspec URL, compressed or not.")
    ],
) -> None:
    """Look at files before an import: format, dialect, columns, and the command to use."""
    from semrec.data.inspection import inspect

    for path in files:
        seen = inspect(path)
        say((one_line(seen.file), "bold"), f": {seen.fmt}", f", {seen.dialect}" if seen.dialect else "")
        table = Table("column", "looks like", "examples", box=None)
        for column in seen.columns:
            table.add_row(one_line(column.name), column.type, one_line(", ".join(column.examples)))
        show_table(table)
        if not seen.kind:
            say("no column is known to be a user's or an item's id: name them, as in semrec import csv --help")
            continue
        num_rejected = sum(seen.rejected.values())
        counts = ", ".join(f"{count:,} {reason}" for reason, count in seen.rejected.items())
        reasons = f" ({counts})" if counts else ""
        say(f"{seen.num_rows:,} first rows as {seen.kind}: {num_rejected:,} would be rejected{reasons}")
        for example in seen.examples:
            say(f"  {one_line(example)}")
        say((seen.command, "green"))


if __name__ == "__main__":
    run_as_program(main)
