"""The curve of a plan as a picture: minutes and dollars over the number of devices, and where something breaks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final

from semrec.planning.estimate import NODE_START_S, Estimate
from semrec.planning.prices import Node
from semrec.planning.simulate import limits
from semrec.plotting import check_plot_path

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["plot_curve"]

_COLOURS: Final = {"aws": "#c97b1a", "gcp": "#3b7cc4", "azure": "#3f9b5f"}
_OTHER: Final = "#7d7d7d"  # a cloud of the user's own price table
_INK, _FAINT, _RED = "#333333", "#8a8a8a", "#c1492e"
_DASHES: Final = ("solid", (0, (4, 2)), (0, (1, 1.5)))  # node kinds of one cloud


def plot_curve(made: Sequence[Estimate], path: str) -> None:
    """Draws estimates of one workload, of one or more node kinds, into a PNG or SVG file.

    Raises InputError as `check_plot_path` does.
    """
    check_plot_path(path)
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11.0, 5.4), layout="constrained")
    left, right = figure.subplots(1, 2)
    _draw(left, made, lambda one: one.total_s / 60)
    _draw(right, made, lambda one: one.on_demand_usd)
    left.axhline(NODE_START_S / 60, color=_FAINT, linewidth=1, linestyle=(0, (2, 2)), zorder=1)
    left.annotate(
        "nodes coming up", (0.99, NODE_START_S / 60), (0, 3), xycoords=("axes fraction", "data"),
        textcoords="offset points", ha="right", fontsize=8, color=_FAINT,
    )  # fmt: skip
    _dress(left, made, "minutes, from nothing to the last part", "{x:,.10g}")
    _dress(right, made, "US dollars a run, on demand", "${x:,.10g}")
    _title(figure, made)
    handles, labels = left.get_legend_handles_labels()
    figure.legend(
        handles, labels, loc="outside lower center", ncols=3, frameon=False, fontsize=9, labelcolor=_INK
    )  # fmt: skip
    figure.savefig(path, dpi=150, facecolor="white")


def _draw(axes: Axes, made: Sequence[Estimate], value_of: Callable[[Estimate], float]) -> None:
    nodes = list(dict.fromkeys(one.node for one in made))
    for place, node in enumerate(nodes):
        ours = [one for one in made if one.node == node]
        siblings = [other for other in nodes if other.cloud == node.cloud]
        label = f"{node.node} ({node.cloud}, {node.devices} x {node.accelerator.upper()})" + _unsure(node)
        counts, values = [one.num_devices for one in ours], [value_of(one) for one in ours]
        style = _DASHES[siblings.index(node) % len(_DASHES)]
        colour = _COLOURS.get(node.cloud, _OTHER)
        width = 1.6 + 1.8 * (len(nodes) - 1 - place)  # the first is seen behind those that lie on it
        axes.plot(
            counts, values, color=colour, linewidth=width, linestyle=style, marker="o", markersize=width + 3,
            label=label, zorder=3,
        )  # fmt: skip
    _mark(axes, made, value_of)


def _unsure(node: Node) -> str:
    return ", price not confirmed" if node.confirmed == "none" else ""


def _mark(axes: Axes, made: Sequence[Estimate], value_of: Callable[[Estimate], float]) -> None:
    """A ring where something other than the devices limits, a cross where something breaks; each kind in the legend once."""
    for broken, marker, words in ((False, "o", "limited by"), (True, "X", "breaks")):
        named: dict[str, list[Estimate]] = {}
        for one in made:
            first = limits(one)[0]
            if first.name != "devices" and (first.use > 1) == broken:
                named.setdefault(first.name, []).append(one)
        for name, ones in named.items():
            label = f"{words}: {name}" if not broken else f"{name} breaks"
            face = _RED if broken else "none"
            axes.scatter(
                [one.num_devices for one in ones], [value_of(one) for one in ones], s=90, marker=marker,
                facecolors=face, edgecolors=_RED, linewidths=1.4, label=label, zorder=4,
            )  # fmt: skip


def _dress(axes: Axes, made: Sequence[Estimate], label: str, form: str) -> None:
    from matplotlib.ticker import FixedLocator, LogLocator, NullLocator

    counts = sorted({2**n for n in range(max(one.num_devices for one in made).bit_length())})
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    axes.set_xlim(0.85, counts[-1] * 1.3)
    axes.xaxis.set_major_locator(FixedLocator(counts))
    axes.xaxis.set_major_formatter("{x:.0f}")
    axes.xaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_major_formatter(form)
    axes.yaxis.set_minor_locator(NullLocator())
    axes.set_ylim(*_round_bounds(*axes.get_ylim()))
    fewest = min(one.num_devices for one in made)
    if fewest > 1:
        axes.axvspan(0.85, fewest * 0.93, color="#f2f2f2", zorder=0)
        axes.text(
            0.02, 0.5, f"fewer than {fewest}\ncannot hold\nthe items", transform=axes.transAxes, fontsize=8, color=_FAINT,
            va="center",
        )  # fmt: skip
    axes.set_xlabel("devices", color=_INK)
    axes.set_title(label, loc="left", fontsize=11, color=_INK)
    axes.grid(color="#e8e8e8", zorder=0)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.spines["bottom"].set_color(_FAINT)
    axes.tick_params(axis="both", length=0, labelcolor=_INK)


def _round_bounds(low: float, high: float) -> tuple[float, float]:
    """The nearest of 1, 2, 5, 10, ... outside, so that each end of the axis has a label."""
    steps = [digit * 10.0**power for power in range(-4, 12) for digit in (1, 2, 5)]
    return max(step for step in steps if step <= low), min(step for step in steps if step >= high)


def _title(figure: Any, made: Sequence[Estimate]) -> None:
    work, largest = made[0].workload, made[-1]
    found = limits(largest)
    first = next(limit for limit in found if limit.name not in ("devices", "network"))
    said = "it cannot be done so" if found[0].use > 1 else "what comes first"
    figure.suptitle(
        f"{work.num_users:,} users x {work.num_items:,} items x {work.dimension}, K = {work.k}\n"
        f"scoring {largest.rates.source}; {said}: {first.name} {first.until}",
        x=0.01, ha="left", fontsize=11, color=_INK,
    )  # fmt: skip
