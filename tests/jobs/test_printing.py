"""What comes from data is printed as it is: no command takes it for markup, and no title steers a terminal."""

from __future__ import annotations

import ast
import io
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from rich.table import Table
from typer.testing import CliRunner, Result

import jobs
from helpers.serving_world import event_table, publish_world
from jobs import printing
from jobs.cli import app
from semrec.bench.generated import write_embedding
from semrec.data import ItemRow, UserRow, import_interactions, import_items, import_users
from semrec.workspace.folder import Workspace

ROOT = Path(__file__).parents[2]
#: Title -> what a terminal is shown.
TITLES = {
    "[/close] tag": "[/close] tag",
    "Fate [red]dish moon[/red]": "Fate [red]dish moon[/red]",
    "Arabian Nights [and Days] (Fables, #7)": "Arabian Nights [and Days] (Fables, #7)",
    "a \\[ and \\": "a \\[ and \\",
    ":smile: [link=http://x]": ":smile: [link=http://x]",
    "\x1b[31mred\x1b[0m\x07": "\\x1b[31mred\\x1b[0m\\x07",
    "two\nlines": "two\\nlines",
    "\u202eev\u2028il": "\\u202eev\\u2028il",
    "\x9b2J": "\\x9b2J",
}
IDS = ["[/x]", "[red]dish", ":smile:", "\\[", "[bold]", "i5", "i6", "i7", "i8"]


