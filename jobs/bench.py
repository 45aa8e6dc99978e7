"""Measure: each figure of the README comes from one of these commands.

semrec bench import --ratings 25000000
semrec bench models ratings.csv --json models.json
semrec bench ratings ratings.csv --json ratings.json
semrec bench release --items 1000000
semrec bench run --workspace W --users 50000 --k 100
semrec bench plan --items 20000 --users 300000
semrec bench resume --workspace W --users 400000 --k 100
semrec bench demo
semrec bench compare before.json after.json
"""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import asdict
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

import typer

from jobs.cli_common import (
    ConsoleProgress,
    Json,
    OpenCompute,
    Rounds,
    exit_on_error,
    with_compute,
    with_workspace,
)
from jobs.printing import say, show_rows, write_rows
from semrec.workspace.scratch import ScratchFolder

if TYPE_CHECKING:
    from semrec.workspace.folder import Workspace

__all__ = ["app"]

app = typer.Typer(no_args_is_help=True, help="Measure, side by side with a peer in the same run.")

Users = Annotated[int, typer.Option(min=1, help="Generated users, 10 events each.")]
K = Annotated[int, typer.Option(min=1, help="Recommendations per user.")]


@app.command("graph")
@exit_on_error
def graph(
    relations: Annotated[int, typer.Option(min=100, help="Relations of the generated graph.")] = 1_000_000,
    sources: Annotated[int, typer.Option(min=1, help="Nodes from which all others are searched.")] = 128,
    shards: Annotated[int, typer.Option(min=0, help="Actors of a Ray of its own that also search, together.")] = 0,
    json: Json = None,
) -> None:
    """Searches in a graph per second beside scipy, and rustworkx and networkx where they are installed."""
    from semrec.bench.graph import bench_graph

    with ExitStack() as stack:
        searches = {}
        if shards:
            from cluster.graph_shards import costs_by_shards
            from cluster.local_ray import local_ray

            stack.enter_context(local_ray(num_cpus=shards, include_dashboard=False, log_to_driver=False))
            searches["shards"] = partial(costs_by_shards, shards)
        rows = bench_graph(num_relations=relations, num_sources=sources, more_costs=searches)
    show_rows(f"graph of {relations:,} relations", [asdict(row) for row in rows], json)


@app.command("import")
@exit_on_error
def import_(
    ratings: Annotated[int, typer.Option(min=1_000, help="Ratings with MovieLens' distribution.")] = 25_000_000,
    append: Annotated[int, typer.Option(min=1_000, help="Ratings of new users that are then appended.")] = 250_000,
    rounds: Rounds = 1,
    json: Json = None,
) -> None:
    """Time and memory of an import of ratings, of an append to it, and of DuckDB's plain copy of the same file."""
    from semrec.bench.imports import bench_import

    with ScratchFolder("benchmark") as folder:
        rows = [asdict(row) for row in bench_import(folder, ratings, append, rounds=rounds)]
    if not any(row["what"] == "duckdb" for row in rows):
        say("without DuckDB, which is not installed: pip install duckdb")
    show_rows("import", rows, json)


@app.command("models")
@exit_on_error
def models(
    file: Annotated[
        str | None, typer.Argument(help="Lines of user, item, rating, as ratings.csv (default: generated likes).")
    ] = None,
    liked_above: Annotated[float, typer.Option(help="Ratings of the file above it are likes.")] = 3.0,
    users: Annotated[int, typer.Option(min=100, help="Generated users.")] = 20_000,
    items: Annotated[int, typer.Option(min=100, help="Generated items.")] = 10_000,
    likes: Annotated[int, typer.Option(min=1_000, help="Generated likes, about.")] = 1_000_000,
    dimension: Annotated[int, typer.Option(min=1, help="Dimensions of both libraries' factors.")] = 64,
    epochs: Annotated[int, typer.Option(min=1, help="Epochs of a training at most.")] = 15,
    regularization: Annotated[
        list[float] | None, typer.Option(help="Of iALS; repeat for several (default 0.003, 0.01).")
    ] = None,
    peers: Annotated[bool, typer.Option(help="Also implicit's ALS, where it is installed.")] = True,
    json: Json = None,
) -> None:
    """CPU time of the training of iALS and of implicit's ALS to equal nDCG@10 of held-out likes, and its peak memory."""
    import numpy as np

    from semrec.bench.models import bench_models, generate_likes, has_peer
    from semrec.models.ials import IalsModel
    from semrec.models.ratings.table import read_ratings

    if peers and not has_peer():
        say("without implicit, which is not installed: pip install implicit")
    if file:
        table = read_ratings(file)
        liked = table.rows(np.flatnonzero(table.value_N > liked_above))
    else:
        liked = generate_likes(users, items, likes)
    say(f"{len(liked.columns):,} likes of {liked.num_rows:,} users and {liked.num_columns:,} items")
    measured = bench_models(
        liked, {**IalsModel.defaults, "dimension": dimension, "num_epochs": epochs},
        regularizations=regularization or (0.003, 0.01), peers=peers, progress=ConsoleProgress(),
    )  # fmt: skip
    show_rows("models", [asdict(row) for row in measured], json)


