from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from .files import save_figure
from .style import new_figure

__all__ = ["plot_confusion"]


def plot_confusion(
    matrix: Sequence[Sequence[int]] | np.ndarray,
    path: str | os.PathLike[str],
    class_names: Sequence[str] | None = None,
    title: str = "",
) -> Path:
    """Draw a confusion matrix: truth down, prediction across; count and share of the true class in each cell.

    Args:
        matrix: (C, C) counts, rows the truth.
        path: where the PNG goes.
        class_names: C names; numbers from 0 by default.
        title: above the matrix.

    Raises:
        ValueError: when the matrix is not square, holds negative numbers, or the names are not as many as its rows.
    """
    counts = np.asarray(matrix)
    if counts.ndim != 2 or counts.shape[0] != counts.shape[1] or counts.size == 0 or counts.min() < 0:
        raise ValueError(f"a confusion matrix must be square and hold counts, got shape {counts.shape}")
    names = list(class_names) if class_names is not None else [str(i) for i in range(len(counts))]
    if len(names) != len(counts):
        raise ValueError(f"there are {len(names)} class names for a matrix of {len(counts)} classes")
    totals = counts.sum(axis=1, keepdims=True)
    share = np.divide(counts, totals, out=np.zeros(counts.shape), where=totals > 0)

    size = 1.5 + 1.05 * len(names)
    # the layout leaves a square picture its size and cuts the label beside long names unless there is room for both
    figure = new_figure(size + 1.5 + 0.08 * max(map(len, [*names, "n = 1000"])), size)
    axes: Any = figure.subplots()
    drawn = axes.imshow(share, cmap="Blues", vmin=0, vmax=1)
    for (i, j), value in np.ndenumerate(counts):
        color = "white" if share[i, j] > 0.55 else "#222222"
        text = f"{value:g}\n{share[i, j]:.0%}" if totals[i] else "0"
        axes.text(j, i, text, ha="center", va="center", fontsize=10, color=color)
    axes.set_xticks(range(len(names)), names, fontsize=9)
    axes.set_yticks(range(len(names)), [f"{n}\n(n = {int(t):d})" for n, t in zip(names, totals[:, 0])], fontsize=9)
    axes.set_xlabel("predicted", fontsize=9)
    axes.set_ylabel("truth", fontsize=9)
    axes.set_xticks(np.arange(len(names) - 1) + 0.5, minor=True)
    axes.set_yticks(np.arange(len(names) - 1) + 0.5, minor=True)
    axes.grid(which="minor", color="white", linewidth=2)
    axes.tick_params(which="both", length=0)
    for spine in axes.spines.values():
        spine.set_visible(False)
    bar = figure.colorbar(drawn, ax=axes, fraction=0.046, pad=0.03, format=lambda v, _: f"{v:.0%}")
    bar.set_label("share of the true class", fontsize=8)
    bar.ax.tick_params(labelsize=8)
    bar.outline.set_visible(False)
    if title:
        axes.set_title(title, fontsize=11, pad=10)
    return save_figure(figure, path)