def semrec(*arguments: str) -> Result:
    return CliRunner().invoke(app, list(arguments))


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A published workspace whose folder, ids and titles all look like markup."""
    workspace = Workspace.create(
        str(
            tmp_path_factory.mktemp("p") / "[red]w[",
        ),
        num_buckets=2,
    )
    import_items(workspace, [ItemRow(i, title, "text") for i, title in zip(IDS, TITLES, strict=True)])
    write_embedding(workspace, dict(zip(IDS, np.eye(len(IDS), dtype=np.float32) + 1, strict=True)))
    import_users(workspace, [UserRow(name) for name in IDS[:4]])
    import_interactions(workspace, [event_table([("[/x]", "i8", 1.0, 5)])])
    publish_world(workspace, len(IDS))
    return workspace.uri


@pytest.mark.parametrize("asked", [("--item", "i8"), ("--user", ":smile:"), ("--search", "text")], ids=lambda a: a[0])
def test_every_title_and_id_is_shown_as_it_is(hostile: str, asked: tuple[str, str], wide: None) -> None:
    found = semrec("query", "-w", hostile, *asked)
    assert found.exit_code == 0, found.output
    expected = dict(zip(IDS, TITLES.values(), strict=True))
    if asked[0] == "--item":
        del expected[asked[1]]
    for item_id, title in expected.items():
        assert re.search(rf"│ {re.escape(item_id)} +│ {re.escape(title)} +│", found.output), found.output
    why_few = asked[0] == "--search"  # fewer than K items have the word
    assert found.output.count("\n") == len(expected) + 5 + why_few  # title, head and frame
    assert "\x1b" not in found.output


def test_users_errors_and_folders_are_shown_as_they_are(hostile: str, wide: None, tmp_path: Path) -> None:
    assert "[/x] (personal" in semrec("query", "-w", hostile, "--user", "[/x]").output
    unknown = semrec("query", "-w", hostile, "--user", "[/y]\x1b[2J:smile:")
    assert (unknown.exit_code, unknown.exception.__class__) == (1, SystemExit)
    assert "no user '[/y]\\x1b[2J:smile:' in run" in unknown.output
    assert "[red]w[, 2 user buckets" in semrec("status", "-w", hostile).output
    source = tmp_path / "[bold]:smile:.csv"
    source.write_text("id,name\n,[/x]\n1,[/y]\n")
    fresh = ("-w", str(tmp_path / "[/w]"), "--max-rejected", "1")
    done = semrec("import", "csv", str(source), "--kind", "items", "--item-id", "id", "--title", "name", *fresh)
    assert (done.exit_code, "1 items" in done.output) == (0, True), done.output
    missing = semrec("import", "csv", str(source), "--kind", "items", "--item-id", "[/z]", "--title", "name", *fresh)
    assert (missing.exit_code, "no column '[/z]' in [bold]:smile:.csv" in missing.output) == (2, True), missing.output


def test_parity_names_users_as_they_are(hostile: str, wide: None) -> None:
    found = semrec("parity", "-w", hostile, "--url", "http://127.0.0.1:9", "--sample", "4")
    assert found.exit_code == 1
    assert all(f"differs {name}: no answer" in found.output for name in IDS[:4]), found.output


def test_status_as_json_is_json_that_a_terminal_can_be_sent(hostile: str) -> None:
    printed = semrec("status", "-w", hostile, "--json").output
    assert printed.isascii() and '"num_buckets": 2' in printed


@pytest.mark.parametrize("width", [None, 300])
def test_texts_stay_texts_on_a_terminal(monkeypatch: pytest.MonkeyPatch, width: int | None) -> None:
    written = io.StringIO()
    terminal = printing._LiteralConsole(file=written, force_terminal=True, highlight=False, width=width or 200)
    monkeypatch.setattr(printing, "console", terminal)
    table = Table("[dim]", title="[/title]")
    for title in TITLES:
        printing.say((title, "red"), title)
        table.add_row(title)
    printing.show_table(table)
    plain = re.sub(r"\x1b\[[0-9;]*m", "", written.getvalue())  # our own styles
    assert "\x1b[31m" in written.getvalue() and not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e\u2028]", plain)
    for shown in TITLES.values():
        cut = shown.replace("\\n", "\n").split("\n")[-1]  # a text of two lines is printed as two
        assert plain.count(cut) >= 3, cut
    assert "[dim]" in plain and "[/title]" in plain


def test_a_text_that_is_no_unicode_can_be_printed() -> None:
    assert printing.one_line("a\ud800b\tc") == "a\\ud800b\\tc"


MARKUP = re.compile(r"\[/\]|\[/?(bold|dim|italic|underline|red|green|yellow|blue|cyan|magenta|white)( [a-z ]+)?\]")

#: What of rich takes texts literally, or gives them to the console that it is printed on. `Text` is for constants.
LITERAL = {"Table", "Text", "box", "Progress", "BarColumn", "SpinnerColumn", "TaskID", "TextColumn"}
LITERAL |= {"TimeElapsedColumn", "TimeRemainingColumn"}


def faults(path: Path) -> Iterator[str]:
    """Ways round `jobs.printing` in a file."""
    tree, name = ast.parse(path.read_text()), path.relative_to(ROOT)
    for node in ast.walk(tree):
        where = f"{name}:{getattr(node, 'lineno', 0)}"
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "rich":
            names = {one.name for one in node.names}
            if not names <= LITERAL:
                yield f"{where} imports {names - LITERAL}"
        if isinstance(node, ast.Import) and any(one.name.split(".")[0] == "rich" for one in node.names):
            yield f"{where} imports rich"
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and MARKUP.search(node.value):
            yield f"{where} has markup"
        if isinstance(node, ast.keyword) and node.arg == "markup" and getattr(node.value, "value", True) is not False:
            yield f"{where} turns markup on"
        called = getattr(node.func, "id", None) if isinstance(node, ast.Call) else None
        if called == "TextColumn" and "markup" not in [one.arg for one in node.keywords]:  # type: ignore[attr-defined]
            yield f"{where} has a column of markup"
        if called == "print" and name.parts[0] == "jobs":
            yield f"{where} prints by itself"


def test_nothing_prints_but_through_the_literal_console() -> None:
    files = [path for folder in ("jobs", "cluster", "semrec") for path in sorted((ROOT / folder).rglob("*.py"))]
    files.remove(Path(jobs.__path__[0]) / "printing.py")
    assert len(files) > 150
    assert [fault for path in files for fault in faults(path)] == []


@pytest.fixture
def wide(monkeypatch: pytest.MonkeyPatch) -> None:
    """Titles on one line of a table."""
    monkeypatch.setenv("COLUMNS", "250")