@app.command("ratings")
@exit_on_error
def ratings(
    file: Annotated[
        str | None, typer.Argument(help="Lines of user, item, rating, as ratings.csv or u.data (default: generated).")
    ] = None,
    models: Annotated[str | None, typer.Option(help="Rating models, with commas (default: all).")] = None,
    folds: Annotated[int, typer.Option(min=2, help="Folds, as scikit-surprise divides them.")] = 5,
    measured_folds: Annotated[
        int | None, typer.Option(min=1, help="Only the first so many: SVD++ takes scikit-surprise minutes a fold.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Shuffles the folds.")] = 0,
    peers: Annotated[bool, typer.Option(help="Also scikit-surprise's models, where it is installed.")] = True,
    json: Json = None,
) -> None:
    """RMSE, MAE and CPU time of rating models (SVD, SVD++, NMF, Slope One, k-NN) beside scikit-surprise's."""
    from semrec.bench.ratings import bench_ratings, generate_ratings, has_peer
    from semrec.models.ratings.base import RATING_MODELS
    from semrec.models.ratings.table import read_ratings

    table = read_ratings(file) if file else generate_ratings()
    say(f"{len(table):,} ratings of {table.num_users:,} users and {table.num_items:,} items")
    if peers and not has_peer():
        say("without scikit-surprise, which is not installed: pip install scikit-surprise")
    kinds = models.split(",") if models else list(RATING_MODELS)
    measured = []
    for row in bench_ratings(
        table, kinds=kinds, num_folds=folds, measured_folds=measured_folds, seed=seed, peers=peers,
        progress=ConsoleProgress(),
    ):  # fmt: skip
        measured.append(asdict(row))
        write_rows(json, measured)  # some peers take minutes a model: what is measured is kept
    show_rows("ratings", measured, None)


@app.command("release")
@exit_on_error
def release(
    items: Annotated[int, typer.Option(min=1, help="Generated items.")] = 1_000_000,
    users: Users = 40_000,
    parts: Annotated[int, typer.Option(min=1, help="User buckets.")] = 2,
    dimension: Annotated[int, typer.Option(min=1, help="Dimensions of a vector.")] = 32,
    json: Json = None,
) -> None:
    """Seconds and memory of building a release: its item matrix, and its users part by part."""
    from semrec.bench.release import bench_release
    from semrec.workspace.folder import Workspace

    with ScratchFolder("benchmark") as folder:
        workspace = Workspace.create(folder, num_buckets=parts)
        result = bench_release(
            workspace, num_items=items, num_users=users, dimension=dimension, progress=ConsoleProgress()
        )
    show_rows("release", [asdict(result)], json)


@app.command("run")
@exit_on_error
@with_workspace()
@with_compute("in_process", "workers", "device", "device_wait")
def run(workspace: Workspace, open_compute: OpenCompute, users: Users = 50_000, k: K = 100, json: Json = None) -> None:
    """Users per second and memory of a whole run; replaces the interactions of the workspace by generated ones."""
    from cluster.bench.resume import bench_run, release_of_generated_users

    with open_compute() as compute:
        where: dict[str, Any] = {"compute": compute, "progress": ConsoleProgress()}
        release = release_of_generated_users(workspace, users, **where)
        result = bench_run(workspace, release, k, **where)
    show_rows("run", [asdict(result)], json)


@app.command("plan")
@exit_on_error
@with_compute("workers")
def plan(
    open_compute: OpenCompute,
    items: Annotated[int, typer.Option(min=32, help="Items: editions of the demo's films.")] = 20_000,
    users: Annotated[int, typer.Option(min=1, help="Generated users, 50 events each.")] = 300_000,
    k: K = 100,
    seconds: Annotated[float, typer.Option(min=1.0, help="How long to measure for the plan.")] = 60.0,
    json: Json = None,
) -> None:
    """A plan's seconds of embedding, release and scoring, beside those that the run took, from nothing."""
    from cluster.bench.plan import bench_plan
    from semrec.workspace.folder import Workspace

    with ScratchFolder("benchmark") as folder, open_compute() as compute:
        rows = bench_plan(
            Workspace.create(folder), num_items=items, num_users=users, k=k, budget_s=seconds, compute=compute,
            progress=ConsoleProgress(),
        )  # fmt: skip
    show_rows(f"{users:,} users x {items:,} items", [asdict(row) | {"ratio": row.ratio} for row in rows], json)


@app.command("resume")
@exit_on_error
@with_workspace()
@with_compute()
def resume(
    workspace: Workspace,
    open_compute: OpenCompute,
    users: Users = 400_000,
    k: K = 100,
    kill_at: Annotated[
        float, typer.Option(min=0.0, max=1.0, help="Share of parts after which the driver is killed.")
    ] = 0.9,
    json: Json = None,
) -> None:
    """What submitting again costs after the driver was killed (-9) late in a run; replaces the interactions, too."""
    from cluster.bench.resume import bench_resume, release_of_generated_users

    with open_compute() as compute:
        where: dict[str, Any] = {"compute": compute, "progress": ConsoleProgress()}
        release = release_of_generated_users(workspace, users, **where)
        result = bench_resume(workspace, release, k, kill_at=kill_at, **where)
    row = asdict(result)
    full = {f"full_{name}": value for name, value in row.pop("full").items()}
    show_rows("resume", [full | row], json)


@app.command("compare")
@exit_on_error
def compare(
    before: Annotated[str, typer.Argument(help="What a bench wrote by --json.")],
    after: Annotated[str, typer.Argument(help="What the same bench wrote later.")],
    noise: Annotated[float, typer.Option(min=0, help="How far a figure may move unnoticed.")] = 0.05,
) -> None:
    """What changed beyond noise between two files of the same bench."""
    from semrec.bench.compare import compare_benches

    changes, remarks = compare_benches(before, after, noise=noise)
    moved = [change for change in changes if change.is_beyond_noise]
    if moved:
        show_rows("beyond noise", [asdict(change) | {"ratio": change.ratio} for change in moved], None)
    say(f"{len(moved)} of {len(changes)} figures moved beyond noise", *(f"\n{remark}" for remark in remarks))


@app.command("demo")
@exit_on_error
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
    show_rows("demo", rows, json)


if __name__ == "__main__":
    app()
