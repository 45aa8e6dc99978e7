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
    from semrec.data.presets import preset_commands
    from semrec.data.sources import is_folder

    for path in files:
        if is_folder(path) and (commands := preset_commands(path)):
            say((one_line(path), "bold"), " has the files of a data set that is known:")
            for command in commands:
                say((command, "green"))
            continue
        seen = inspect(path)
        say((one_line(seen.file), "bold"), f": {seen.fmt}", f", {seen.dialect}" if seen.dialect else "")
        table = Table("column", "looks like", "examples", box=None)
        for column in seen.columns:
            table.add_row(one_line(column.name), column.type, one_line(", ".join(column.examples)))
        show_table(table)
        if not seen.kind:
            say(
                "no table is proposed: columns are known for neither items (id and title or text), users (id), interactions "
                "(ids of both) nor relations. Name them, as in semrec import csv --help"
            )
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
