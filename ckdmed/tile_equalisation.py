"""The values of scikit-image's `equalize_adapthist`, to the last bit, in a fraction of its time, with NumPy alone."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from itertools import product

import numpy as np

__all__ = ["EQUALISATIONS", "equalise_tiles"]

#: value of the setting ``clahe`` -> clip limit, and number of tiles along each axis
EQUALISATIONS: Mapping[bool | str, tuple[float, int]] = {True: (0.01, 8), "global": (0.0, 1)}

# pixels that are worked on at a time: what is in between stays in the processor's cache
_SLAB = 2**15
# scikit-image's grey levels between the histograms and the result
_LEVELS = 2**14


def equalise_tiles(
    image: np.ndarray,
    tile: Sequence[int],
    clip_limit: float,
    nbins: int,
    low: float = 0.0,
    high: float = 1.0,
    out: np.ndarray | None = None,
) -> np.ndarray:
    """Contrast limited adaptive histogram equalisation of one grey image.

    scikit-image copies the image into its tiles and back. Here a pixel stays where it is: a table gives its bin,
    another what each neighbouring tile makes of this bin, and a third the result.

    Args:
        image: grey values, finite and not all the same, of two axes or more.
        tile: pixels of a tile along each axis, at least 1.
        clip_limit: largest share of a tile in one bin, 0 for no limit.
        nbins: bins of a histogram, 2 to 16384.
        low: smallest value of the result.
        high: its largest.
        out: float32 of the image's shape, for the result.

    Returns:
        `low + (high - low) * equalize_adapthist(unit, tile, clip_limit, nbins)` where `unit` is the image stretched to
        0..1, float32.
    """
    bins = _bins(image, nbins)
    grey = _blended(bins, _maps(bins, tile, clip_limit, nbins), tile)
    least, most = int(grey.min()), int(grey.max())
    # the table is stretched as the image would be: it has the same least and largest value
    table = np.zeros(most + 1, np.float32)
    table[least:] = low + _stretched(least, most) * (high - low)
    result = np.empty(image.shape, np.float32) if out is None else out
    for slab in _slabs(image.shape):
        result[slab] = table.take(grey[slab], mode="clip")
    return result


def _stretched(least: int, most: int) -> np.ndarray:
    """Every grey level from the least to the most, brought to 0..1."""
    levels = np.arange(least, most + 1, dtype=np.float64)
    # of one level nothing can be stretched, and scikit-image clips it
    return np.clip(levels, 0, 1) if least == most else (levels - least) / (most - least)


def _bins(image: np.ndarray, nbins: int) -> np.ndarray:
    """The histogram's bin of each pixel, uint16."""
    least, largest = float(image.min()), float(image.max())
    table, bins = _bin_of_level(nbins), np.empty(image.shape, np.uint16)
    for slab in _slabs(image.shape):
        # rounded to 16 bits first, as scikit-image does
        levels = np.subtract(image[slab], least, dtype=np.float64)
        levels /= largest - least
        levels *= 65535.0
        table.take(np.rint(levels, out=levels).astype(np.intp), out=bins[slab], mode="clip")
    return bins


