"""A score over the severities of corruptions, for one or several networks."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from pathlib import Path

from .drawn_values import VALUES
from .files import plain, save_figure
from .style import CYCLE, new_figure, tidy_axes

__all__ = ["plot_severities"]

#: a score with the ends of its interval, NaN where it has none
Estimate = tuple[float, float, float]

_MOST_IN_A_ROW = 4
# networks are moved apart, so that one interval does not hide the other
_APART = 0.06


def plot_severities(
    panels: Mapping[str, Mapping[str, Mapping[int, Estimate]]],
    values: Mapping[str, Mapping[int, float]],
    clean: Mapping[str, Estimate],
    score: str,
    path: str | os.PathLike[str],
) -> Path:
    """Draw a panel for each kind of corruption, on one scale of the score: a line for each network with its intervals,
    and dashed in its colour the score on the images as they are.

    The file keeps the numbers that it shows, see :func:`~ckdmed.reports.read_values`.

    Args:
        panels: kind -> network -> severity -> its score.
        values: kind -> severity -> what the severity is of this kind, below the axis.
        clean: network -> its score on the images as they are.
        score: its name.
        path: where the PNG goes.

    Raises:
        ValueError: there is nothing to draw.
    """
    if not panels or not all(line for networks in panels.values() for line in networks.values()):
        raise ValueError(f"nothing to draw: every kind of corruption needs networks with scores, got {dict(panels)}.")
    names = list(dict.fromkeys([*clean, *(name for networks in panels.values() for name in networks)]))
    columns = min(len(panels), _MOST_IN_A_ROW)
    rows = math.ceil(len(panels) / columns)
    figure = new_figure(2.9 * columns + 0.7, 2.9 * rows + 0.3)
    grid = figure.subplots(rows, columns, squeeze=False, sharey=True)
    for axes in grid.ravel()[len(panels) :]:
        axes.set_visible(False)
    for axes, (kind, networks) in zip(grid.ravel(), panels.items()):
        tidy_axes(axes)
        axes.set_title(kind, fontsize=10)
        for number, name in enumerate(names):
            color, shift = CYCLE[number % len(CYCLE)], (number - (len(names) - 1) / 2) * _APART
            if name in clean:
                axes.axhline(clean[name][0], color=color, linestyle="--", linewidth=1.1, label=f"{name}, clean")
            line = sorted(networks.get(name, {}).items())
            for severity, (_, low, high) in line:
                axes.plot([severity + shift] * 2, [low, high], color=color, linewidth=1.4, alpha=0.45)
            xs = [severity + shift for severity, _ in line]
            axes.plot(xs, [estimate for _, (estimate, _, _) in line], "-o", color=color, markersize=5, label=name)
        shown = sorted(values.get(kind, {}).items())
        axes.set_xticks([severity for severity, _ in shown], [f"{severity}\n({value:g})" for severity, value in shown])
        axes.set_xlim(0.6, max((severity for severity, _ in shown), default=3) + 0.4)
        axes.set_xlabel("severity", fontsize=9)
    for row in grid:
        row[0].set_ylabel(score, fontsize=9)
    labelled = dict(zip(*reversed(grid[0][0].get_legend_handles_labels())))
    figure.legend(labelled.values(), labelled.keys(), loc="outside lower center", ncols=4, fontsize=9, frameon=False)
    kept = {"score": score, "panels": panels, "clean": clean}
    return save_figure(figure, path, metadata={VALUES: json.dumps(_rounded(plain(kept)))})


def _rounded(value: object) -> object:
    """Six decimals: the last ones differ between processors."""
    if isinstance(value, dict):
        return {key: _rounded(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_rounded(item) for item in value]
    return round(value, 6) if isinstance(value, float) else value
