from __future__ import annotations

import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.lines import Line2D

from .files import save_figure
from .style import PREDICTION, TEACHER, TRUTH, fitted, new_figure, show_slice, to_image, to_mask

__all__ = ["best_and_worst", "draw_legend", "draw_outlined", "plot_best_and_worst", "plot_predictions"]

_PANEL_INCHES = 2.15


def plot_predictions(
    images: Sequence[Any],
    truths: Sequence[Any] | None,
    predictions: Sequence[Any],
    path: str | os.PathLike[str],
    titles: Sequence[str] | None = None,
    scores: Sequence[float] | None = None,
    columns: int = 4,
    title: str = "",
    score_name: str = "Dice",
    teachers: Sequence[Any] | None = None,
) -> Path:
    """Draw a grid of slices, the truth outlined in blue, the prediction in orange and a teacher's in dashed pink.

    Args:
        images: slices (H, W) or (C, H, W), arrays or tensors; the first channel is shown.
        truths: masks on the same grids; None where there is no truth, as in inference.
        predictions: masks, or probabilities, which are outlined at 0.5.
        path: where the PNG goes.
        titles: a line, or several, above each panel.
        scores: a number for each panel; NaN is written as a dash.
        columns: panels in a row.
        title: above the grid.
        score_name: what the numbers are.
        teachers: the teacher's masks or probabilities, where the predictions are a student's.

    Raises:
        ValueError: when there are no images, the lists differ in length, ``columns`` < 1, or a mask is not on the grid
            of its image.
    """
    count = len(images)
    lists = {"truths": truths, "predictions": predictions, "titles": titles, "scores": scores, "teachers": teachers}
    lengths = {name: len(values) for name, values in lists.items() if values is not None}
    if not count or columns < 1:
        raise ValueError(f"nothing to draw: {count} images in {columns} columns")
    if any(length != count for length in lengths.values()):
        raise ValueError(f"there are {count} images, but {lengths}; give one entry per image")
    columns = min(columns, count)
    lines = math.ceil(count / columns)
    above = 0.15 + 0.15 * max(text.count("\n") + 1 for text in titles or [""])
    figure = new_figure(_PANEL_INCHES * columns + 0.2, (_PANEL_INCHES + above) * lines + (0.85 if title else 0.5))
    panels = figure.subplots(lines, columns, squeeze=False).ravel()
    for i, axes in enumerate(panels):
        if i >= count:
            axes.set_visible(False)
            continue
        truth, teacher = (None if masks is None else masks[i] for masks in (truths, teachers))
        draw_outlined(axes, images[i], truth, predictions[i], teacher)
        caption = [titles[i]] if titles else []
        if scores is not None:
            caption.append(f"{score_name} {_number(scores[i])}")
        axes.set_title(fitted("  ".join(caption)), fontsize=8.5, pad=3)
    draw_legend(figure, truths is not None, title, teachers is not None)
    return save_figure(figure, path)


def plot_best_and_worst(
    images: Sequence[Any],
    truths: Sequence[Any],
    predictions: Sequence[Any],
    scores: Sequence[float],
    path: str | os.PathLike[str],
    titles: Sequence[str] | None = None,
    n: int = 4,
    title: str = "",
    score_name: str = "Dice",
) -> Path:
    """Draw the ``n`` best slices in a row above the ``n`` worst; fewer where there are not that many.

    Args as ``plot_predictions``; larger scores are better, and slices without a score (NaN) are left out.

    Raises:
        ValueError: when no score is defined, and as ``plot_predictions``.
    """
    best, worst = best_and_worst(scores, n)
    if not best:
        raise ValueError("no slice has a defined score, so none is best or worst")
    columns = max(len(best), len(worst))
    rows = [("best", best)] + ([("worst", worst)] if worst else [])
    figure = new_figure(_PANEL_INCHES * columns + 0.5, (_PANEL_INCHES + 0.3) * len(rows) + (0.85 if title else 0.5))
    for (name, chosen), panels in zip(rows, figure.subplots(len(rows), columns, squeeze=False)):
        for axes in panels[len(chosen) :]:
            axes.set_visible(False)
        for axes, i in zip(panels, chosen):
            draw_outlined(axes, images[i], truths[i], predictions[i])
            label = f"{titles[i]}  " if titles else ""
            axes.set_title(fitted(f"{label}{score_name} {_number(scores[i])}"), fontsize=8.5, pad=3)
        panels[0].set_ylabel(name, fontsize=10, labelpad=6)
    draw_legend(figure, True, title)
    return save_figure(figure, path)


def best_and_worst(scores: Sequence[float], n: int = 4) -> tuple[list[int], list[int]]:
    """Indices of the ``n`` highest scores, highest first, and of the ``n`` lowest, lowest first.

    None is in both: with fewer than 2n defined scores the better half is best. NaN takes no part; of equal scores the
    earlier comes first.
    """
    order = sorted((i for i, s in enumerate(scores) if not math.isnan(s)), key=lambda i: (-scores[i], i))
    best = order[: min(n, math.ceil(len(order) / 2))]
    rest = order[len(best) :]
    return best, sorted(rest, key=lambda i: (scores[i], i))[:n]


def draw_outlined(axes: Any, image: Any, truth: Any | None, prediction: Any, teacher: Any | None = None) -> None:
    """One slice with its outlines; the truth below, so that a prediction that covers it is seen."""
    picture = to_image(image)
    show_slice(axes, picture)
    outlines = ((truth, TRUTH, 1.9, "-"), (prediction, PREDICTION, 1.1, "-"), (teacher, TEACHER, 1.1, (0, (2, 2))))
    for value, color, width, dashes in outlines:
        if value is None:
            continue
        # a frame of background, so that an outline closes where the mask meets the border of the image
        mask = np.pad(to_mask(value, picture.shape), 1).astype(float)
        if mask.any():
            at = [np.arange(-1, size + 1) for size in picture.shape]
            axes.contour(at[1], at[0], mask, levels=[0.5], colors=[color], linewidths=width, linestyles=[dashes])
    axes.set_xlim(-0.5, picture.shape[1] - 0.5)
    axes.set_ylim(picture.shape[0] - 0.5, -0.5)


def draw_legend(figure: Any, with_truth: bool, title: str, with_teacher: bool = False) -> None:
    """What the outlines are, below the panels, and a title above them."""
    handles = [Line2D([], [], color=TRUTH, linewidth=2, label="truth")] if with_truth else []
    name = "student" if with_teacher else "prediction"
    handles.append(Line2D([], [], color=PREDICTION, linewidth=1.4, label=name))
    if with_teacher:
        handles.append(Line2D([], [], color=TEACHER, linewidth=1.4, linestyle=(0, (2, 2)), label="teacher"))
    figure.legend(handles=handles, loc="outside lower center", ncols=3, fontsize=9, frameon=False)
    if title:
        figure.suptitle(title, fontsize=11)


def _number(score: float) -> str:
    return "–" if math.isnan(score) else f"{score:.3f}"
