"""What a person types around an import: look, import what was proposed, and see what was rejected."""

from __future__ import annotations

import shlex
from pathlib import Path

from typer.testing import CliRunner, Result

from jobs.cli import app


def semrec(*arguments: str) -> Result:
    return CliRunner().invoke(app, list(arguments))


def test_the_proposed_command_imports_the_file(tmp_path: Path) -> None:
    source, workspace = tmp_path / "items.csv", str(tmp_path / "w")
    source.write_bytes(b'id;name;genres\n1;"The \\"Big\\" Caf\xe9";[red]|Home\n2;Pan;\n;Pot;\n')
    shown = semrec("inspect", str(source))
    assert shown.exit_code == 0, shown.output
    assert "3 first rows as items: 1 would be rejected (1 missing id)" in shown.output
    command = next(line for line in shown.output.splitlines() if line.startswith("semrec import"))
    words = [workspace if word == "W" else word for word in shlex.split(command)[1:]]
    dry = semrec(*words, "--dry-run")
    assert "dry run: 2 rows would be imported" in dry.output
    failed = semrec(*words)
    assert failed.exit_code == 1
    assert "items.csv, line 4: missing id" in failed.output
    imported = semrec(*words, "--max-rejected", "1")
    assert imported.exit_code == 0, imported.output
    assert "2 items" in imported.output
    listed = semrec("quarantine", "-w", workspace)
    assert "items: items.csv, line 4: missing id" in listed.output
    assert "1 rows in quarantine/import" in listed.output


def test_presets_are_listed_and_imported(tmp_path: Path) -> None:
    assert "goodbooks-10k" in semrec("import", "--list").output
    (tmp_path / "netflix_titles.csv").write_text(
        "show_id,title,description,listed_in,country,release_year,rating\ns1,Ganglands,War.,Dramas,France,2021,TV-MA\n"
    )
    result = semrec("import", "preset", "netflix-titles", str(tmp_path), "-w", str(tmp_path / "w"))
    assert result.exit_code == 0, result.output
    assert "1 items" in result.output
    wrong = semrec("import", "preset", "netflix", str(tmp_path), "-w", str(tmp_path / "w"))
    assert wrong.exit_code == 2
    assert "netflix-titles" in wrong.output
