"""Intensities and sizes of slices in NumPy, step by step as MONAI and PyTorch compute them in `ckdmed.recipes`.

PyTorch is not there where this runs. Float32 operations are done in the same order, so that masks come out the same.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from ckdmed.tile_equalisation import EQUALISATIONS, equalise_tiles

__all__ = [
    "SCALINGS",
    "area_resized",
    "colour_copies",
    "eight_bit",
    "equalised",
    "imagenet_images",
    "scaled",
    "smoothly_resized",
    "unit_range",
]

# more values than this MONAI gives to NumPy's percentile instead of PyTorch's quantile
_QUANTILE_LIMIT = 1_000_000
_MEAN = (0.485, 0.456, 0.406)
_STD = (0.229, 0.224, 0.225)


def equalised(images: np.ndarray, clahe: bool | str) -> np.ndarray:
    """Each image (N, H, W) with its histogram equalised, as `ckdmed.transforms.SliceIntensity` does it before scaling.

    Raises:
        ValueError: another value than true, false and global.
    """
    if clahe is False:
        return images
    if clahe not in EQUALISATIONS:
        raise ValueError(f"clahe must be true, false or 'global', got {clahe!r}.")
    clip_limit, tiles = EQUALISATIONS[clahe]
    size = [-(-edge // tiles) for edge in images.shape[1:]]
    result = np.zeros(images.shape, np.float32)
    for image, out in zip(images, result):
        # one of a single value has no contrast
        if image.min() != image.max():
            equalise_tiles(image, size, clip_limit, 256, out=out)
    return result


def scaled(images: np.ndarray, scaling: str = "percentiles") -> np.ndarray:
    """Each image (N, H, W) scaled by its own values, as `ckdmed.transforms.SliceIntensity` does it.

    Raises:
        ValueError: another scaling than percentiles, unit, zscore and report.
    """
    if scaling not in SCALINGS:
        raise ValueError(f"slices are scaled by one of {', '.join(SCALINGS)}, got {scaling!r}.")
    return np.stack([SCALINGS[scaling](image) for image in images])


def colour_copies(images: np.ndarray, scaling: str) -> np.ndarray:
    """Scaled grey images (N, 1, H, W) as (N, 3, H, W), as `ckdmed.transforms.colour_copies` has it."""
    copies = np.repeat(images, 3, axis=1)
    if scaling != "report":
        return copies
    mean, deviation = sum(_MEAN) / 3, sum(_STD) / 3
    shift = np.array([(value - mean) / deviation for value in _MEAN], np.float32).reshape(1, 3, 1, 1)
    factor = np.array([value / deviation for value in _STD], np.float32).reshape(1, 3, 1, 1)
    return (copies - shift) / factor


def _by_percentiles(image: np.ndarray, lower: float = 0.5, upper: float = 99.5) -> np.ndarray:
    low, high = _percentile(image, lower), _percentile(image, upper)
    # where both are one value, as of a slice that shows next to nothing, the difference from it
    span = high - low or np.float32(1)
    return np.clip((image - low) / span, np.float32(0), np.float32(1))


def _by_range(image: np.ndarray, top: float = 1.0) -> np.ndarray:
    low, high = image.min(), image.max()
    return image * np.float32(0) if low == high else (image - low) / (high - low) * np.float32(top)


def _by_deviation(image: np.ndarray) -> np.ndarray:
    deviation = image.std(dtype=np.float64).astype(np.float32)
    return (image - image.mean(dtype=np.float64).astype(np.float32)) / (deviation if deviation else np.float32(1))


def _as_reported(image: np.ndarray) -> np.ndarray:
    mean, deviation = (np.float32(sum(values) / 3) for values in (_MEAN, _STD))
    return (np.rint(_by_range(image, 255)) / np.float32(255) - mean) / deviation


def _percentile(image: np.ndarray, percent: float) -> np.float32:
    if image.size > _QUANTILE_LIMIT:
        return np.float32(np.percentile(image, percent))
    # PyTorch's quantile: the rank in float32, then a linear interpolation with one rounding
    rank = np.float32(percent / 100.0) * np.float32(image.size - 1)
    below, above = int(np.floor(rank)), int(np.ceil(rank))
    first, second = np.partition(image, (below, above), axis=None)[[below, above]]
    weight = rank - np.float32(below)
    part, base = (weight, first) if weight < 0.5 else (weight - np.float32(1), second)
    return np.float32(np.float64(part) * np.float64(second - first) + np.float64(base))


def eight_bit(images: np.ndarray) -> np.ndarray:
    """Each image (N, H, W) is stretched to whole numbers 0 to 255 by its minimum and maximum; float32."""
    values = images.astype(np.float64)
    low, high = (values.min(axis=(1, 2), keepdims=True), values.max(axis=(1, 2), keepdims=True))
    span = np.where(high > low, high - low, 1.0)
    return np.rint(255 * (values - low) / span).astype(np.float32)


def unit_range(images: np.ndarray) -> np.ndarray:
    """From 0 to 255 to 0 to 1."""
    return np.clip(images / np.float32(255), np.float32(0), np.float32(1))


def area_resized(images: np.ndarray, size: Sequence[int]) -> np.ndarray:
    """Resize (N, H, W) by averaging: each new pixel is the mean of the pixels that it covers in part or whole."""
    height, width = images.shape[1:]
    if (height, width) == tuple(size):
        return images
    rows, row_counts = _windows(height, size[0])
    columns, column_counts = _windows(width, size[1])
    total = np.zeros((len(images), *size), np.float32)
    # row by row and column by column of the windows, as PyTorch adds them up
    for row, row_there in rows:
        for column, column_there in columns:
            there = row_there[:, None] & column_there[None, :]
            values = images[:, row[:, None], column[None, :]]
            total += np.where(there, values, np.float32(0))
    return total / row_counts[:, None].astype(np.float32) / column_counts[None, :].astype(np.float32)


def _windows(old: int, new: int) -> tuple[list[tuple[np.ndarray, np.ndarray]], np.ndarray]:
    """For the first, second ... pixel of each window its index and whether the window has so many; and their counts."""
    number = np.arange(new)
    start, end = number * old // new, -(-(number + 1) * old // new)
    counts = end - start
    offsets = [(np.minimum(start + k, old - 1), k < counts) for k in range(int(counts.max()))]
    return offsets, counts


def smoothly_resized(maps: np.ndarray, size: Sequence[int]) -> np.ndarray:
    """Resize (..., H, W) bilinearly, with smoothing where it shrinks, as PyTorch's ``antialias=True``."""
    down = _weights(maps.shape[-2], size[0])
    across = _weights(maps.shape[-1], size[1])
    return np.matmul(down, np.matmul(maps, across.T), dtype=np.float32)


