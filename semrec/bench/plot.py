"""The rows of the scoring bench as a picture: users per second of each engine at each K, on a logarithmic scale."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from semrec.bench.scoring import ScoreBenchRow
from semrec.plotting import check_plot_path

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["plot_scoring"]

_WIDTH_IN, _HEIGHT_IN, _BAR_IN = 9.0, 4.8, 0.44
_BAR_WIDTH: Final = 0.86  # of all bars of one K together
_INK, _FAINT = "#333333", "#8a8a8a"
_CLEAR: Final = {"facecolor": "white", "edgecolor": "none", "pad": 0.4}  # a line does not run through a label
#: (engine, variant) -> label and colour, in the order of the bars: ours in one hue, peers in greys.
_SERIES: Final = {
    ("cuda", "plain"): ("cuda", "#9ecfae"),
    ("cuda", "seen"): ("cuda, seen excluded", "#3f9b5f"),
    ("cuda", "filters"): ("cuda, seen and filters", "#1d6b3a"),
    ("cpu", "plain"): ("cpu", "#a9c8ea"),
    ("cpu", "seen"): ("cpu, seen excluded", "#3b7cc4"),
    ("cpu", "filters"): ("cpu, seen and filters", "#1c4f8b"),
    ("torch", "plain"): ("torch mm + topk", "#7d7d7d"),
    ("scann", "plain"): ("ScaNN brute force", "#969696"),
    ("implicit", "plain"): ("implicit topk", "#c6c6c6"),
    ("faiss-gpu", "plain"): ("faiss-gpu IndexFlatIP", "#b0b0b0"),
    ("faiss-cpu", "plain"): ("faiss-cpu IndexFlatIP", "#b0b0b0"),
    ("reference", "plain"): ("reference", "#dddddd"),
}
_LINES: Final = {"cpu": "#c1492e", "cuda": "#d99a1c"}


def plot_scoring(rows: Sequence[ScoreBenchRow], path: str, caption: str) -> None:
    """Draws the rows into a PNG or SVG file. Raises InputError as `check_plot_path` does."""
    check_plot_path(path)
    from matplotlib.figure import Figure

    rows = [row for row in rows if (row.engine, row.variant) in _SERIES]
    width_in = max(_WIDTH_IN, _BAR_IN * len(_bars(rows)) * len(_ks(rows)))
    figure = Figure(figsize=(width_in, _HEIGHT_IN), layout="constrained")
    axes = figure.subplots()
    _draw_bars(axes, rows)
    _draw_product(axes, rows)
    _dress(axes, rows, caption)
    figure.savefig(path, dpi=160, facecolor="white")


def _bars(rows: Sequence[ScoreBenchRow]) -> list[tuple[str, str, str]]:
    """(engine, variant, device) of the bars of one K, from left to right."""
    found = {(row.engine, row.variant, row.device) for row in rows}
    return sorted(found, key=lambda bar: (bar[2] == "cpu", list(_SERIES).index(bar[:2])))


def _ks(rows: Sequence[ScoreBenchRow]) -> list[int]:
    return sorted({row.k for row in rows})


def _draw_bars(axes: Axes, rows: Sequence[ScoreBenchRow]) -> None:
    bars, ks = _bars(rows), _ks(rows)
    width = _BAR_WIDTH / len(bars)
    for n, (engine, variant, device) in enumerate(bars):
        label, colour = _SERIES[engine, variant]
        rates = {row.k: row.users_per_s for row in rows if (row.engine, row.variant, row.device) == bars[n]}
        at = [ks.index(k) - _BAR_WIDTH / 2 + (n + 0.5) * width for k in rates]
        label += " on GPU" if device == "cuda" and engine == "torch" else ""
        drawn = axes.bar(at, list(rates.values()), 0.92 * width, color=colour, label=label, zorder=2)
        texts = [_short(rate) for rate in rates.values()]
        axes.bar_label(drawn, texts, padding=2, fontsize=7.5, color=_INK, bbox=_CLEAR, zorder=4)


def _draw_product(axes: Axes, rows: Sequence[ScoreBenchRow]) -> None:
    """Over the bars of each device and K, a line at the rate of the bfloat16 product alone."""
    devices = [device for _, _, device in _bars(rows)]
    width = _BAR_WIDTH / len(devices)
    for device in sorted(set(devices)):
        first, count = devices.index(device), devices.count(device)
        for n, k in enumerate(_ks(rows)):
            rate = next(row.product_users_per_s or 0 for row in rows if (row.k, row.device) == (k, device))
            left = n - _BAR_WIDTH / 2 + first * width
            ends, label = (left, left + count * width), f"bfloat16 product alone, {device}"
            axes.plot(
                ends, (rate, rate), color=_LINES[device], linewidth=1.6, linestyle=(0, (4, 2)), zorder=3,
                label=None if n else label,
            )  # fmt: skip
            axes.annotate(
                _short(rate), (ends[1], rate), (0, 3), textcoords="offset points", fontsize=7.5, ha="right",
                color=_LINES[device],
            )  # fmt: skip


def _dress(axes: Axes, rows: Sequence[ScoreBenchRow], caption: str) -> None:
    row = rows[0]
    axes.set_yscale("log")
    axes.yaxis.set_major_formatter("{x:,.0f}")
    axes.minorticks_off()
    axes.set_ylim(1, axes.get_ylim()[1] * 1.3)
    axes.set_ylabel("users per second (log scale)", color=_INK)
    axes.set_xticks(range(len(_ks(rows))), [f"K = {k:,}" for k in _ks(rows)], fontsize=11)
    axes.set_title(
        f"Exact top K of {row.num_items:,} items x {row.dimension}, {row.threads} CPU threads",
        loc="left", fontsize=12, color=_INK, pad=24,
    )  # fmt: skip
    axes.text(0, 1.03, caption, transform=axes.transAxes, fontsize=8, color=_FAINT)
    axes.grid(axis="y", color="#e8e8e8", zorder=0)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.spines["bottom"].set_color(_FAINT)
    axes.tick_params(axis="both", length=0, labelcolor=_INK)
    handles, labels = axes.get_legend_handles_labels()
    order = sorted(range(len(labels)), key=lambda n: "product" in labels[n])  # bars first, as they stand
    axes.legend(
        [handles[n] for n in order], [labels[n] for n in order],
        loc="upper center", bbox_to_anchor=(0.5, -0.07), ncols=4, frameon=False, fontsize=8.5, labelcolor=_INK,
    )  # fmt: skip


def _short(rate: float) -> str:
    """At most three digits that count: 2.3, 977, 2,480, 142k."""
    if rate < 10:
        return f"{rate:.1f}"
    if rate >= 10_000:
        return f"{rate / 1000:,.0f}k"
    return f"{rate:,.0f}" if rate < 1000 else f"{round(rate, -1):,.0f}"
