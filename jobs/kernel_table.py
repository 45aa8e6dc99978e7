"""Shows what the CUDA engine could reach on named GPUs, for `semrec plan --kernel`."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

from rich.table import Table

from jobs.printing import say, show_table

__all__ = ["show_predictions"]

_WIDTH = 128  # of the table, also where the output is no terminal


def show_predictions(num_items: int, num_users: int, dimension: int, k: int, json_file: Path | None) -> None:
    """Prints the least milliseconds of each pass over all users on each GPU, and what limits it; writes them as JSON."""
    from semrec.scoring.cuda.roofline import GPUS, KernelProblem, formats_of, predict_passes

    runs = {
        (gpu, coarse): predict_passes(gpu, KernelProblem(num_items, num_users, dimension, k, coarse))
        for gpu in GPUS.values()
        for coarse in formats_of(gpu)
    }
    say((f"{num_users:,} users x {num_items:,} items", "bold"), f" x {dimension}, K = {k}: at least so many ms")
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    table.add_column("GPU", no_wrap=True)
    table.add_column("format", no_wrap=True)
    for prediction in max(runs.values(), key=len):
        table.add_column(prediction.what.replace(" ", "\n", 1), justify="right", no_wrap=True)
    table.add_column("product\nlimited by", no_wrap=True)
    for (gpu, coarse), predictions in runs.items():
        ms = {each.what: f"{each.seconds * 1e3:,.2f}" for each in predictions}
        limit = next(each.limit for each in predictions if each.what == "product")
        names = [each.what for each in max(runs.values(), key=len)]
        table.add_row(gpu.name, coarse, *(ms.get(name, "") for name in names), limit)
    show_table(table, width=_WIDTH)
    say("a model of data sheets, not a measurement: python -m semrec.bench.gpu compares it with a GPU", "")
    if json_file:
        rows = [{**asdict(each), "coarse": coarse} for (_, coarse), run in runs.items() for each in run]
        json_file.write_text(json.dumps(rows, indent=2) + "\n")
