"""A prediction drawn over its image, pixel for pixel."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping

import numpy as np
from matplotlib.colors import to_rgb
from skimage.segmentation import find_boundaries

from ckdmed.reports.sheet_captions import STRIP, key_strip, number_strip
from ckdmed.reports.style import CYCLE, PREDICTION

__all__ = ["REGION_COLOURS", "draw_overlay", "draw_regions", "overlay_sheet", "region_colours", "region_sheet"]

_TINT = 0.25
#: Okabe and Ito's colours, the outer region first.
REGION_COLOURS = {"WT": "#009e73", "TC": "#56b4e9", "ET": "#d55e00"}


def region_colours(names: Iterable[str]) -> dict[str, str]:
    """The colour of each region, in the order in which they are drawn: BraTS's by name, others one after another."""
    given = list(names)
    if set(given) <= set(REGION_COLOURS):
        return {name: colour for name, colour in REGION_COLOURS.items() if name in given}
    return {name: CYCLE[number % len(CYCLE)] for number, name in enumerate(given)}


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
    return _drawn(picture, [(mask, PREDICTION)])


def draw_regions(picture: np.ndarray, regions: Mapping[str, np.ndarray]) -> np.ndarray:
    """The same for several regions, each in its colour: WT green, TC blue, ET vermilion; others see `region_colours`.

    Args:
        picture: (H, W), finite.
        regions: masks (H, W); a region that lies in another comes after it.

    Returns:
        (H, W, 3) uint8.

    Raises:
        ValueError: the shapes differ or are not 2-D.
    """
    return _drawn(picture, [(regions[name], colour) for name, colour in region_colours(regions).items()])


def _drawn(picture: np.ndarray, layers: list[tuple[np.ndarray, str]]) -> np.ndarray:
    for mask, _ in layers:
        if picture.ndim != 2 or picture.shape != mask.shape:
            raise ValueError(f"an overlay needs image and mask of one shape (H, W), got {picture.shape}, {mask.shape}.")
    values = picture.astype(np.float64)
    inside = values[values > values.min()]
    low, high = np.percentile(inside, [1, 99.8]) if inside.size else (0.0, 1.0)
    grey = np.clip((values - low) / max(high - low, 1e-6), 0, 1)
    colours = np.repeat(grey[..., None], 3, axis=2)
    for mask, name in layers:
        region = mask > 0
        if region.any():
            colour = np.array(to_rgb(name))
            colours[region] = (1 - _TINT) * colours[region] + _TINT * colour
            colours[find_boundaries(np.pad(region, 1), mode="inner")[1:-1, 1:-1]] = colour
    return (colours * 255).round().astype(np.uint8)


def overlay_sheet(
    slices: np.ndarray, masks: np.ndarray, most: int = 12, columns: int = 4, modality: str = ""
) -> np.ndarray:
    """One slice as `draw_overlay` draws it; of a volume a sheet of up to `most` slices, in reading order.

    The slices of a sheet are spread evenly from the first to the last that has a mask; where none has one, from the
    first to the last that is not blank. Above each stands its number, from 0, and below all a key to the colour.

    Args:
        slices: (S, H, W).
        masks: (S, H, W).
        most: slices on the sheet, at least 1.
        columns: slices in a row, at least 1.
        modality: what the slices are, for the key; "" where it is not known.

    Returns:
        (H, W, 3) uint8 of one slice; (rows * (STRIP + H) + STRIP, at least columns * W, 3) of a volume.

    Raises:
        ValueError: the shapes differ or are not 3-D, or a number is below 1.
    """
    if slices.ndim != 3 or slices.shape != masks.shape or min(most, columns, len(slices)) < 1:
        raise ValueError(
            f"a sheet needs slices and masks of one shape (S, H, W), and most and columns of at least 1, got "
            f"{slices.shape}, {masks.shape}, {most}, {columns}."
        )
    sheet = _sheet(slices, masks > 0, lambda i: draw_overlay(slices[i], masks[i]), most, columns)
    return sheet if len(slices) == 1 else _with_key(sheet, {"prediction": PREDICTION}, modality)


def region_sheet(
    slices: np.ndarray, regions: Mapping[str, np.ndarray], most: int = 12, columns: int = 4, modality: str = ""
) -> np.ndarray:
    """`overlay_sheet` with several regions as `draw_regions` draws them, and the key below a single slice too.

    Args:
        slices: (S, H, W).
        regions: masks (S, H, W).
        most, columns, modality: see `overlay_sheet`.

    Returns:
        (H + STRIP, at least W, 3) uint8 of one slice; of a volume as `overlay_sheet`.

    Raises:
        ValueError: as `overlay_sheet`; there are no regions.
    """
    shapes = {mask.shape for mask in regions.values()}
    if slices.ndim != 3 or shapes != {slices.shape} or min(most, columns, len(slices)) < 1:
        raise ValueError(
            f"a sheet needs slices and regions of one shape (S, H, W), and most and columns of at least 1, got "
            f"{slices.shape}, {sorted(shapes)}, {most}, {columns}."
        )
    anything = np.logical_or.reduce([mask > 0 for mask in regions.values()])

    def draw(index: int) -> np.ndarray:
        return draw_regions(slices[index], {name: mask[index] for name, mask in regions.items()})

    return _with_key(_sheet(slices, anything, draw, most, columns), region_colours(regions), modality)


def _sheet(
    slices: np.ndarray, masks: np.ndarray, draw: Callable[[int], np.ndarray], most: int, columns: int
) -> np.ndarray:
    shown = np.flatnonzero(masks.any(axis=(1, 2)))
    if not shown.size:
        shown = np.flatnonzero(slices.max(axis=(1, 2)) > slices.min(axis=(1, 2)))
    first, last = (shown[0], shown[-1]) if shown.size else (0, len(slices) - 1)
    chosen = np.unique(np.linspace(first, last, min(most, last - first + 1)).round().astype(int))
    columns = min(columns, len(chosen))
    height, width = slices.shape[1:]
    above = STRIP if len(slices) > 1 else 0
    sheet = np.zeros((math.ceil(len(chosen) / columns) * (above + height), columns * width, 3), dtype=np.uint8)
    for position, index in enumerate(chosen):
        row, column = divmod(position, columns)
        tile = sheet[row * (above + height) : (row + 1) * (above + height), column * width : (column + 1) * width]
        if above:
            tile[:above] = number_strip(width, int(index))
        tile[above:] = draw(int(index))
    return sheet


def _with_key(sheet: np.ndarray, colours: Mapping[str, str], modality: str) -> np.ndarray:
    key = key_strip(sheet.shape[1], colours, modality)
    return np.concatenate([np.pad(sheet, ((0, 0), (0, key.shape[1] - sheet.shape[1]), (0, 0))), key])
