from __future__ import annotations

import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.patches import Patch

from .files import save_figure
from .style import BAD, fitted, new_figure, show_slice, to_image

__all__ = ["plot_classified"]

_PANEL_INCHES = 2.15


def plot_classified(
    images: Sequence[Any],
    labels: Sequence[int] | None,
    probabilities: Sequence[Sequence[float]] | np.ndarray,
    class_names: Sequence[str],
    path: str | os.PathLike[str],
    titles: Sequence[str] | None = None,
    columns: int = 4,
    title: str = "",
    teacher_probabilities: Sequence[Sequence[float]] | np.ndarray | None = None,
) -> Path:
    """Draw a grid of slices with the predicted class, its probability and the truth; wrong ones framed and in red.

    Args:
        images: slices (H, W) or (C, H, W), arrays or tensors; the first channel is shown.
        labels: true classes from 0; None where there is no truth.
        probabilities: (N, C).
        class_names: C names.
        path: where the PNG goes.
        titles: a line, or several, above the prediction, the id for example.
        columns: panels in a row.
        title: above the grid.
        teacher_probabilities: (N, C), of the student's teacher, whose class and probability stand below.

    Raises:
        ValueError: when there are no images, ``columns`` < 1, the lists differ in length, or a label has no name.
    """
    count, shape = len(images), np.shape(probabilities)
    if not count or columns < 1:
        raise ValueError(f"nothing to draw: {count} images in {columns} columns")
    if shape != (count, len(class_names)) or any(x is not None and len(x) != count for x in (labels, titles)):
        raise ValueError(
            f"there are {count} images and {len(class_names)} class names, but probabilities of shape {shape}, "
            f"{'no' if labels is None else len(labels)} labels and {'no' if titles is None else len(titles)} titles"
        )
    if teacher_probabilities is not None and np.shape(teacher_probabilities) != shape:
        raise ValueError(f"the teacher's probabilities have shape {np.shape(teacher_probabilities)}, not {shape}")
    if labels is not None and not all(0 <= int(label) < len(class_names) for label in labels):
        raise ValueError(f"labels must lie from 0 to {len(class_names) - 1}, got {sorted({int(x) for x in labels})}")
    columns = min(columns, count)
    rows = math.ceil(count / columns)
    lines = 1 + (labels is not None) + (teacher_probabilities is not None)
    lines += max(text.count("\n") + 1 for text in titles) if titles else 0
    height = (_PANEL_INCHES + 0.2 + 0.15 * lines) * rows
    figure = new_figure(_PANEL_INCHES * columns + 0.2, height + (0.4 if title else 0.1) + (0.35 if labels else 0))
    for i, axes in enumerate(figure.subplots(rows, columns, squeeze=False).ravel()):
        if i >= count:
            axes.set_visible(False)
            continue
        show_slice(axes, to_image(images[i]))
        predicted = int(np.argmax(probabilities[i]))
        wrong = labels is not None and predicted != int(labels[i])
        prediction = _class_and_probability(probabilities[i], class_names)
        if teacher_probabilities is not None:
            prediction = f"student: {prediction}"
        above = f"{titles[i]}\n{prediction}" if titles else prediction
        axes.set_title(fitted(above), fontsize=8.5, pad=3, color=BAD if wrong else "black")
        below = [] if labels is None else [f"truth: {class_names[int(labels[i])]}"]
        if teacher_probabilities is not None:
            below.append(f"teacher: {_class_and_probability(teacher_probabilities[i], class_names)}")
        axes.set_xlabel(fitted("\n".join(below)), fontsize=8, labelpad=3)
        for spine in axes.spines.values():
            # a frame as well: colour alone does not reach every reader
            spine.set(visible=wrong, color=BAD, linewidth=2.5)
    if labels is not None:
        key = Patch(facecolor="none", edgecolor=BAD, linewidth=2, label="framed: another class than the truth")
        figure.legend(handles=[key], loc="outside lower center", fontsize=9, frameon=False)
    if title:
        figure.suptitle(title, fontsize=11)
    return save_figure(figure, path)


def _class_and_probability(probabilities: Any, class_names: Sequence[str]) -> str:
    predicted = int(np.argmax(probabilities))
    return f"{class_names[predicted]} {float(probabilities[predicted]):.2f}"
