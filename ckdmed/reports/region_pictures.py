"""Cases with several regions as pictures: a row for each case, a column for each region."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from .files import save_figure
from .predictions import draw_legend, draw_outlined
from .style import fitted, new_figure

__all__ = ["RegionPicture", "plot_region_cases"]

_PANEL_INCHES = 2.15


@dataclass(frozen=True)
class RegionPicture:
    """One slice of a case.

    Args:
        images: (R, H, W), what is shown behind each region.
        truth, prediction: (R, H, W), bool.
        number: of the slice in its volume; None where the case is a slice.
        aspect: height of a pixel by its width.
    """

    images: np.ndarray
    truth: np.ndarray
    prediction: np.ndarray
    number: int | None
    aspect: float = 1.0


def plot_region_cases(
    best: Sequence[tuple[str, RegionPicture]],
    worst: Sequence[tuple[str, RegionPicture]],
    scores: Sequence[Sequence[float]],
    regions: Sequence[str],
    path: str | os.PathLike[str],
    score_name: str = "Dice",
) -> Path:
    """Draw cases one below the other, the best first, then the worst; truth outlined in blue, prediction in orange.

    Args:
        best, worst: name and slice of each case.
        scores: for each case, in the order drawn, a number for each region; NaN is written as a dash.
        regions: names of the columns.
        path: where the PNG goes.
        score_name: what the numbers are.

    Raises:
        ValueError: there are no cases, or not as many scores as cases, or a picture has other regions.
    """
    rows = [("best", *case) for case in best] + [("worst", *case) for case in worst]
    if not rows or len(scores) != len(rows):
        raise ValueError(f"there are {len(rows)} cases and {len(scores)} lists of scores; give one for each case.")
    for (_, name, picture), own in zip(rows, scores):
        if not len(picture.images) == len(picture.truth) == len(picture.prediction) == len(own) == len(regions):
            raise ValueError(f"{name}: a picture and its scores need an entry for each of {', '.join(regions)}.")
    height = sum(_PANEL_INCHES * _shape(picture) + 0.35 for _, _, picture in rows)
    figure = new_figure(_PANEL_INCHES * len(regions) + 0.6, height + 0.6)
    ratios = [_shape(picture) for _, _, picture in rows]
    grid = figure.subplots(len(rows), len(regions), squeeze=False, gridspec_kw={"height_ratios": ratios})
    for (kind, name, picture), own, panels in zip(rows, scores, grid):
        for column, (region, axes) in enumerate(zip(regions, panels)):
            draw_outlined(axes, picture.images[column], picture.truth[column], picture.prediction[column])
            axes.set_aspect(picture.aspect)
            value = "–" if math.isnan(own[column]) else f"{own[column]:.3f}"
            axes.set_title(f"{region}  {score_name} {value}", fontsize=8.5, pad=3)
        place = "" if picture.number is None else f"\nslice {picture.number}"
        panels[0].set_ylabel(f"{kind}: {fitted(name)}{place}", fontsize=7.5, labelpad=4)
    draw_legend(figure, True, "")
    return save_figure(figure, path)


def _shape(picture: RegionPicture) -> float:
    """Height of a panel by its width, within reason."""
    height, width = picture.images.shape[1:]
    return float(np.clip(picture.aspect * height / width, 0.3, 2.0))
