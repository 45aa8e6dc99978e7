"""The rows of the scoring bench for people: a table that fits 120 columns, and the lines below it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import groupby

from rich import box
from rich.table import Table
from rich.text import Text

from semrec.bench.scoring import ScoreBenchRow

__all__ = ["SEED_FIGURES", "score_notes", "score_table"]

#: What was measured and hoped for before there was a `semrec bench`.
SEED_FIGURES = "seed: 38 queries/s on CPU; 10,000 queries/s projected on one A100"

_COLUMNS = (
    "users/s",
    "times\nfaiss",
    "times\ntorch",
    "of bf16\nproduct",
    "rescored\nper user",
    "exhaus-\ntive",
    "same as\nreference",
    "memory,\nmatrices",
)
_VARIANTS = {"plain": "", "seen": ", seen", "filters": ", seen and filters"}


def score_table(rows: Sequence[ScoreBenchRow]) -> Table:
    """One section per K. Sameness of ours is that of bytes, of peers the share of users with our list of rows."""
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1), title=_title(rows), title_justify="left", title_style="bold")
    table.add_column("exact top K", no_wrap=True)
    for name in _COLUMNS:
        table.add_column(name, justify="right", no_wrap=True)
    for k, group in groupby((row for row in rows if row.ratio_to_reading is None), key=lambda row: row.k):
        same_k = list(group)
        table.add_row(Text(f"K = {k:,}", style="bold"))
        for row in same_k:
            table.add_row(*_cells(row))
        for row in {r.device: r for r in same_k if r.product_users_per_s}.values():
            table.add_row(
                f"bf16 product, {row.product_shape}", _rate(row.product_users_per_s), "", "", "1.00", style="dim"
            )
        table.add_section()
    return table


def score_notes(rows: Sequence[ScoreBenchRow]) -> list[str]:
    """What the columns mean, what filters cost, how memory grows, a peer's kernels, what processes give, and the seed's."""
    found = [
        "seen: about 100 items excluded per user, 100,000 or half of all for one; filters: two eligibility clauses besides.",
        "memory: peak over what the process held before it mapped the items, in sizes of the float32 item matrix.",
    ]
    for engine in dict.fromkeys(row.engine for row in rows):
        own = [row for row in rows if row.engine == engine]
        found += _per_k(f"{engine}: time that filters add", own, lambda r: r.filter_cost, "{:+.1%}")
        if own[0].kernels:
            found.append(f"{engine}: the fastest of the kernels that its OpenBLAS offers here: {own[0].kernels}")
        if engine in ("cpu", "cuda"):
            found += _per_k(f"{engine}: peak memory with 4 times the users", own, lambda r: r.memory_ratio_4x_users)
        few = [row for row in own if row.ratio_to_reading is not None]
        for variant in dict.fromkeys(row.variant for row in few):
            label = f"{engine}: CPU time of {variant}, in those of reading the items' int8 codes"
            found += _per_k(label, (row for row in few if row.variant == variant), lambda r: r.ratio_to_reading)
        apart = [row for row in own if "processes" in row.variant]
        if apart:
            label = f"{engine}: {apart[0].variant}, times as fast as one process of {apart[0].threads}"
            found += _per_k(label, apart, lambda r: r.ratio_to_one_process)
    return [*found, SEED_FIGURES]


def _per_k(
    label: str, rows: Iterable[ScoreBenchRow], value: Callable[[ScoreBenchRow], float | None], form: str = "{:.2f}"
) -> list[str]:
    values = [f"{form.format(number)} (K = {row.k:,})" for row in rows if (number := value(row)) is not None]
    return [f"{label}: {', '.join(values)}"] if values else []


def _title(rows: Sequence[ScoreBenchRow]) -> str:
    row = rows[0]
    return f"{row.num_items:,} items x {row.dimension} ({row.data}), {row.num_users:,} users, {row.threads} CPU threads"


def _cells(row: ScoreBenchRow) -> list[str | Text]:
    name = " ".join(
        filter(None, (row.engine, row.coarse, "on cuda" if row.engine == "torch" and row.device == "cuda" else ""))
    )
    same: str | Text = "" if row.agreement is None else f"{row.agreement:.1%}"
    if row.equal is not None:
        same = "yes" if row.equal else Text("NO", style="red")
    share = "" if row.exhaustive_share is None or row.engine == "reference" else f"{row.exhaustive_share:.1%}"
    return [
        name + _VARIANTS.get(row.variant, f", {row.variant}".replace("processes x 1 thread", "processes of 1")),
        _rate(row.users_per_s),
        *map(_two_places, (row.ratio_to_faiss, row.ratio_to_torch, row.of_product)),
        "" if row.candidates_per_row is None else f"{row.candidates_per_row:,.0f}",
        share,
        same,
        _two_places(row.memory_ratio),
    ]


def _rate(users_per_s: float | None) -> str:
    if users_per_s is None:
        return ""
    return f"{users_per_s:,.0f}" if users_per_s >= 10 else f"{users_per_s:.1f}"


def _two_places(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:.2f}" if value >= 0.01 else "<0.01"
