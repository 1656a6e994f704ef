"""A score of several networks against what each of them costs."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.ticker import LogLocator, NullFormatter

from .drawn_values import VALUES
from .files import plain, save_figure
from .style import CYCLE, new_figure, tidy_axes

__all__ = ["CostPoint", "plot_against_costs"]


@dataclass(frozen=True)
class CostPoint:
    """One network.

    Attributes:
        name: to print beside its point.
        costs: name -> its cost, larger than 0.
        scores: of its runs.
    """

    name: str
    costs: Mapping[str, float]
    scores: Sequence[float]


def plot_against_costs(
    lines: Mapping[str, Sequence[CostPoint]], score: str, path: str | os.PathLike[str], upper: CostPoint | None = None
) -> Path:
    """Draw a score against each cost, a panel for each, on logarithmic axes of the costs.

    A line joins the means over runs, bars are their standard deviation where there are several. The file keeps the
    numbers that it shows, see :func:`~ckdmed.reports.read_values`.

    Args:
        lines: name -> its networks, all with the same costs.
        score: its name.
        path: where the PNG goes.
        upper: a network to reach, such as the teacher: a dashed line, and its point where its costs are.

    Raises:
        ValueError: there is nothing to draw, a network without a run, or networks with other costs.
    """
    points = [point for line in lines.values() for point in line]
    names = list(points[0].costs) if points else []
    everything = [*points, upper] if upper else points
    if not names or any(list(p.costs) != names or not len(p.scores) or min(p.costs.values()) <= 0 for p in everything):
        raise ValueError(f"nothing to draw: every network needs runs and the same costs above 0, got {everything}.")
    figure = new_figure(4.2 * len(names) + 0.6, 3.6)
    grid = figure.subplots(1, len(names), squeeze=False, sharey=True)[0]
    for axes, cost in zip(grid, names):
        tidy_axes(axes)
        axes.set_xscale("log")
        for color, (label, line) in zip(CYCLE, lines.items()):
            ordered = sorted(line, key=lambda point: point.costs[cost])
            at = [point.costs[cost] for point in ordered]
            means = [float(np.mean(point.scores)) for point in ordered]
            spreads = [float(np.std(p.scores, ddof=1)) if len(p.scores) > 1 else 0.0 for p in ordered]
            axes.errorbar(at, means, yerr=spreads, fmt="-o", color=color, markersize=5, capsize=2, label=label)
        for first in {point.name: point for point in points}.values():
            best = max(float(np.mean(point.scores)) for point in points if point.name == first.name)
            axes.annotate(
                first.name, (first.costs[cost], best), (0, 9), textcoords="offset points", ha="center", fontsize=8
            )
        if upper is not None:
            mean = float(np.mean(upper.scores))
            axes.axhline(mean, color=CYCLE[6], linestyle="--", linewidth=1.2, label=upper.name)
            axes.plot([upper.costs[cost]], [mean], "D", color=CYCLE[6], markersize=5)
        axes.margins(y=0.12)
        # few round numbers, not powers of ten
        axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        axes.xaxis.set_major_formatter("{x:g}")
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.set_xlabel(cost, fontsize=9)
    grid[0].set_ylabel(score, fontsize=9)
    grid[0].legend(fontsize=8, frameon=False)
    kept = {
        "score": score,
        "lines": {label: [_as_json(point) for point in line] for label, line in lines.items()},
        "upper": _as_json(upper) if upper else None,
    }
    return save_figure(figure, path, metadata={VALUES: json.dumps(plain(kept))})


def _as_json(point: CostPoint) -> dict[str, object]:
    return {"name": point.name, "costs": dict(point.costs), "scores": list(point.scores)}
