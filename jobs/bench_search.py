"""Measure how well search finds what was judged relevant, and items by their titles.

semrec bench search scifact
semrec bench search scifact --encoder static --model models/static
semrec bench titles --workspace W
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from jobs.cli_common import ConsoleProgress, Json, exit_on_error
from jobs.printing import show_rows
from semrec.encoders.settings import embed_settings
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
    encoder: Annotated[str, typer.Option(help="Kind of encoder: text, static.")] = "text",
    model: Annotated[str, typer.Option(help="Its model.")] = DEFAULT_MODEL,
    json: Json = None,
) -> None:
    """nDCG@10 and queries per second of CPU time: by words, by meaning, by both, and bm25s beside them."""
    from cluster.bench.search import bench_retrieval_set

    settings = embed_settings({"kind": encoder, "model": model})
    rows = bench_retrieval_set(folder, split=split, settings=settings, progress=ConsoleProgress())
    show_rows("search", [asdict(row) for row in rows], json)


@app.command("titles")
@exit_on_error
def titles(
    workspace: Annotated[str, typer.Option("--workspace", "-w", help="Search its live release.")],
    titles: Annotated[int, typer.Option(min=1, help="Titles of each kind to search for.")] = 400,
    json: Json = None,
) -> None:
    """MRR@10 of items searched by their titles, and by titles without one of their words: by words, meaning and both."""
    from semrec.bench.titles import bench_titles
    from semrec.online.release import OnlineRelease
    from semrec.runs.live import require_live
    from semrec.workspace.folder import Workspace

    storage = Workspace.open(workspace).storage
    served = OnlineRelease(storage, require_live(storage).release)
    show_rows("titles", [asdict(row) for row in bench_titles(served, titles)], json)


if __name__ == "__main__":
    app()
