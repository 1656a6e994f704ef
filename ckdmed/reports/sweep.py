"""Pictures of a sweep: a score over the values of one setting, or over those of two."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from .drawn_values import VALUES
from .files import plain, save_figure
from .style import CYCLE, new_figure, tidy_axes

__all__ = ["plot_sweep", "plot_sweep_grid"]

# from this ratio of the largest to the smallest value on, an axis is logarithmic
_LOG_FROM = 8.0


def plot_sweep(
    lines: Mapping[str, Mapping[Any, Sequence[float]]],
    score: str,
    path: str | os.PathLike[str],
    reference: Sequence[float] = (),
    reference_name: str = "",
) -> Path:
    """Draw a score over the values of settings, a panel for each setting, on one scale of the score.

    A line joins the means over runs, the band around it is their standard deviation, and dots are the runs. Numbers
    stand where they are, on a logarithmic axis where they span a factor of 8. Where a value is none, such as null, they
    stand side by side in no order, and bars take the place of the line. A dashed line and its band are the reference's.

    The file keeps the numbers that it shows, see :func:`~ckdmed.reports.read_values`.

    Args:
        lines: setting -> its value -> the score of each run, in the order to draw.
        score: its name.
        path: where the PNG goes.
        reference: the scores of the runs to compare with.
        reference_name: what these are.

    Raises:
        ValueError: there is nothing to draw, or a value without a run.
    """
    if not lines or not all(lines.values()) or not all(runs for line in lines.values() for runs in line.values()):
        raise ValueError(f"nothing to draw: every setting of a sweep needs values with runs, got {dict(lines)}.")
    figure = new_figure(3.6 * len(lines) + 0.6, 3.2)
    grid = figure.subplots(1, len(lines), squeeze=False, sharey=True)[0]
    for axes, (name, line) in zip(grid, lines.items()):
        tidy_axes(axes)
        at = _places(axes, list(line))
        means, spreads = [np.mean(runs) for runs in line.values()], [_spread(runs) for runs in line.values()]
        order = np.argsort(at)
        xs, ys, sd = np.array(at)[order], np.array(means)[order], np.array(spreads)[order]
        if all(map(_is_number, line)):
            axes.fill_between(xs, ys - sd, ys + sd, color=CYCLE[0], alpha=0.18, linewidth=0)
            axes.plot(xs, ys, "-o", color=CYCLE[0], markersize=5, linewidth=1.6)
        else:
            axes.errorbar(xs, ys, sd, fmt="o", color=CYCLE[0], markersize=5, linewidth=1.6)
        for x, runs in zip(at, line.values()):
            axes.plot([x] * len(runs), runs, ".", color=CYCLE[0], markersize=4, alpha=0.6)
        if len(reference):
            mean, spread = float(np.mean(reference)), _spread(reference)
            axes.axhspan(mean - spread, mean + spread, color=CYCLE[6], alpha=0.15, linewidth=0)
            axes.axhline(mean, color=CYCLE[6], linestyle="--", linewidth=1.2, label=reference_name)
        axes.set_xlabel(name, fontsize=9)
    grid[0].set_ylabel(score, fontsize=9)
    if len(reference):
        grid[0].legend(fontsize=8, frameon=False)
    values = {name: {_text(value): list(runs) for value, runs in line.items()} for name, line in lines.items()}
    kept = {"score": score, "lines": values, "reference": list(reference)}
    return save_figure(figure, path, metadata={VALUES: json.dumps(plain(kept))})


def plot_sweep_grid(
    cells: Mapping[tuple[Any, Any], Sequence[float]], names: tuple[str, str], score: str, path: str | os.PathLike[str]
) -> Path:
    """Draw a score over the values of two settings: each cell the mean over runs, with their standard deviation.

    A combination without a run stays empty. The file keeps its numbers, see :func:`~ckdmed.reports.read_values`.

    Args:
        cells: values of both settings -> the score of each run; in the order to draw.
        names: of the settings: of the columns, and of the rows.
        score: its name.
        path: where the PNG goes.

    Raises:
        ValueError: there is nothing to draw.
    """
    if not cells or not all(cells.values()):
        raise ValueError(f"nothing to draw: a grid needs combinations with runs, got {dict(cells)}.")
    columns, rows = (list(dict.fromkeys(_text(pair[side]) for pair in cells)) for side in (0, 1))
    means = np.full((len(rows), len(columns)), math.nan)
    figure = new_figure(1.1 * len(columns) + 2.4, 0.7 * len(rows) + 1.6)
    axes = figure.subplots()
    for (x, y), runs in cells.items():
        means[rows.index(_text(y)), columns.index(_text(x))] = np.mean(runs)
    image = axes.imshow(means, cmap="viridis", aspect="auto")
    middle = (np.nanmin(means) + np.nanmax(means)) / 2
    for (x, y), runs in cells.items():
        row, column = rows.index(_text(y)), columns.index(_text(x))
        spread = f"\n± {_spread(runs):.4f}" if len(runs) > 1 else ""
        color = "white" if means[row, column] <= middle else "black"
        axes.text(column, row, f"{means[row, column]:.4f}{spread}", ha="center", va="center", color=color, fontsize=8)
    axes.set_xticks(range(len(columns)), columns, fontsize=8)
    axes.set_yticks(range(len(rows)), rows, fontsize=8)
    axes.set_xlabel(names[0], fontsize=9)
    axes.set_ylabel(names[1], fontsize=9)
    figure.colorbar(image, ax=axes, label=score)
    kept = {
        "score": score,
        "names": names,
        "cells": [[_text(x), _text(y), list(runs)] for (x, y), runs in cells.items()],
    }
    return save_figure(figure, path, metadata={VALUES: json.dumps(plain(kept))})


def _places(axes: Any, values: Sequence[Any]) -> list[float]:
    """Where on the axis the values stand; sets its scale and its ticks."""
    numbers = [float(value) for value in values if _is_number(value)]
    at = numbers if len(numbers) == len(values) else [float(place) for place in range(len(values))]
    if at is numbers and min(numbers) > 0 and max(numbers) / min(numbers) >= _LOG_FROM:
        axes.set_xscale("log")
        axes.minorticks_off()
    axes.set_xticks(at, [f"{value:g}" if _is_number(value) else _text(value) for value in values])
    return at


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _spread(runs: Sequence[float]) -> float:
    return float(np.std(runs, ddof=1)) if len(runs) > 1 else 0.0


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)
