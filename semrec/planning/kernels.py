"""What the CUDA engine could reach on named GPUs: rows for a file, and a table for people."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from rich.table import Table

from semrec.scoring.cuda.roofline import GPUS, KernelProblem, formats_of, predict_passes

__all__ = ["kernel_rows", "kernel_table"]


def kernel_rows(num_items: int, num_users: int, dimension: int, k: int) -> list[dict[str, Any]]:
    """The least seconds of each pass over all users, and what limits it, on each GPU in each format: a row for each."""
    return [
        {**asdict(prediction), "coarse": coarse}
        for gpu in GPUS.values()
        for coarse in formats_of(gpu)
        for prediction in predict_passes(gpu, KernelProblem(num_items, num_users, dimension, k, coarse))
    ]


def kernel_table(rows: Sequence[dict[str, Any]]) -> Table:
    """A line for each GPU and format, in milliseconds."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    table.add_column("GPU", no_wrap=True)
    table.add_column("format", no_wrap=True)
    passes = list(dict.fromkeys(row["what"] for row in rows))
    for what in passes:
        table.add_column(what.replace(" ", "\n", 1), justify="right", no_wrap=True)
    table.add_column("product\nlimited by", no_wrap=True)
    for gpu, coarse in dict.fromkeys((row["gpu"], row["coarse"]) for row in rows):
        row_of_pass = {row["what"]: row for row in rows if (row["gpu"], row["coarse"]) == (gpu, coarse)}
        milliseconds = [f"{row_of_pass[what]['seconds'] * 1e3:,.2f}" for what in passes]
        table.add_row(gpu, coarse, *milliseconds, row_of_pass["product"]["limit"])
    return table