def _blended(bins: np.ndarray, maps: np.ndarray, tile: Sequence[int]) -> np.ndarray:
    """What the neighbouring tiles make of each pixel, weighted by how near their centres are, uint16."""
    *counts, nbins = maps.shape
    strides = [math.prod(counts[axis + 1 :]) * nbins for axis in range(bins.ndim)]
    # by axes: the entry of the lower neighbouring tile, and how far a pixel is on its way to the upper
    entries, ways = [], []
    for axis, (size, edge) in enumerate(zip(bins.shape, tile)):
        number, offset = np.divmod(np.arange(size) + edge // 2, edge)
        entries.append(_along(number * strides[axis], axis, bins.ndim))
        ways.append(_along(offset / edge, axis, bins.ndim))
    # by corners of the square (cube) of tiles around a pixel: the entries from there on, and the weights by axes
    flat, corners = maps.ravel(), []
    for corner in product((0, 1), repeat=bins.ndim):
        first = sum(stride for stride, upper in zip(strides, corner) if upper)
        corners.append((flat[first:], [way if upper else 1 - way for way, upper in zip(ways, corner)]))
    grey = np.empty(bins.shape, np.uint16)
    for slab in _slabs(bins.shape):
        entry = bins[slab] + entries[0][slab]
        for start in entries[1:]:
            entry += start
        total, part = np.zeros(entry.shape, np.float32), np.empty(entry.shape, np.float32)
        mapped, share = np.empty(entry.shape), np.empty(entry.shape)
        for table, (rows, *others) in corners:
            # the last axis first, and single precision last: the order decides about the last bit
            last, before, *first = [*others[::-1], rows[slab]]
            np.multiply(last, before, out=share)
            for weight in first:
                share *= weight
            # the entries are valid; "clip" only spares the check
            table.take(entry, out=mapped, mode="clip")
            mapped *= share
            part[...] = mapped
            total += part
        grey[slab] = total
    return grey


def _slabs(shape: Sequence[int]) -> Iterator[slice]:
    thickness = max(1, _SLAB // math.prod(shape[1:]))
    return (slice(start, start + thickness) for start in range(0, shape[0], thickness))


@lru_cache(maxsize=4)
def _bin_of_level(nbins: int) -> np.ndarray:
    grey = np.round(_stretched(0, 2**16 - 1) * (_LEVELS - 1))
    return (grey // (1 + _LEVELS // nbins)).astype(np.uint16)


def _maps(bins: np.ndarray, tile: Sequence[int], clip_limit: float, nbins: int) -> np.ndarray:
    """What each tile makes of each bin, with the outermost tiles once more around; (tiles + 2, ..., bins), float64."""
    counts = [-(-size // edge) for size, edge in zip(bins.shape, tile)]
    for axis, (size, edge, count) in enumerate(zip(bins.shape, tile, counts)):
        # what is mirrored at both ends decides where a narrow image is mirrored again
        before, after = edge // 2, count * edge - size + -(-edge // 2)
        source = np.pad(np.arange(size), (before, after), mode="reflect")[before : before + count * edge]
        if count * edge > size:
            bins = bins.take(source, axis=axis)
    # the tiles that lie beside each other along the first axis, one after the other
    first = np.zeros((), np.intp)
    for axis in range(1, len(tile)):
        number = np.arange(counts[axis] * tile[axis]) // tile[axis]
        first = first * counts[axis] + _along(number * nbins, axis, len(tile))
    histograms = np.empty((counts[0], math.prod(counts[1:]) * nbins), np.intp)
    for index, histogram in enumerate(histograms):
        histogram[:] = np.bincount(
            (first + bins[index * tile[0] : (index + 1) * tile[0]]).ravel(), minlength=histogram.size
        )
    histograms = histograms.reshape(-1, nbins)
    pixels = math.prod(tile)
    _clip(histograms, int(max(clip_limit * pixels, 1)) if clip_limit > 0 else pixels)
    maps = np.cumsum(histograms, axis=1) * ((_LEVELS - 1) / pixels)
    maps = np.minimum(maps, _LEVELS - 1).astype(np.intp).astype(np.float64)
    return np.pad(maps.reshape(*counts, nbins), [(1, 1)] * len(tile) + [(0, 0)], mode="edge")


def _clip(histograms: np.ndarray, most: int) -> None:
    """Cut each histogram (rows) at `most`, in place, and spread what was above: scikit-image's way, for all at once."""
    nbins = histograms.shape[1]
    left = np.maximum(histograms - most, 0).sum(axis=1)
    np.minimum(histograms, most, out=histograms)
    # an equal part for each bin, as far as there is room
    part = (left // nbins)[:, None]
    low = histograms < most - part
    left -= (low * part).sum(axis=1)
    histograms += low * part
    middle = (histograms >= most - part) & (histograms < most)
    left -= (middle * (most - histograms)).sum(axis=1)
    histograms[middle] = most
    # the rest by ones, to bins at equal distances, beginning one further each time
    rows, places = np.flatnonzero(left > 0), np.arange(nbins)
    while rows.size:
        before = left.copy()
        for index in range(nbins):
            room = histograms[rows] < most
            step = np.maximum(room.sum(axis=1) // left[rows], 1)[:, None]
            chosen = room & (places >= index) & ((places - index) % step == 0)
            histograms[rows] += chosen
            left[rows] -= chosen.sum(axis=1)
            rows = rows[left[rows] > 0]
            if not rows.size:
                break
        rows = rows[left[rows] < before[rows]]


def _along(values: np.ndarray, axis: int, ndim: int) -> np.ndarray:
    return values.reshape([-1 if a == axis else 1 for a in range(ndim)])
