"""The size of a tumour as radiologists give it: volume, and the largest diameter with its perpendicular (RANO)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.ndimage import find_objects, label
from scipy.spatial import ConvexHull, QhullError
from scipy.spatial.distance import pdist, squareform
from skimage.measure import find_contours

__all__ = ["Diameter", "TumourSize", "tumour_size"]

_EIGHT_NEIGHBOURS = np.ones((3, 3), dtype=int)


@dataclass(frozen=True)
class Diameter:
    """A straight line in a slice.

    Args:
        length_mm: its length.
        ends: its two ends, each (column, row) in pixels, (0, 0) the centre of the first pixel.
    """

    length_mm: float
    ends: tuple[tuple[float, float], tuple[float, float]]


@dataclass(frozen=True)
class TumourSize:
    """Of a mask.

    Args:
        volume_ml: millilitres, of all that is marked.
        slice: index of the slice with the largest diameter; None where nothing is marked, and so for the following.
        longest: the largest diameter of one connected part in one slice.
        perpendicular: the largest at a right angle to it, of the same part in the same slice.
    """

    volume_ml: float
    slice: int | None = None
    longest: Diameter | None = None
    perpendicular: Diameter | None = None


def tumour_size(mask: np.ndarray, spacing_mm: Sequence[float]) -> TumourSize:
    """Volume and RANO diameters.

    A diameter is measured on the convex hull of a part's outline, which runs between the pixels' centres inside and
    those outside; a part is as wide as its pixels, its corners cut. The largest diameter of all slices counts, and its
    perpendicular is looked for in that slice.

    Args:
        mask: (columns, rows, slices), not 0 inside; slices are the planes in which diameters are measured.
        spacing_mm: from column to column, row to row and slice to slice.

    Raises:
        ValueError: the mask has not three axes, or a spacing is not above 0.

    Source:
        Wen et al. 2010, Updated response assessment criteria for high-grade gliomas (RANO): the two largest
        perpendicular diameters of a lesion in one slice. Departs from it: the hull covers cavities, and all that is
        marked is measured, whether it enhances or not.
    """
    spacing = np.asarray(spacing_mm, dtype=float)
    if mask.ndim != 3 or spacing.shape != (3,) or not (np.isfinite(spacing) & (spacing > 0)).all():
        raise ValueError(
            f"a tumour's size needs a mask of three axes and three spacings above 0 mm, got {mask.shape} and "
            f"{tuple(spacing_mm)}."
        )
    inside = mask != 0
    volume_ml = float(np.count_nonzero(inside) * spacing.prod() / 1000)
    best: tuple[float, int, np.ndarray, tuple[int, int]] | None = None
    for index in map(int, np.flatnonzero(inside.any(axis=(0, 1)))):
        for part, corner, most in _parts(inside[:, :, index], spacing[:2]):
            # the largest boxes come first
            if best is not None and most <= best[0]:
                break
            hull = _hull(part, spacing[:2]) + corner
            distances = squareform(pdist(hull))
            first, second = np.unravel_index(int(distances.argmax()), distances.shape)
            length = float(distances[first, second])
            # by more than rounding, so that the first of equal ones stays on any machine
            if best is None or length > best[0] + 1e-6:
                best = (length, index, hull, (int(first), int(second)))
    if best is None:
        return TumourSize(volume_ml)
    length, index, hull, (start, end) = best
    longest = Diameter(length, _ends(hull[start], hull[end], spacing))
    return TumourSize(volume_ml, index, longest, _perpendicular(hull, hull[end] - hull[start], spacing))


def _parts(mask: np.ndarray, spacing: np.ndarray) -> list[tuple[np.ndarray, np.ndarray, float]]:
    """Connected parts of a slice, each cut out, with its corner and the diagonal of its box in mm, largest first."""
    labels, _ = label(mask, structure=_EIGHT_NEIGHBOURS)
    found = []
    for number, box in enumerate(find_objects(labels), start=1):
        corner, sides = ([getattr(side, end) for side in box] for end in ("start", "stop"))
        diagonal = float(np.linalg.norm((np.array(sides) - corner) * spacing))
        found.append((labels[box] == number, np.array(corner) * spacing, diagonal))
    return sorted(found, key=lambda entry: -entry[2])


def _hull(part: np.ndarray, spacing: np.ndarray) -> np.ndarray:
    """Corners of the outline's convex hull, in order, in millimetres."""
    # the outlines of holes lie inside
    outlines = find_contours(np.pad(part, 1).astype(float), 0.5)
    points = np.concatenate(outlines) - 1
    scaled = points * spacing
    try:
        return scaled[ConvexHull(scaled).vertices]
    except QhullError as error:
        raise ValueError(f"the outline of a part of {np.count_nonzero(part)} pixels has no hull: {error}") from error


def _perpendicular(hull: np.ndarray, axis: np.ndarray, spacing: np.ndarray) -> Diameter:
    """The longest chord of a convex polygon at a right angle to an axis; it passes through one of the corners."""
    along = axis / np.linalg.norm(axis)
    across = np.array([-along[1], along[0]])
    positions, heights = hull @ along, hull @ across
    following = np.roll(np.arange(len(hull)), -1)
    longest = (-1.0, 0.0, 0.0, 0.0)
    for place in positions:
        met = []
        for start, end in zip(range(len(hull)), following):
            low, high = positions[start], positions[end]
            if min(low, high) <= place <= max(low, high):
                if np.isclose(low, high):
                    met += [heights[start], heights[end]]
                else:
                    met.append(heights[start] + (place - low) / (high - low) * (heights[end] - heights[start]))
        if (length := max(met) - min(met)) > longest[0] + 1e-6:
            longest = (float(length), float(place), float(min(met)), float(max(met)))
    length, place, low, high = longest
    return Diameter(length, _ends(place * along + low * across, place * along + high * across, spacing))


def _ends(one: np.ndarray, other: np.ndarray, spacing: np.ndarray) -> tuple[tuple[float, float], tuple[float, float]]:
    ends = [tuple(float(value) for value in point / spacing[:2]) for point in (one, other)]
    return (ends[0][0], ends[0][1]), (ends[1][0], ends[1][1])