def _weights(old: int, new: int) -> np.ndarray:
    """(new, old) weights of a triangle around each new pixel's centre."""
    scale = old / new
    reach = max(scale, 1.0)
    centres = scale * (np.arange(new) + 0.5)
    # the pixels that PyTorch takes into account, from the first whole one on
    first = np.maximum((centres - reach + 0.5).astype(int), 0)[:, None]
    last = np.minimum((centres + reach + 0.5).astype(int), old)[:, None]
    pixel = np.arange(old)[None, :]
    weights = np.clip(1 - np.abs((pixel + 0.5 - centres[:, None]) / reach), 0, None)
    weights = np.where((pixel >= first) & (pixel < last), weights, 0)
    return (weights / weights.sum(axis=1, keepdims=True)).astype(np.float32)


def imagenet_images(slices: np.ndarray, scaling: str = "percentiles") -> np.ndarray:
    """Grey slices (S, H, W) as the images (S, 3, H, W) that networks trained on ImageNet expect.

    Z-scores have mean 0 and deviation 1 already and are only copied to the three channels.
    """
    mean, std = ((0.0,) * 3, (1.0,) * 3) if scaling == "zscore" else (_MEAN, _STD)
    shape = (1, -1, 1, 1)
    return (slices[:, None] - np.array(mean, np.float32).reshape(shape)) / np.array(std, np.float32).reshape(shape)


SCALINGS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "percentiles": _by_percentiles,
    "unit": _by_range,
    "zscore": _by_deviation,
    "report": _as_reported,
}
