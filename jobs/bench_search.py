"""Measure how well search finds what was judged relevant.

semrec bench search scifact
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from jobs.cli_common import ConsoleProgress, Json, exit_on_error
from jobs.printing import show_rows
from semrec.settings import DEFAULT_MODEL

__all__ = ["app"]

app = typer.Typer()


@app.command("search")
@exit_on_error
def search(
    folder: Annotated[
        str, typer.Argument(help="Folder with corpus.jsonl, queries.jsonl and qrels/, as BEIR has them.")
    ],
    split: Annotated[str, typer.Option(help="File of qrels/: test, dev or train.")] = "test",
    model: Annotated[str, typer.Option(help="Encoder of the texts.")] = DEFAULT_MODEL,
    json: Json = None,
) -> None:
    """nDCG@10 and queries per second of CPU time: by words, by meaning, by both, and bm25s beside them."""
    from cluster.bench.search import bench_retrieval_set

    rows = bench_retrieval_set(folder, split=split, model=model, progress=ConsoleProgress())
    show_rows("search", [asdict(row) for row in rows], json)


if __name__ == "__main__":
    app()
