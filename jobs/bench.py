"""Measure: each figure of the README comes from one of these commands.

semrec bench embedding --texts items.parquet --column text
semrec bench scoring
semrec bench run --workspace W --users 50000 --k 100
semrec bench resume --workspace W --users 400000 --k 100
semrec bench demo
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Any

import typer
from rich.table import Table

from jobs.shell import ConsoleProgress, InProcessOption, Workers, WorkspaceOption, compute_options, console, reported

__all__ = ["app"]

app = typer.Typer(no_args_is_help=True, help="Measure, side by side with a peer in the same run.")

Threads = Annotated[int, typer.Option(min=1, help="CPU threads.")]
Rounds = Annotated[int, typer.Option(min=1, help="Rounds; the median counts.")]
Json = Annotated[str | None, typer.Option("--json", help="Also write the rows to this file.")]
Users = Annotated[int, typer.Option(min=1, help="Generated users, 10 events each.")]
K = Annotated[int, typer.Option(min=1, help="Recommendations per user.")]


@app.command("embedding")
@reported
def embedding(
    texts: Annotated[str | None, typer.Option(help="Parquet file of texts (default: the demo's films).")] = None,
    column: Annotated[str, typer.Option(help="Column of the texts.")] = "text",
    count: Annotated[int, typer.Option(min=1, help="Texts taken, evenly spread over the file.")] = 1_500,
    threads: Threads = 2,
    rounds: Rounds = 3,
    json: Json = None,
) -> None:
    """Texts per second against plain sentence-transformers on the same texts."""
    from semrec.bench.embedding import bench_embedding

    chosen = _texts(texts, column, count)
    console.print(f"{len(chosen):,} texts of {sum(map(len, chosen)) / len(chosen):.0f} characters on average")
    rows = [asdict(row) for row in bench_embedding(chosen, num_threads=threads, rounds=rounds)]
    _show("embedding", rows, json)


@app.command("scoring")
@reported
def scoring(
    workspace: Annotated[
        str | None, typer.Option("--workspace", "-w", help="Score its newest release's items.")
    ] = None,
    items: Annotated[int, typer.Option(min=1, help="Generated items, without a workspace.")] = 86_537,
    users: Annotated[int, typer.Option(min=1, help="Users scored per round.")] = 2_048,
    k: Annotated[list[int] | None, typer.Option(min=1, help="Results per user; repeat for several.")] = None,
    threads: Threads = 2,
    rounds: Rounds = 3,
    json: Json = None,
) -> None:
    """Users per second of the engines, faiss-cpu and torch over the same items."""
    from semrec.bench.scoring import bench_scoring, generated_vectors
    from semrec.release import Release, newest_release
    from semrec.workspace import Workspace

    if workspace:
        storage = Workspace.open(workspace).storage
        vectors = Release(storage, newest_release(storage)).shard().vectors_ID
    else:
        vectors = generated_vectors(items, 384, seed=1)
    queries = generated_vectors(users, vectors.shape[1], seed=2)
    console.print(f"{len(vectors):,} items x {vectors.shape[1]}, {users:,} users")
    found = bench_scoring(vectors, queries, ks=tuple(k or (10, 100)), num_threads=threads, rounds=rounds)
    _show("scoring", [asdict(row) for row in found], json)


@app.command("run")
@reported
def run(
    workspace: WorkspaceOption,
    users: Users = 50_000,
    k: K = 100,
    in_process: InProcessOption = False,
    workers: Workers = None,
    json: Json = None,
) -> None:
    """Users per second and memory of a whole run; replaces the interactions of the workspace by generated ones."""
    from cluster.compute import open_compute
    from cluster.stages.bench import bench_run, release_of_generated_users
    from semrec.workspace import Workspace

    opened = Workspace.open(workspace)
    with open_compute(compute_options(in_process, None, workers, None)) as compute:
        where: dict[str, Any] = {"compute": compute, "progress": ConsoleProgress()}
        release = release_of_generated_users(opened, users, **where)
        found = bench_run(opened, release, k, **where)
    _show("run", [asdict(found)], json)


@app.command("resume")
@reported
def resume(
    workspace: WorkspaceOption,
    users: Users = 400_000,
    k: K = 100,
    kill_at: Annotated[
        float, typer.Option(min=0.0, max=1.0, help="Share of parts after which the driver is killed.")
    ] = 0.9,
    json: Json = None,
) -> None:
    """What submitting again costs after the driver was killed (-9) late in a run; replaces the interactions, too."""
    from cluster.compute import open_compute
    from cluster.stages.bench import bench_resume, release_of_generated_users
    from semrec.workspace import Workspace

    opened = Workspace.open(workspace)
    options = compute_options(False, None, None, None)
    with open_compute(options) as compute:
        where: dict[str, Any] = {"compute": compute, "progress": ConsoleProgress()}
        release = release_of_generated_users(opened, users, **where)
        found = bench_resume(opened, release, k, kill_at=kill_at, **where)
    row = asdict(found)
    full = {f"full_{name}": value for name, value in row.pop("full").items()}
    _show("resume", [full | row], json)


@app.command("demo")
@reported
def demo(json: Json = None) -> None:
    """Seconds of `semrec demo` in a process of its own, from start to printed result."""
    import subprocess
    import sys
    import time

    rows = []
    for options in (["--in-process"], []):
        started_s = time.perf_counter()
        subprocess.run([sys.executable, "-m", "jobs.run_demo", *options], check=True, stdout=subprocess.DEVNULL)
        where = "in process" if options else "on a local Ray"
        rows.append({"demo": where, "seconds": time.perf_counter() - started_s})
    _show("demo", rows, json)


def _texts(path: str | None, column: str, count: int) -> list[str]:
    if path is None:
        from semrec.demo import film_items

        return [item.text for item in film_items()][:count]
    import pyarrow.parquet as pq

    texts = pq.read_table(path, columns=[column]).column(column)
    return texts.take(list(range(0, len(texts), max(1, len(texts) // count)))).to_pylist()[:count]


def _show(title: str, rows: list[dict[str, Any]], path: str | None) -> None:
    from semrec.bench.machine import machine

    title = f"{title}, on {machine()}"
    if len(rows) == 1:
        table = Table("", "value", title=title, title_justify="left", show_header=False)
        for name, value in rows[0].items():
            table.add_row(name, _cell(value))
    else:
        table = Table(*rows[0], title=title, title_justify="left")
        for row in rows:
            table.add_row(*map(_cell, row.values()))
    console.print(table)
    if path:
        import json
        from pathlib import Path

        Path(path).write_text(json.dumps({"machine": machine(), "rows": rows}, indent=2) + "\n")


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:,.4f}" if abs(value) < 10 else f"{value:,.0f}"
    return str(value) if isinstance(value, bool | str) else f"{value:,}"


if __name__ == "__main__":
    app()
