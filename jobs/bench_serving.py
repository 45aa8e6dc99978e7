"""Measure a running service: its answers per second, what a long load and kills cost, and what an attack does to others.

semrec bench serving --json serving.json
semrec bench soak --minutes 10
semrec bench attack --short
"""

from __future__ import annotations

import contextlib
from dataclasses import asdict
from typing import Annotated

import typer
from rich.table import Table

from jobs.cli_common import ConsoleProgress, Json, exit_on_error
from jobs.printing import console, say, show_rows, show_table, write_rows
from semrec.workspace.scratch import ScratchFolder

__all__ = ["app"]

app = typer.Typer()

Served = Annotated[
    str | None, typer.Option("--workspace", "-w", help="Serve its live pair (default: a generated one).")
]
Items = Annotated[int, typer.Option(min=1, help="Generated items, of 384 dimensions.")]
Users = Annotated[int, typer.Option(min=1, help="Generated users, 100 events each.")]


@app.command("serving")
@exit_on_error
def serving(
    workspace: Served = None,
    platform: Annotated[
        str | None, typer.Option(help="Platform that requests ask for (default: none; Lumina in a generated one).")
    ] = None,
    items: Items = 62_423,
    users: Users = 2_000,
    seconds: Annotated[float, typer.Option(min=1.0, help="Length of each measurement.")] = 10.0,
    rate: Annotated[float, typer.Option(min=1.0, help="Requests per second of the steady load.")] = 1_000.0,
    json: Json = None,
) -> None:
    """Requests per second of each endpoint, beside Serve's default proxy, faiss behind FastAPI, and an empty endpoint."""
    from cluster.bench.serving import bench_serving

    with ScratchFolder("benchmark") as folder:
        if workspace is None:
            workspace, platform = _serving_world(folder, items, users), platform or "Lumina"
        ready_s, rows = bench_serving(workspace, platform, seconds=seconds, rate=rate)
    say(f"start to ready {ready_s:.1f} s; wrk, and at a steady rate a Python client, on the same cores")
    table = Table("", "answers/s", "of ping", "of engine", "p50", "p95", "p99 ms", "errors", title_justify="left")
    for row in rows:
        times = (f"{value:,.0f}" for value in (row.p50_ms, row.p95_ms, row.p99_ms))
        label = f"{row.server} {row.endpoint}\n  {row.load}" + (f", {row.kernels}" if row.kernels else "")
        of_engine = "" if row.of_engine is None else f"{row.of_engine:.0%}"
        table.add_row(label, f"{row.answers_per_s:,.0f}", f"{row.of_ping:.0%}", of_engine, *times, f"{row.errors:,}")
    show_table(table)
    write_rows(json, [asdict(row) for row in rows])


@app.command("soak")
@exit_on_error
def soak_service(
    workspace: Served = None,
    items: Items = 62_423,
    users: Users = 2_000,
    minutes: Annotated[float, typer.Option(min=0.5, help="How long.")] = 10.0,
    rate: Annotated[float, typer.Option(min=1.0, help="Requests per second.")] = 200.0,
    switches: Annotated[int, typer.Option(min=0, help="Release switches.")] = 3,
    json: Json = None,
) -> None:
    """A steady load while releases switch, one replica is killed every minute and the proxy once: counts what failed."""
    from cluster.bench.soak import soak
    from cluster.compute import InProcess
    from semrec.workspace.folder import Workspace

    with ScratchFolder("benchmark") as folder:
        opened = Workspace.open(workspace or _serving_world(folder, items, users))
        result = soak(
            opened, minutes=minutes, rate=rate, num_switches=switches, compute=InProcess(), progress=ConsoleProgress()
        )
    row = asdict(result)
    show_rows("soak", [{**row.pop("load"), **row}], json)


@app.command("attack")
@exit_on_error
def attack(
    url: Annotated[str | None, typer.Option(help="A running service (default: one of its own, generated).")] = None,
    key: Annotated[
        str | None, typer.Option(envvar="SEMREC_KEY", help="API key of it; with admin its memory is seen, too.")
    ] = None,
    grpc: Annotated[str | None, typer.Option(help="HOST:PORT where it takes gRPC.")] = None,
    anywhere: Annotated[bool, typer.Option("--anywhere", help="Also a service on another machine; be sure.")] = False,
    short: Annotated[bool, typer.Option("--short", help="Without what lasts by itself.")] = False,
    json: Json = None,
) -> None:
    """Requests that are meant to hurt; fails where a refusal is missing, others wait, or memory grows too much."""
    from cluster.bench.attack import attack_service, own_service
    from cluster.bench.attack_target import Target
    from semrec.bench.attacks import ATTACKS

    chosen = [attack for attack in ATTACKS if not (short and attack.slow_s)]
    with contextlib.ExitStack() as stack:
        if url:
            target = Target(url, key, grpc, anywhere)
        else:
            folder = stack.enter_context(ScratchFolder("benchmark"))
            target = stack.enter_context(own_service(_serving_world(folder, 5_000, 200)))
        rows = attack_service(target, chosen)
    table = Table("attack", "status", "s", "/healthz s", "query s", "grown MB", "broken", title_justify="left")
    for row in rows:
        times = (f"{value:.2f}" for value in (row.seconds, row.worst_health_s, row.worst_question_s))
        grown = "" if row.memory_mb is None else f"{row.memory_mb:,.0f}"
        table.add_row(row.attack, " ".join(map(str, row.statuses)), *times, grown, "; ".join(row.broken))
    show_table(table, width=max(console.width, 120))
    write_rows(json, [asdict(row) for row in rows])
    if any(row.broken for row in rows):
        raise typer.Exit(1)


def _serving_world(folder: str, items: int, users: int) -> str:
    from cluster.bench.serving_world import make_serving_world
    from cluster.compute import InProcess
    from semrec.workspace.folder import Workspace

    workspace = Workspace.create(folder, num_buckets=8)
    make_serving_world(workspace, items, users, dimension=384, compute=InProcess(), progress=ConsoleProgress())
    return workspace.uri


if __name__ == "__main__":
    app()
