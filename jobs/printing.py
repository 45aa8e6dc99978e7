"""Prints for people. What comes from data stands there as it is: never as markup, and unable to steer the terminal.

Titles, ids, paths and error texts may hold `[red]`, `:smile:` or an escape sequence. So no command prints by itself: it calls
`say`, or `show_table`, whose cells may be any text. Style is given beside a text, not within it.
"""

from __future__ import annotations

import re
from typing import Any, Final

from rich.console import Console
from rich.table import Table
from rich.text import Text

from semrec.limits import CONTROL_CHARACTERS

__all__ = ["Piece", "complain", "console", "one_line", "say", "show_rows", "show_table", "styled", "write_rows"]

#: A text, or a text and its style ("red", "bold", "dim").
Piece = str | tuple[str, str]

_UNSAFE: Final = re.compile(f"{CONTROL_CHARACTERS}|[\ud800-\udfff]")


class _LiteralConsole(Console):
    """A console that takes texts literally. Every text that is not styled yet passes `render_str`, cells of tables, too."""

    def render_str(self, text: str, **options: Any) -> Text:
        options |= {"markup": False, "emoji": False, "highlight": False}
        return super().render_str(_harmless(text), **options)


console: Final = _LiteralConsole(highlight=False, soft_wrap=True)
_errors: Final = _LiteralConsole(stderr=True, highlight=False, soft_wrap=True)


def one_line(text: str) -> str:
    """Returns a text from data on one line: line breaks and tabs stand escaped, as `\\n` and `\\t`, like other control
    characters and marks that change the direction of writing.
    """
    return _UNSAFE.sub(lambda found: found[0].encode("unicode_escape", "surrogatepass").decode(), text)


def styled(*pieces: Piece) -> Text:
    """Joins pieces into one text, for a cell or to be printed. Line breaks are kept, other control characters escaped."""
    pairs = [(piece, "") if isinstance(piece, str) else piece for piece in pieces]
    return Text.assemble(*((_harmless(text), style) for text, style in pairs))


def say(*pieces: Piece) -> None:
    """Prints the pieces one after the other on standard output, and ends the line."""
    console.print(styled(*pieces))


def complain(*pieces: Piece) -> None:
    """Prints as `say` does, on standard error."""
    _errors.print(styled(*pieces))


def show_table(table: Table, *, width: int | None = None) -> None:
    """Prints a table, `width` columns wide if that is given: a file or job log claims to have 80."""
    shown_on = console if width is None else _LiteralConsole(width=width, highlight=False)
    shown_on.print(table)


def _harmless(text: str) -> str:
    """Returns a text without control characters but for line breaks."""
    return "\n".join(map(one_line, text.split("\n")))


def show_rows(title: str, rows: list[dict[str, Any]], path: str | None) -> None:
    """Prints the rows of a bench as a table under the machine's name, one row as a list; writes them as `write_rows` does."""
    from semrec.machine import machine

    title = f"{title}, on {machine()}"
    if len(rows) == 1:
        table = Table("", "value", title=title, title_justify="left", show_header=False)
        for name, value in rows[0].items():
            table.add_row(name, _cell(value))
    else:
        table = Table(*rows[0], title=title, title_justify="left")
        for row in rows:
            table.add_row(*map(_cell, row.values()))
    show_table(table)
    write_rows(path, rows)


def write_rows(path: str | None, rows: list[dict[str, Any]]) -> None:
    """Writes {"machine": ..., "rows": [...]} to a JSON file, where one is asked for."""
    if path is None:
        return
    import json
    from pathlib import Path

    from semrec.machine import machine

    Path(path).write_text(json.dumps({"machine": machine(), "rows": rows}, indent=2) + "\n")


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:,.4f}" if abs(value) < 10 else f"{value:,.0f}"
    return str(value) if isinstance(value, bool | str) else f"{value:,}"
