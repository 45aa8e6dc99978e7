"""Measure: each figure of the README comes from one of these commands.

semrec bench embedding --texts texts.parquet
semrec bench scoring
"""

from __future__ import annotations

import typer

__all__ = ["app"]

app = typer.Typer(no_args_is_help=True, help="Measure, side by side with a peer in the same run.")


@app.command("embedding")
def embedding() -> None:
    """Texts per second against plain sentence-transformers."""
    raise typer.Exit(2)


@app.command("scoring")
def scoring() -> None:
    """Users per second."""
    raise typer.Exit(2)
