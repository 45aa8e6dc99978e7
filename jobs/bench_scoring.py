"""Measure how fast lists are made, and that they are exact.

semrec bench scoring --json scoring.json --plot scoring.svg
semrec bench compression --workspace W
semrec bench fuzz --minutes 10
semrec bench gpu-host
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Any

import typer

from jobs.cli_common import ConsoleProgress, Json, Rounds, Threads, exit_on_error
from jobs.printing import console, say, show_rows, show_table, write_rows

__all__ = ["app"]

app = typer.Typer()


@app.command("scoring")
@exit_on_error
def scoring(
    workspace: Annotated[
        str | None, typer.Option("--workspace", "-w", help="Score its newest release, for its own users.")
    ] = None,
    data: Annotated[
        str | None, typer.Option(help="Generated: clusters (default), factors or duplicates. Not with a workspace.")
    ] = None,
    items: Annotated[int | None, typer.Option(min=1, help="Generated items (default 86,537).")] = None,
    dimension: Annotated[int | None, typer.Option(min=1, help="Of generated items (default 384).")] = None,
    users: Annotated[int, typer.Option(min=1, help="Users scored per round.")] = 2_048,
    k: Annotated[list[int] | None, typer.Option(min=1, help="Results per user (default 10, 100, 1000).")] = None,
    threads: Threads = 2,
    rounds: Rounds = 3,
    coarse: Annotated[
        str | None,
        typer.Option(help="Coarse format of our engines, as int8 (default: the release's, else a quick look)."),
    ] = None,
    filters: Annotated[bool, typer.Option(help="Also with eligibility clauses.")] = True,
    peers: Annotated[
        bool, typer.Option(help="Also faiss, ScaNN, implicit and torch, each with the fastest kernels that it offers.")
    ] = True,
    memory: Annotated[bool, typer.Option(help="Also peak memory, in processes of their own.")] = True,
    processes: Annotated[
        bool, typer.Option(help="Also a process against one per thread, and a few users at once.")
    ] = True,
    json: Json = None,
    plot: Annotated[str | None, typer.Option(help="Also draw users per second: FILE.svg or FILE.png.")] = None,
) -> None:
    """Users per second of the engines and of exact peers over the same items; memory; proof that ours are exact."""
    from semrec.bench.plot import plot_scoring
    from semrec.bench.scoring import bench_scoring
    from semrec.bench.table import score_notes, score_table
    from semrec.machine import machine
    from semrec.plotting import check_plot_path
    from semrec.scoring.formats import get_format

    if plot:
        check_plot_path(plot)
    kind = get_format(coarse).name if coarse else None
    problem = _scoring_problem(workspace, data, items, users, dimension)
    kind = kind or _recorded_format(workspace)
    rows = bench_scoring(
        problem, ks=tuple(k or (10, 100, 1000)), num_threads=threads, rounds=rounds, coarse=kind, filters=filters,
        peers=peers, memory=memory, processes=processes, progress=ConsoleProgress(),
    )  # fmt: skip
    show_table(score_table(rows), width=max(console.width, 120))
    for line in (*score_notes(rows), machine()):
        say((line, "dim"))
    write_rows(json, [asdict(row) for row in rows])
    if plot:
        plot_scoring(rows, plot, machine())
    if any(row.equal is False for row in rows):
        say(("an engine differs from the reference", "red"))
        raise typer.Exit(1)


@app.command("compression")
@exit_on_error
def compression(
    workspace: Annotated[
        str | None, typer.Option("--workspace", "-w", help="Score its newest release, for its own users.")
    ] = None,
    data: Annotated[str | None, typer.Option(help="Generated: clusters (default), factors or duplicates.")] = None,
    items: Annotated[int | None, typer.Option(min=1, help="Generated items (default 86,537).")] = None,
    dimension: Annotated[int | None, typer.Option(min=1, help="Of generated items (default 384).")] = None,
    users: Annotated[int, typer.Option(min=1, help="Users scored.")] = 128,
    threads: Threads = 2,
    json: Json = None,
) -> None:
    """Bytes per item, speed, proven share and recall of compressed items beside int8."""
    from semrec.bench.compression import bench_compression
    from semrec.machine import machine

    rows = bench_compression(_scoring_problem(workspace, data, items, users, dimension), num_threads=threads)
    show_rows("compressed items", [asdict(row) for row in rows], json)
    say((machine(), "dim"))


@app.command("fuzz")
@exit_on_error
def fuzz_scoring(
    minutes: Annotated[float, typer.Option(min=0.0, help="How long.")] = 1.0,
    seed: Annotated[int, typer.Option(min=0, help="The first case.")] = 0,
    case: Annotated[int | None, typer.Option(min=0, help="Only this case, of a search before.")] = None,
) -> None:
    """Generated problems of 32 kinds of vectors: every list and rank of the cpu engine is held against the reference."""
    from semrec.bench.fuzz import fuzz, generate_case
    from semrec.machine import machine

    if case is not None:
        generated = generate_case(case)
        fault = generated.find_fault()
        say(f"case {case}: {generated.description}: {f'{fault} differ' if fault else 'as the reference has it'}")
        raise typer.Exit(1 if fault else 0)
    report = fuzz(seconds=60 * minutes, first_seed=seed, progress=ConsoleProgress())
    say(
        f"{report.num_lists:,} lists of {report.num_cases:,} cases from {seed} on in {report.seconds:,.0f} s, "
        f"{len(report.faults)} cases differ from the reference"
    )
    say((machine(), "dim"))
    if report.faults:
        raise typer.Exit(1)


@app.command("gpu-host")
@exit_on_error
def gpu_host(
    items: Annotated[int, typer.Option(min=1, help="Generated items.")] = 62_423,
    users: Annotated[int, typer.Option(min=1, help="Users scored per round.")] = 162_541,
    k: Annotated[int, typer.Option(min=1, help="Results per user.")] = 100,
    rounds: Rounds = 5,
    json: Json = None,
) -> None:
    """What the host does in a run of the cuda engine, one thread of it; nothing of a GPU runs or is needed."""
    from semrec.bench.gpu_host import bench_gpu_host
    from semrec.bench.workloads import generated_problem

    rows = bench_gpu_host(generated_problem("clusters", items, users), min(k, items), rounds=rounds)
    show_rows("the host's work for the cuda engine", [asdict(row) for row in rows], json)


def _scoring_problem(
    workspace: str | None, data: str | None, items: int | None, users: int, dimension: int | None = None
) -> Any:
    from semrec.bench.workloads import generated_problem, release_problem
    from semrec.errors import InputError
    from semrec.release.reader import Release, newest_release
    from semrec.workspace.folder import Workspace

    if not workspace:
        return generated_problem(data or "clusters", items or 86_537, users, dimension=dimension or 384)
    if data or items or dimension:
        raise InputError(
            "--workspace with --data, --items or --dimension",
            expected="one or the other",
            remedy="Leave the others out.",
        )
    storage = Workspace.open(workspace).storage
    return release_problem(Release(storage, newest_release(storage)), users)


def _recorded_format(workspace: str | None) -> str | None:
    """Name of the coarse format that the newest release was measured to be scored in fastest."""
    from semrec.release.reader import Release, newest_release
    from semrec.workspace.folder import Workspace

    if workspace is None:
        return None
    storage = Workspace.open(workspace).storage
    return Release(storage, newest_release(storage)).coarse("cpu")


if __name__ == "__main__":
    app()
