from __future__ import annotations

import math
import os
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.ticker import MaxNLocator

from ckdmed.json_files import JsonFileError, parse_json

from .files import save_figure
from .style import CYCLE, new_figure, tidy_axes

__all__ = ["plot_curves", "read_history"]

Row = Mapping[str, Any]


def read_history(path: str | os.PathLike[str]) -> list[dict[str, Any]]:
    """The rows of a history file, JSON Lines, one object per epoch.

    A last line that was cut off, as a run killed while writing leaves it, is left out with a warning.

    Raises:
        ValueError: when another line is not a JSON object; the message names file and line.
    """
    rows = []
    lines = Path(path).read_text(encoding="utf-8").splitlines()
    last = max((i for i, line in enumerate(lines) if line.strip()), default=-1)
    for number, line in enumerate(lines):
        if not line.strip():
            continue
        try:
            row = parse_json(line, f"{path}: line {number + 1}")
        except JsonFileError as error:
            if number == last:
                warnings.warn(f"{path}: line {number + 1} is cut off and was left out", stacklevel=2)
                continue
            raise ValueError(f"{error} The file is damaged.") from error
        if not isinstance(row, dict):
            raise ValueError(f"{path}: line {number + 1} must hold an object, got {type(row).__name__}")
        rows.append(row)
    return rows


def plot_curves(
    history: str | os.PathLike[str] | Sequence[Row],
    path: str | os.PathLike[str],
    losses: Sequence[str] | None = None,
    metrics: Sequence[str] | None = None,
    x: str = "epoch",
    title: str = "",
) -> Path:
    """Draw the loss terms and the validation metrics of a run over its epochs.

    Two panels, losses to the left and metrics to the right; losses of validation are dashed. The losses are drawn on a
    logarithmic scale when all are positive and the largest exceeds the smallest more than 30 times. The best epoch of
    the first metric is marked. Nested rows are flattened ("train": {"kd": 1} becomes "train/kd"). Where an epoch occurs
    twice, as after a resume, the later row counts.

    Args:
        history: JSON Lines file, or rows; each with ``x`` and numbers. What is missing or null at an epoch leaves a gap
            that the line bridges, so validation every k epochs needs nothing special.
        path: where the PNG goes.
        losses: columns of the left panel; by default those with "loss" in the name and those under "terms/" or
            "train/", weights left out.
        metrics: columns of the right panel; by default the others under "metrics/" and those that begin with "val". The
            highest point of the first one is marked, so larger should be better for it.
        x: column of the horizontal axis.
        title: above the panels.

    Raises:
        ValueError: when there are no rows, a row lacks ``x``, a named column occurs in no row, or nothing can be drawn.
    """
    rows = [_flat(row) for row in (history if not isinstance(history, (str, os.PathLike)) else read_history(history))]
    if not rows:
        raise ValueError("the history has no rows: nothing was trained yet")
    if any(not _number(row.get(x)) for row in rows):
        raise ValueError(f"every row of the history needs the number {x!r}")
    by_x: dict[float, dict[str, Any]] = {}
    for row in rows:
        by_x[float(row[x])] = by_x.get(float(row[x]), {}) | row
    names = [k for k in dict.fromkeys(name for row in rows for name in row) if k != x]
    columns = {
        name: [(at, float(row[name])) for at, row in sorted(by_x.items()) if _number(row.get(name))] for name in names
    }
    columns = {name: points for name, points in columns.items() if points}
    for name in [*(losses or ()), *(metrics or ())]:
        if name not in columns:
            raise ValueError(f"the history has no numbers under {name!r}; it has {', '.join(columns) or 'none'}")
    left = list(losses) if losses is not None else [name for name in columns if _is_loss(name)]
    scores = [*filter(_is_validation, columns), *filter(_is_training_score, columns)]
    right = list(metrics) if metrics is not None else [name for name in scores if name not in left]
    if not left and not right:
        raise ValueError(f"nothing to draw: name the columns with losses= and metrics=; there are {', '.join(columns)}")

    panels = [names for names in (left, right) if names]
    figure = new_figure(5.6 * len(panels), 3.9)
    if title:
        figure.suptitle(title, fontsize=11, x=0.01, ha="left")
    for axes, own in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels):
        tidy_axes(axes)
        for i, name in enumerate(own):
            at, values = zip(*columns[name])
            dashed = _is_validation(name) if own is left else _is_training_score(name)
            style = "--" if dashed else "-"
            marker = "o" if len(at) < 40 else None
            color = CYCLE[i % len(CYCLE)]
            axes.plot(at, values, style, color=color, marker=marker, markersize=2.5, linewidth=1.4, label=name)
        axes.set_xlabel(x, fontsize=9)
        both = any(map(_is_training_score, own))
        axes.set_ylabel("loss" if own is left else "metric" if both else "validation metric", fontsize=9)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        drawn = [value for name in own for _, value in columns[name]]
        if own is left and min(drawn) > 0 and max(drawn) / min(drawn) > 30:
            axes.set_yscale("log")
        if own is right:
            best, value = max(columns[own[0]], key=lambda point: point[1])
            axes.plot([best], [value], "o", markersize=9, markerfacecolor="none", color=CYCLE[0])
            axes.lines[0].set_label(f"{own[0]}  (best {value:.4g} at {best:g})")
        axes.legend(fontsize=8, frameon=False, ncols=2 if len(own) > 5 else 1)
    return save_figure(figure, path)


def _flat(row: Row, prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in row.items():
        flat |= _flat(value, f"{prefix}{name}/") if isinstance(value, Mapping) else {f"{prefix}{name}": value}
    return flat


def _number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _is_loss(name: str) -> bool:
    lower = name.lower()
    if lower.startswith(("weights/", "weight/")):
        return False
    return "loss" in lower or lower.startswith(("terms/", "train/"))


def _is_validation(name: str) -> bool:
    return name.lower().startswith(("val", "metrics/"))


def _is_training_score(name: str) -> bool:
    return name.lower().startswith("training/")
