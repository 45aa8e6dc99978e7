"""The rows of the configurations as a picture: texts and files per second, and memory over time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from semrec.bench.configurations import ConfigurationRow
from semrec.plotting import check_plot_path

__all__ = ["plot_configurations"]

_TEXTS, _FILES, _INK, _FAINT = "#3b7cc4", "#3f9b5f", "#333333", "#8a8a8a"
_BAR_WIDTH: Final = 0.4


def plot_configurations(rows: Sequence[ConfigurationRow], path: str, caption: str) -> None:
    """Draws the rows that were measured into a PNG or SVG file. Raises InputError as `check_plot_path` does."""
    check_plot_path(path)
    from matplotlib.figure import Figure

    measured = [row for row in rows if row.texts_per_s and row.files_per_s]
    figure = Figure(figsize=(11, 4.2), layout="constrained")
    speed, memory = figure.subplots(1, 2)
    for side, colour, what, rates in (
        (-1, _TEXTS, "texts", [row.texts_per_s or 0 for row in measured]),
        (1, _FILES, "files", [row.files_per_s or 0 for row in measured]),
    ):
        at = [place + side * _BAR_WIDTH / 2 for place in range(len(measured))]
        bars = speed.bar(at, rates, 0.9 * _BAR_WIDTH, color=colour, label=what)
        speed.bar_label(
            bars, [f"{rate:,.0f}" if rate >= 10 else f"{rate:.1f}" for rate in rates], padding=2, fontsize=8, color=_INK
        )
    names = [f"{row.name}\n{row.texts_per_call} texts a call" for row in measured]
    speed.set_xticks(range(len(measured)), names, fontsize=9)
    speed.set_yscale("log")
    speed.set_title("texts and files per second (log scale)", loc="left", fontsize=11, color=_INK)
    for row in measured:
        memory.plot([at_s for at_s, _ in row.memory], [size / 2**20 for _, size in row.memory], label=row.name)
    memory.set_xlabel("seconds")
    memory.set_ylim(bottom=0)
    memory.set_title("resident memory, MiB", loc="left", fontsize=11, color=_INK)
    for axes in (speed, memory):
        axes.spines[["top", "right"]].set_visible(False)
        if measured:
            axes.legend(frameon=False, fontsize=9, labelcolor=_INK)
    figure.suptitle(caption, x=0.01, ha="left", fontsize=8, color=_FAINT)
    figure.savefig(path, dpi=160, facecolor="white")
