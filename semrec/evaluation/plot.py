"""Draws an evaluation: what each model reached, with its interval, and how many users its most frequent item reaches."""

from __future__ import annotations

from semrec.evaluation.report import EvaluationReport
from semrec.plotting import check_plot_path

__all__ = ["plot_report"]

_OURS, _OTHERS = "#3b7cc4", "#8a8a8a"


def plot_report(report: EvaluationReport, path: str, *, metric: str, baseline: str = "popularity") -> None:
    """Draws a metric of all models into a PNG or SVG file, the best on top; dashed: the baseline.

    Raises InputError as `check_plot_path` does.
    """
    check_plot_path(path)
    from matplotlib.figure import Figure

    names = sorted(report.results, key=lambda name: report.results[name].means[metric])
    figure = Figure(figsize=(7.0, 1.2 + 0.4 * len(names)), layout="constrained")
    axes = figure.subplots()
    for place, name in enumerate(names):
        mean, (low, high) = report.results[name].means[metric], report.results[name].intervals[metric]
        colour = _OTHERS if name == baseline else _OURS
        axes.errorbar(mean, place, xerr=[[mean - low], [high - mean]], fmt="o", color=colour, capsize=3)
    if baseline in report.results:
        axes.axvline(report.results[baseline].means[metric], color=_OTHERS, linestyle="--", linewidth=1)
    axes.set_yticks(range(len(names)), names)
    axes.set_xlim(left=0)
    axes.set_xlabel(f"{metric}, mean over {report.protocol['tested_users']:,} users and 95 % interval")
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=160, facecolor="white")
