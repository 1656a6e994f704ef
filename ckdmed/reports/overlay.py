"""A prediction drawn over its image, pixel for pixel."""

from __future__ import annotations

import math

import numpy as np
from matplotlib.colors import to_rgb
from skimage.segmentation import find_boundaries

from ckdmed.reports.style import PREDICTION

__all__ = ["draw_overlay", "overlay_sheet"]

_TINT = 0.25


def draw_overlay(picture: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """The image in grey, the mask tinted and outlined in orange.

    The window runs from the 1st to the 99.8th percentile of what is not the minimum.

    Args:
        picture: (H, W), finite.
        mask: (H, W), 0 outside.

    Returns:
        (H, W, 3) uint8.

    Raises:
        ValueError: the shapes differ or are not 2-D.
    """
    if picture.ndim != 2 or picture.shape != mask.shape:
        raise ValueError(f"an overlay needs image and mask of one shape (H, W), got {picture.shape}, {mask.shape}.")
    values = picture.astype(np.float64)
    inside = values[values > values.min()]
    low, high = np.percentile(inside, [1, 99.8]) if inside.size else (0.0, 1.0)
    grey = np.clip((values - low) / max(high - low, 1e-6), 0, 1)
    colours = np.repeat(grey[..., None], 3, axis=2)
    region = mask > 0
    if region.any():
        orange = np.array(to_rgb(PREDICTION))
        colours[region] = (1 - _TINT) * colours[region] + _TINT * orange
        colours[find_boundaries(np.pad(region, 1), mode="inner")[1:-1, 1:-1]] = orange
    return (colours * 255).round().astype(np.uint8)


def overlay_sheet(slices: np.ndarray, masks: np.ndarray, most: int = 12, columns: int = 4) -> np.ndarray:
    """One slice as `draw_overlay` draws it; of a volume a sheet of up to `most` slices, in reading order.

    The slices of a sheet are spread evenly from the first to the last that has a mask; where none has one, from the
    first to the last that is not blank.

    Args:
        slices: (S, H, W).
        masks: (S, H, W).
        most: slices on the sheet, at least 1.
        columns: slices in a row, at least 1.

    Returns:
        (rows * H, columns * W, 3) uint8.

    Raises:
        ValueError: the shapes differ or are not 3-D, or a number is below 1.
    """
    if slices.ndim != 3 or slices.shape != masks.shape or min(most, columns, len(slices)) < 1:
        raise ValueError(
            f"a sheet needs slices and masks of one shape (S, H, W), and most and columns of at least 1, got "
            f"{slices.shape}, {masks.shape}, {most}, {columns}."
        )
    shown = np.flatnonzero((masks > 0).any(axis=(1, 2)))
    if not shown.size:
        shown = np.flatnonzero(slices.max(axis=(1, 2)) > slices.min(axis=(1, 2)))
    first, last = (shown[0], shown[-1]) if shown.size else (0, len(slices) - 1)
    chosen = np.unique(np.linspace(first, last, min(most, last - first + 1)).round().astype(int))
    columns = min(columns, len(chosen))
    height, width = slices.shape[1:]
    sheet = np.zeros((math.ceil(len(chosen) / columns) * height, columns * width, 3), dtype=np.uint8)
    for position, index in enumerate(chosen):
        row, column = divmod(position, columns)
        tile = draw_overlay(slices[index], masks[index])
        sheet[row * height : (row + 1) * height, column * width : (column + 1) * width] = tile
    return sheet
