"""Measure what embeds texts, images and documents.

semrec bench embedding --texts items.parquet --column text
semrec bench static models/static --texts items.parquet
semrec bench static models/static --generated 1000000
semrec bench content --documents 50 --images 50
semrec bench configurations --texts 500 --files 50
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from jobs.cli_common import Json, OpenCompute, Rounds, Threads, exit_on_error, with_compute
from jobs.printing import say, show_rows, write_rows

__all__ = ["app"]

app = typer.Typer()

Texts = Annotated[str | None, typer.Option(help="Parquet file of texts (default: the demo's films).")]
Column = Annotated[str, typer.Option(help="Column of the texts.")]
Count = Annotated[int, typer.Option(min=1, help="Texts taken, evenly spread over the file.")]


@app.command("embedding")
@exit_on_error
def embedding(
    texts: Texts = None,
    column: Column = "text",
    count: Count = 1_500,
    threads: Threads = 2,
    rounds: Rounds = 3,
    json: Json = None,
) -> None:
    """Texts per second against plain sentence-transformers on the same texts."""
    from semrec.bench.embedding import bench_embedding

    chosen = _texts(texts, column, count)
    say(_described(chosen))
    rows = [asdict(row) for row in bench_embedding(chosen, num_threads=threads, rounds=rounds)]
    show_rows("embedding", rows, json)


@app.command("static")
@exit_on_error
@with_compute("in_process", "workers")
def static(
    model: Annotated[str, typer.Argument(help="Folder of a static model, as `semrec distill` makes it.")],
    open_compute: OpenCompute,
    texts: Texts = None,
    column: Column = "text",
    count: Count = 1_000_000,
    rounds: Rounds = 3,
    generated: Annotated[
        int | None, typer.Option(help="Instead import and embed so many generated texts, and show the memory.")
    ] = None,
    json: Json = None,
) -> None:
    """Texts per second of a static model through a whole embedding run, beside a process of model2vec; or its memory."""
    from cluster.bench.static import bench_static, bench_static_memory

    if generated is not None:
        with open_compute() as compute:
            measured = [asdict(row) for row in bench_static_memory(model, generated, compute)]
        show_rows("generated texts", measured, json)
        return
    chosen = _texts(texts, column, count)
    with open_compute() as compute:
        rows = [asdict(row) for row in bench_static(model, chosen, compute, rounds=rounds)]
    show_rows(_described(chosen), rows, json)


@app.command("content")
@exit_on_error
def content(
    documents: Annotated[int, typer.Option(min=1, help="Generated PDFs.")] = 100,
    pages: Annotated[int, typer.Option(min=1, help="Pages of each.")] = 10,
    images: Annotated[int, typer.Option(min=1, help="Generated posters, 600 x 900 JPEGs.")] = 100,
    texts: Annotated[int, typer.Option(min=1, help="Texts, those of the demo's films again and again.")] = 20_000,
    threads: Threads = 2,
    rounds: Rounds = 3,
    json: Json = None,
) -> None:
    """Documents, images, and texts by primitives, per second beside plain loops; and what the lexicon of primitives covers."""
    from itertools import cycle, islice

    from semrec.bench.content import bench_content, bench_primitives, primitive_coverage

    of_films = list(islice(cycle(_texts(None, "text", texts)), texts))
    rows = bench_primitives(of_films, num_threads=threads, rounds=rounds)
    rows += bench_content(documents, images, num_pages=pages, num_threads=threads, rounds=rounds)
    show_rows("primitives", [asdict(row) for row in primitive_coverage(of_films)], None)
    show_rows("content", [asdict(row) for row in rows], json)


@app.command("configurations")
@exit_on_error
def configurations(
    texts: Annotated[int, typer.Option(min=1, help="Generated texts.")] = 2_000,
    files: Annotated[
        int, typer.Option(min=2, help="Generated files: half PDFs of two pages, half JPEG posters.")
    ] = 100,
    threads: Threads = 2,
    json: Json = None,
    plot: Annotated[
        str | None, typer.Option(help="Also draw speed, and memory over time: FILE.svg or FILE.png.")
    ] = None,
) -> None:
    """Texts and files per second of a content service: with and without models and a GPU, and for many callers at once."""
    from semrec.bench.configurations import bench_configurations
    from semrec.bench.plot_configurations import plot_configurations
    from semrec.machine import machine
    from semrec.plotting import check_plot_path

    if plot:
        check_plot_path(plot)
    measured = bench_configurations(texts, files, num_threads=threads)
    if plot:
        plot_configurations(measured, plot, machine())
    rows = [asdict(row) | {"peak_mb": max((size >> 20 for _, size in row.memory), default=None)} for row in measured]
    write_rows(json, rows)
    for row in rows:
        del row["memory"]
    show_rows("configurations", rows, None)


def _described(texts: list[str]) -> str:
    return f"{len(texts):,} texts of {sum(map(len, texts)) / len(texts):.0f} characters on average"


def _texts(path: str | None, column: str, count: int) -> list[str]:
    """`count` texts of a column, less its nulls, or of the demo's films."""
    if path is None:
        from semrec.demo import film_items

        return [item.text for item in film_items()][:count]
    import pyarrow.parquet as pq

    texts = pq.read_table(path, columns=[column]).column(column).drop_null()
    return texts.take(list(range(0, len(texts), max(1, len(texts) // count)))).to_pylist()[:count]


if __name__ == "__main__":
    app()
